"""The policy API within the process, for the tests beside it: an ASGI client, the engine and the judge in memory."""

import asyncio
from pathlib import Path
from typing import Any

from loomidi.ionic.policies import Tally
from loomidi.services.policy_api.desks import Desk
from loomidi.services.policy_api.serving import PolicyApi
from loomidi.services.policy_api.settings import PREFIX, PolicySettings
from tests.unit.ionic.policies.ruling import Bench, rego
from tests.unit.services.ingesting import Client

LATEST = {
    "policy_name": "no-latest",
    "policy_type": "OPA_Rego",
    "policy_content": rego().content,
    "source_ai_decision_id": "decision-1",
}
EDGE = LATEST | {"policy_content": rego(":edge").content, "source_ai_decision_id": "decision-2"}


class Service:
    """One run."""

    def __init__(self, folder: Path, settings: PolicySettings | None = None) -> None:
        self.bench = Bench(folder)
        bench = self.bench
        desk = Desk(bench.shelf, bench.judge, bench.deployer, Tally(), None, None)  # type: ignore[arg-type]
        self.api = PolicyApi(desk, settings or PolicySettings())
        self.client = Client(self.api.application())

    def post(self, path: str, document: Any = None, **given: Any) -> Any:
        return self.client.post(f"{PREFIX}{path}", json=document, **given)

    def get(self, path: str, **given: Any) -> Any:
        return self.client.get(f"{PREFIX}{path}", **given)

    def settle(self) -> None:
        """One look, as at the start."""
        told = asyncio.Event()

        async def run() -> None:
            looking = asyncio.create_task(self.api.settle(told))
            await asyncio.sleep(0.05)
            told.set()
            await looking

        asyncio.run(run())
