"""Symptom `event`: Kubernetes events of a reason since the act began."""

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loomidi_lab.staging.comparing import Comparison
from loomidi_lab.staging.symptoms import Measured

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """See `make`."""

    arguments: Mapping[str, Any]
    comparison: Comparison
    wanted: str
    final: bool = False

    def prepare(self, stage: "Stage") -> None:
        """Nothing to learn beforehand."""

    def measure(self, stage: "Stage") -> Measured:
        """Count the events that match."""
        value = float(sum(self._meant(event) for event in stage.observer.events(stage.start_ns)))
        return Measured(value, self.comparison.holds(value))

    def _meant(self, event: Mapping[str, Any]) -> bool:
        wanted = self.arguments
        reasons = wanted["reason"] if isinstance(wanted["reason"], list) else [wanted["reason"]]
        about = event.get("involvedObject", {})
        return (
            event.get("reason") in reasons
            and wanted.get("namespace", about.get("namespace", "")) == about.get("namespace", "")
            and bool(re.search(wanted.get("object", ""), f"{about.get('kind')}/{about.get('name')}"))
            and bool(re.search(wanted.get("message", ""), event.get("message", "")))
        )


def make(arguments: Mapping[str, Any]) -> Event:
    """From the scenario's mapping; `object` and `message` are searched for (`Pod/cart-.*`)."""
    comparison = Comparison.of(arguments)
    return Event(arguments, comparison, f"{arguments['reason']} events {comparison}")
