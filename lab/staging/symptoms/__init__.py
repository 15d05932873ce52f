"""How it is checked that something really happened: one file a kind of symptom.

Made by `running` from a drawn scenario. `prepare` is called before the act (for baselines), `measure` about once a
second while it lasts and until the symptom's time is over. A symptom only looks; it changes nothing.
"""

import dataclasses
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from loomidi_lab.staging.loading import symptom_kind

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage

_HOMES = {
    "audit": "audit",
    "command": "command",
    "event": "event",
    "flows": "flows",
    "load": "load",
    "log": "log",
    "metric": "metric",
    "object": "object",
    "output": "output",
}
KINDS = tuple(_HOMES)
WITHIN_S = {"flows": 6.0}
"""How long after the act a symptom may still come, by kind, where the scenario says nothing."""
WITHIN_DEFAULT_S = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """A look at one symptom."""

    value: float | str
    confirmed: bool
    unanswered: int = 0  # how many of those that were asked did not answer


class Symptom(Protocol):
    """One kind of check."""

    wanted: str  # for tables
    final: bool  # judged when the act is over only

    def prepare(self, stage: "Stage") -> None:
        """Take the baseline, before the act."""

    def measure(self, stage: "Stage") -> Measured:
        """Look. Raises LoomidiError when it cannot; that counts as not seen."""


def make(written: Mapping[str, Any]) -> Symptom:
    """The check that a scenario's mapping describes."""
    kind = symptom_kind(dict(written))
    made: Symptom = importlib.import_module(f"{__name__}.{_HOMES[kind]}").make(written[kind])
    return made


def within_s(written: Mapping[str, Any]) -> float:
    """How long after the act this symptom may come."""
    kind = symptom_kind(dict(written))
    return float(written.get("within_s", WITHIN_S.get(kind, WITHIN_DEFAULT_S)))
