"""The transformer API within the process, for the tests beside it: an ASGI client, a reference, a cluster in memory."""

import contextlib
import dataclasses
import functools
from pathlib import Path
from typing import Any

from loomidi.contracts import Finding
from loomidi.fold.resources.objects import moment
from loomidi.kit.clock import ManualClock
from loomidi.loom.lake import Lake, LakeSettings
from loomidi.origami.scoring.references import Reference
from loomidi.services.shared.findings import finding_row
from loomidi.services.transformer_api.clusters import Cluster
from loomidi.services.transformer_api.desks import folding, made
from loomidi.services.transformer_api.following import known_of, plain
from loomidi.services.transformer_api.serving import TransformerApi
from loomidi.services.transformer_api.settings import PREFIX, TransformerSettings
from loomidi.services.transformer_api.snapshots import EDGE
from tests.unit.ionic.kube.fake_api import FakeApi
from tests.unit.ionic.making import NOW_NS
from tests.unit.origami.picturing import PAIRS, Row, batch, scan, usual
from tests.unit.services.ingesting import Client

NODES = [
    {"id": end, "address": f"10.0.9.{at}"}
    for at, end in enumerate(sorted({end for *ends, _port in PAIRS for end in ends if "/" in end}), 1)
]


@functools.cache
def reference() -> Reference:
    """Of the shop, as `picturing` draws it."""
    found = Reference()
    found.fit(batch(usual(450)))
    return found


def snapshot(rows: list[Row], **more: Any) -> dict[str, Any]:
    """A body of /analyze/anomaly."""
    edges = [{name: row[name] for name in EDGE if row.get(name) is not None} for row in rows]
    return {"graph_snapshot": {"nodes": NODES, "edges": edges, **more}}


SCAN = snapshot(scan() + usual(1, seed=4))
USUAL = snapshot(usual(1, seed=5))


class Datable(FakeApi):
    """One that says when an object was made, as the API does."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.clock = clock

    def put(self, path: str, obj: dict[str, Any]) -> dict[str, Any]:
        made = {"creationTimestamp": moment(self.clock.now_ns())} | obj["metadata"]
        return super().put(path, obj | {"metadata": made})


class Service:
    """One run; a second one over the same folder is a restart."""

    def __init__(self, folder: Path, *, cluster: bool = False, learned: bool = True, **given: Any) -> None:
        lake = LakeSettings(folder=folder / "lake")
        self.settings = dataclasses.replace(TransformerSettings(state=folder, lake=lake), **given)
        self.clock = ManualClock(NOW_NS)
        self.kube = Datable(self.clock)
        there = Cluster(self.kube.client(), folding(self.settings), self.clock) if cluster else None
        self._held = contextlib.ExitStack()
        opened = self._held.enter_context(Lake(lake))
        self.desk = made(self.settings, opened, there, self._held, self.clock)
        self.desk.learning.reference = reference() if learned else None
        self.api = TransformerApi(self.desk, self.settings)
        self.client = Client(self.api.application())

    def close(self) -> None:
        self._held.close()

    def post(self, path: str, document: Any = None, key: str = "", **given: Any) -> Any:
        headers = given.pop("headers", {}) | ({"Idempotency-Key": key} if key else {})
        return self.client.post(f"{PREFIX}{path}", json=document, headers=headers, **given)

    def get(self, path: str, **given: Any) -> Any:
        return self.client.get(f"{PREFIX}{path}", **given)

    def hear(self, finding: Finding, state: str = "new", told_ns: int = NOW_NS) -> None:
        """As the pipeline tells it."""
        (row,) = plain(finding_row(finding, state, (), told_ns))
        self.desk.shelf.hear([known_of(row)])

    def anomaly(self) -> str:
        """The id of a scan."""
        return str(self.post("/analyze/anomaly", SCAN).json()["anomaly_id"])

    def plan(self, identity: str = "") -> dict[str, Any]:
        """The answer to it."""
        found: dict[str, Any] = self.post("/action/propose-fold", {"anomaly_id": identity or self.anomaly()}).json()
        return found

    @property
    def folds(self) -> list[dict[str, Any]]:
        return [obj for path, obj in self.kube.objects.items() if "/folds/" in path]
