"""The scenarios of the lab as the environment knows them: what happens, what is seen of it, and what ends it.

Read by `troubles`. In: `scenarios.toml`, which says what its fields mean. Names, families, categories and which folds
are right are those of the lab's own scenario files (a test holds the table against them); strengths and signals are
assumptions, drawn anew for each episode within their ranges.
"""

import dataclasses
import tomllib
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any

SIGNALS = (
    "severity", "packets", "spread", "logins", "outward", "beat", "errors", "waiting", "throttled", "memory",
    "restarts", "rollout", "node", "inside", "outside", "crowd", "expected", "forged",
)  # fmt: skip
# Each 0..1, as a detector or a watch on the cluster would tell it: `spread` different peers and ports, `logins` failed
# ones, `outward` octets that leave, `expected` how much of it was announced or seen at such an hour before.
ROLES = ("source", "far", "victim", "healthy", "node")
Range = tuple[float, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Cure:
    """A fold that helps: on whom, and the share of the trouble that it takes away."""

    kind: str
    role: str
    share: float
    lasts_s: float = 1e9  # a leak comes back after a restart


@dataclasses.dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the table."""

    name: str
    category: str  # attack, failure, benign
    family: str
    patterns: Mapping[str, float]  # what the detectors call it, with weights; `anomaly` is no rule's pattern
    roles: tuple[str, str]  # the two suspects where the root cause is found
    cures: tuple[Cure, ...] = ()
    signals: Mapping[str, float] = dataclasses.field(default_factory=dict)  # means; what is not named is near 0
    load: Range = (0.0, 0.0)  # on the victim, in parts of what its pods can do
    fault: Range = (0.0, 0.0)  # share of the victim's answers that are wrong
    capacity: Range = (0.0, 0.0)  # share of the victim's pods that is gone
    goal_s: Range = (0.0, 0.0)  # until an attack has what it wants; 0: it wants nothing but to hurt
    lasts_s: Range = (90.0, 280.0)
    worse: tuple[str, ...] = ()  # folds on the victim that add half to the trouble
    protected: bool = False  # the victim is of those that no fold may touch


def _read(name: str, row: Mapping[str, Any]) -> Scenario:
    cures = tuple(Cure(*cure) for cure in row.get("cures", ()))
    pairs = {key: tuple(value) for key, value in row.items() if key in _PAIRS}
    return Scenario(name, **{**row, **pairs, "cures": cures, "worse": tuple(row.get("worse", ()))})


_PAIRS = ("roles", "load", "fault", "capacity", "goal_s", "lasts_s")
_TABLE = tomllib.loads((resources.files("loomidi.origami.gym") / "scenarios.toml").read_text(encoding="utf-8"))
SCENARIOS: Mapping[str, Scenario] = MappingProxyType({name: _read(name, row) for name, row in _TABLE.items()})
FAMILIES: tuple[tuple[str, str], ...] = tuple(sorted({(one.category, one.family) for one in SCENARIOS.values()}))
# (category, family): `rollout` is both of failures and of what is benign.


def parted(part: int, parts: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names to learn on and names held out: every `parts`-th family of each category, counted from `part`."""
    held: set[tuple[str, str]] = set()
    for category in ("attack", "failure", "benign"):
        held.update([family for family in FAMILIES if family[0] == category][part % parts :: parts])
    out = tuple(name for name, one in SCENARIOS.items() if (one.category, one.family) in held)
    return tuple(name for name in SCENARIOS if name not in out), out
