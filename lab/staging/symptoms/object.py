"""Symptom `object`: a value at a path of an object, or of a workload's pods (`pods: true`), now or how it grew."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loomidi_lab.staging.comparing import Comparison
from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.symptoms import Measured
from loomidi_lab.staging.targets import at_path

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage

_MOST_SHOWN = 120


@dataclasses.dataclass(slots=True)
class Object:
    """See `make`. Not frozen: it holds the sum from before the act."""

    arguments: Mapping[str, Any]
    comparison: Comparison
    wanted: str
    final: bool
    before: float = 0.0

    def prepare(self, stage: "Stage") -> None:
        """What the numbers at the path add up to beforehand."""
        self.before = self._sum(stage) if "increase_at_least" in self.arguments else 0.0

    def measure(self, stage: "Stage") -> Measured:
        """Confirmed when any of the values is as wanted."""
        if "increase_at_least" in self.arguments:
            grown = self._sum(stage) - self.before
            return Measured(grown, grown >= float(self.arguments["increase_at_least"]))
        values = self._values(stage)
        good = [value for value in values if self.comparison.holds(value)]
        return Measured(_shown(good[:1] or values), bool(good))

    def _values(self, stage: "Stage") -> list[Any]:
        entity = EntityRef.of(self.arguments["entity"])
        found = stage.lookup.pods(entity) if self.arguments.get("pods") else [stage.lookup.get(entity) or {}]
        return [value for one in found for value in at_path(one, self.arguments["path"])]

    def _sum(self, stage: "Stage") -> float:
        return float(sum(value for value in self._values(stage) if isinstance(value, (int, float))))


def make(arguments: Mapping[str, Any]) -> Object:
    """From the scenario's mapping."""
    comparison = Comparison.of(arguments)
    grown = arguments.get("increase_at_least")
    wanted = f"{arguments['path']} " + (f"grown by >= {grown:g}" if grown is not None else str(comparison))
    return Object(arguments, comparison, wanted, comparison.final)


def _shown(values: list[Any]) -> float | str:
    if len(values) == 1 and isinstance(values[0], (int, float)) and not isinstance(values[0], bool):
        return float(values[0])
    return ", ".join(str(value) for value in values)[:_MOST_SHOWN] or "absent"
