"""`loomidi serve transformer` as a process: killed, ended, started again on its port over its folder.

Also run as a module, `python -m tests.integration.transformer.running FAULT PASSES PORT STATE [KUBECONFIG MODE]`: the
service, which ends itself by SIGKILL when so many requests have passed the fault point, as a node that dies would.
"""

import asyncio
import dataclasses
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx

from loomidi.origami.scoring.references import Reference
from loomidi.services.transformer_api.learning import FILE_NAME
from tests.integration.bus.brokers import free_port
from tests.integration.policy.running import Process
from tests.unit.origami.picturing import batch, scan, usual
from tests.unit.services.transforming import snapshot

SCAN = snapshot(scan() + usual(1, seed=4))


@dataclasses.dataclass
class Service(Process):
    """One, with a reference of the shop unless it is to learn one."""

    options: tuple[str, ...] = ()
    learned: bool = True
    probes: int = dataclasses.field(default_factory=free_port)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/transformer-api"

    def start(self) -> "Service":
        self._teach()
        command = [sys.executable, "-m", "loomidi", "serve", "transformer", "--port", str(self.port)]
        command += ["--state", str(self.state), "--probes", str(self.probes), "--lake", str(self.state / "lake")]
        self.launch([*command, *self.options], f"http://127.0.0.1:{self.probes}/readyz")
        return self

    def start_to_die(self, fault: str, passes: int = 2) -> None:
        """Until that many requests have passed the point."""
        self._teach()
        module = "tests.integration.transformer.running"
        command = [sys.executable, "-m", module, fault, str(passes), str(self.port), str(self.state)]
        command += self.options[1::2]
        self.launch(command, f"{self.url}/findings")

    def _teach(self) -> None:
        if self.learned and not (self.state / FILE_NAME).is_file():
            made = Reference()
            made.fit(batch(usual(450)))
            made.save(self.state / FILE_NAME)

    def post(self, path: str, document: Any, key: str = "") -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        return httpx.post(f"{self.url}{path}", json=document, headers=headers, trust_env=False, timeout=60)

    def get(self, path: str) -> Any:
        return httpx.get(f"{self.url}{path}", trust_env=False, timeout=60).json()


def _killed_at(fault: str, passes: int, passed: list[str], name: str) -> None:
    passed.append(name)
    if name == fault and passed.count(fault) == passes:
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """As the module's docstring says."""
    import functools

    from loomidi.contracts import Mode
    from loomidi.loom.lake import LakeSettings
    from loomidi.services.http.authority import Door
    from loomidi.services.transformer_api import standing_alone
    from loomidi.services.transformer_api.settings import TransformerSettings

    fault, passes, port, state, *cluster = sys.argv[1:]
    kubeconfig, mode = cluster or ("", "shadow")
    lake = LakeSettings(folder=Path(state) / "lake")
    settings = TransformerSettings(
        door=Door(port=int(port)), state=Path(state), lake=lake, kubeconfig=kubeconfig, mode=Mode(mode)
    )
    end = functools.partial(_killed_at, fault, int(passes), [])
    asyncio.run(standing_alone.run(settings, None, {}, lambda _part, _port: None, end))


if __name__ == "__main__":
    main()
