"""What one run of a drill showed, as a line of JSON.

Made by `playing`, read by `tables` and by whoever compares runs. Plain frozen values.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Drilled:
    """Moments are seconds after the act began; None: it did not come to that."""

    scenario: str
    category: str  # attack, failure, benign
    seed: int
    network: str
    defended: bool
    confirmed: bool  # by the scenario's own symptoms
    void_because: str  # why not; in a run with Loomidi a fold may have come before the symptom
    detected_s: float | None = None  # until a finding named who acts or who suffers
    pattern: str = ""  # of that finding
    others: int = 0  # findings above `info` that named nobody of the scenario
    folded_s: float | None = None  # until the first effect was on record
    over_s: float | None = None  # until the trouble was seen last; never asked of Loomidi
    lasted_s: float = 0.0  # the act
    requests: int = 0  # of the shop's users, from the act to the end of the looking on
    errors: int = 0
    p99_ms: float = 0.0
    folds: tuple[str, ...] = ()  # as `ISOLATE_POD pod/tenants/x Released`, in the order of their plans
    right: int = 0  # folds with an effect that the scenario calls right
    harmful: int = 0  # those that it calls harmful, or any against a look-alike that it does not call right
    applied: int = 0  # folds with an effect
    undone: int = 0  # of those, whose inverse was carried out
    at: int = 0  # seconds since the epoch
    version: str = ""  # of Loomidi, with its commit where it is known

    @property
    def key(self) -> tuple[str, int, str, bool]:
        """The run that a later one of the same replaces."""
        return self.scenario, self.seed, self.network, self.defended

    def as_dict(self) -> dict[str, Any]:
        """For a line of JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> "Drilled":
        """From a line; fields that this version does not know are left out."""
        known = {field.name for field in dataclasses.fields(cls)}
        values = {name: value for name, value in line.items() if name in known}
        return cls(**values | {"folds": tuple(values.get("folds", ()))})
