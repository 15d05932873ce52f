"""How far and how fast the fast lane goes.

Read by `fastlane`; set by whoever opens a lane. Data only.
"""

import dataclasses

from loomidi.contracts import Mode
from loomidi.ionic.decide import Limits
from loomidi.services.fast.knowing import KnowingSettings


@dataclasses.dataclass(frozen=True, slots=True)
class FastLaneSettings:
    """How far and how fast."""

    mode: Mode = Mode.SHADOW
    # Nothing is touched unless somebody has asked for it.
    protected: tuple[str, ...] = ()
    # Addresses and CIDRs that are never acted on; also written to the shield, which lets them pass by itself.
    limits: Limits = dataclasses.field(default_factory=Limits)
    # Caps that the floor holds every plan against.
    wait_s: float = 0.05
    # Longest sleep on the ring; also how late step 7 may come.
    interval_s: float = 1.0
    # Seconds between two drains of the flow tables.
    judge_s: float = 5.0
    # Seconds between two judgements of what the flow detectors have so far: beacons, slow scans, guessing, leaks.
    look_s: float = 0.25
    # Seconds between two looks at the entries in force.
    staged: bool = True
    # Slow down first; False: drop at once where a drop is proposed.
    patience_s: float = 1.0
    # A source that is still over its rate after this long is dropped.
    slow_patience_s: float = 3.0
    # Who attacks with a few packets (ADR 0094) and goes on this long below its rate is dropped.
    burst_s: float = 0.01
    # Seconds' worth of the rate that a fresh bucket lets through: a flood has had its burst before it was told.
    longest_ttl_s: float = 300.0
    # No entry outlives this, whatever the fold proposes.
    quiet_s: float = 5.0
    # Seconds before a refused or pardoned target is considered again.
    remembered: int = 4096
    # Targets whose last stage is remembered.
    knowing: KnowingSettings = dataclasses.field(default_factory=KnowingSettings)
    # Who counts as known.
