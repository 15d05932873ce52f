"""Requests to train anew: a line each, for whoever trains. Nothing here trains, and nothing here promotes.

Called by `services.anomalies.modelling` where a drift was found. In: the drifts, the model, the data. Out:
`requests.jsonl`. A request that is open is not made twice; a training that began after it answers it.
"""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loomidi.contracts.records import content_id
from loomidi.insight.learn.drifting import Drift

FILE = "requests.jsonl"


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One line."""

    id: str
    at_ns: int
    model: str  # id of the champion
    name: str  # of the registered model
    snapshot: str  # of the data in which it was seen
    because: tuple[str, ...]


class Requests:
    """Of one installation."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def ask(self, model: str, name: str, snapshot: str, drifts: Sequence[Drift], now_ns: int) -> Request | None:
        """Ask for a training; None where nothing drifted, or this model's request is open already."""
        if not drifts or any(one.model == model for one in self.open()):
            return None
        because = tuple(f"{one.kind}: {one.what} {one.figure:.3g}, limit {one.limit:.3g}" for one in drifts)
        plain = {"model": model, "at_ns": now_ns, "because": because}
        request = Request(content_id("request", plain), now_ns, model, name, snapshot, because)
        self._write({"asked": dataclasses.asdict(request)})
        return request

    def answer(self, name: str, run: str, now_ns: int) -> int:
        """A training of this model was made: its open requests are answered. How many that were."""
        open_ = [one for one in self.open() if one.name == name]
        for one in open_:
            self._write({"answered": one.id, "run": run, "at_ns": now_ns})
        return len(open_)

    def open(self) -> list[Request]:
        """Those that no training has answered, the oldest first."""
        asked, answered = dict[str, Request](), set[str]()
        for row in self._rows():
            if "asked" in row:
                fields = row["asked"] | {"because": tuple(row["asked"]["because"])}
                asked[fields["id"]] = Request(**fields)
            answered.add(row.get("answered", ""))
        return [one for id_, one in asked.items() if id_ not in answered]

    def _rows(self) -> list[dict[str, Any]]:
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def _write(self, row: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
