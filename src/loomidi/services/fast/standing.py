"""What stands against one target in the fast lane, and how the target takes it.

Used by `fastlane`. In: what an entry has dropped so far, findings that grow while it stands. Out: whether the next,
harder stage is due. No clock and no I/O: times are ns since the epoch, handed in.
"""

import dataclasses

from loomidi.contracts import Finding, FoldSpec

# Their harm lies in a few packets, far below any rate that an entry lets through (ADR 0094).
PATIENT = frozenset({"brute_force", "slow_requests"})


@dataclasses.dataclass(slots=True)
class Standing:
    """An entry in force: what it rests on and what has become of it."""

    rule_id: int
    fold: FoldSpec | None  # None when it was adopted
    finding: Finding | None
    until_ns: int
    plans: tuple[str, ...] = ()  # all that stand against this target, the newest last
    since_ns: int = 0  # written at; 0 when it was adopted
    dropped: int = 0  # at the last look
    pressed_since_ns: int = 0  # first look of a time without long pauses in which it dropped more
    pressed_at_ns: int = 0  # last look that found more dropped
    verified: bool = False
    hardest: bool = False  # there is no next stage, or it was refused

    def pressed(self, dropped: int, now_ns: int, patience_ns: int) -> bool:
        """Note what it has dropped by now; True when the source has gone on against it for the patience.

        A pause shorter than that is none: who floods in bursts has not stopped.
        """
        growing, self.dropped = dropped > self.dropped, dropped
        if growing:
            if now_ns - self.pressed_at_ns > patience_ns:
                self.pressed_since_ns = now_ns
            self.pressed_at_ns = now_ns
        return growing and not self.hardest and now_ns - self.pressed_since_ns >= patience_ns

    def unhindered(self, finding: Finding, patience_ns: int) -> bool:
        """Whether what it stands against goes on below its rate: then a rate is not what stops it."""
        same = self.finding is not None and self.finding.pattern == finding.pattern
        slow = same and finding.pattern in PATIENT and not self.hardest
        return slow and finding.last_ns - self.since_ns >= patience_ns
