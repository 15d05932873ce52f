"""The numbers that guards hold plans against, with defaults, units and reasons.

Called by `deciding` (hands them to the guards as facts) and by the floor. Grouped in one frozen record; read once.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_MIN_CONFIDENCE = MappingProxyType(
    {"rate": 0.5, "scale": 0.5, "resize": 0.5, "eject": 0.5, "tune": 0.5}  # gives more, or takes a little
    | {"drop": 0.6, "cordon": 0.6, "restart": 0.6}  # takes one peer, one node's room, each pod in its turn
    | {"isolate": 0.7, "rollback": 0.7}  # cuts off, or changes what runs
    | {"evict": 0.8, "terminate": 0.9}  # has no way back; a terminated pod may have nobody who makes it anew
)

_THRESHOLDS = MappingProxyType(
    {"packets": (20, 100_000), "octets": (10_000, 1_000_000_000), "syns": (10, 20_000)}
    | {"ports": (8, 400), "peers": (8, 1_000), "window_ms": (50, 5_000)}
)


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Beyond these a plan is refused, whatever the finding says."""

    min_ttl_s: float = 1.0
    # Shorter than this, a fold ends before its effect can be measured.
    max_ttl_s: float = 3600.0
    # Longer than an hour is a change of configuration: a person's work, not a reflex.
    min_confidence: Mapping[str, float] = dataclasses.field(default_factory=lambda: _MIN_CONFIDENCE)
    # 0..1 by action: the harder the act, the surer the finding.
    sure: float = 0.8
    # 0..1; from here a drop of one named source may exceed `max_share`: in a flood the attack is most of the traffic.
    max_share: float = 0.5
    # 0..1 of all octets in the window that a drop or isolation may cut otherwise.
    max_peers: int = 64
    # Remote hosts that a drop or isolation may meet; more than this is a population, not an attacker.
    max_replicas: int = 10
    # Replicas that one fold may add.
    max_active_per_target: int = 4
    # Plans at work on one entity: rate, drop and two to spare; more means that acting does not help.
    max_active: int = 1024
    # Plans at work in total; beyond it something is wrong with us, not with the network.
    thresholds: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=lambda: _THRESHOLDS)
    # Least and most that a tuned threshold may be, in one short window: lower tells everybody, higher tells nobody.

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values, for the facts."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)} | {
            "min_confidence": dict(self.min_confidence),
            "thresholds": {name: list(ends) for name, ends in self.thresholds.items()},
        }
