"""The life of a Fold: its phases, what each means, and which may follow which.

Called by `folds` (the rules that the API server enforces) and by the operator (the same tables). In: nothing. Out: the
enumeration and the tables. Who moves a Fold, and why, is left to the operator.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType


class Phase(enum.StrEnum):
    """Where a Fold is, in the order of a life that goes well, then the ways to end."""

    PROPOSED = "Proposed"
    GUARDED = "Guarded"
    APPROVED = "Approved"
    APPLYING = "Applying"
    VERIFYING = "Verifying"
    ACTIVE = "Active"
    RELEASED = "Released"
    ROLLED_BACK = "RolledBack"
    EXPIRED = "Expired"
    DENIED = "Denied"
    SUPERSEDED = "Superseded"


_UNTOUCHED_ENDS = (Phase.DENIED, Phase.EXPIRED, Phase.SUPERSEDED)
_TOUCHED_ENDS = (Phase.RELEASED, Phase.ROLLED_BACK, Phase.SUPERSEDED)

NEXT: Mapping[Phase, tuple[Phase, ...]] = MappingProxyType(
    {
        Phase.PROPOSED: (Phase.GUARDED, *_UNTOUCHED_ENDS),
        Phase.GUARDED: (Phase.APPROVED, *_UNTOUCHED_ENDS),
        Phase.APPROVED: (Phase.APPLYING, *_UNTOUCHED_ENDS),
        Phase.APPLYING: (Phase.VERIFYING, *_TOUCHED_ENDS),
        Phase.VERIFYING: (Phase.ACTIVE, *_TOUCHED_ENDS),
        Phase.ACTIVE: _TOUCHED_ENDS,
        Phase.RELEASED: (),
        Phase.ROLLED_BACK: (),
        Phase.EXPIRED: (),
        Phase.DENIED: (),
        Phase.SUPERSEDED: (),
    }
)


def _onward(phase: Phase) -> tuple[Phase, ...]:
    """What one write may say after a phase: those at which nothing was touched yet may be passed over."""
    further = [after for one in NEXT[phase] if one in (Phase.GUARDED, Phase.APPROVED) for after in _onward(one)]
    return tuple(sorted({*NEXT[phase], *further}, key=list(Phase).index))


WRITTEN: Mapping[Phase, tuple[Phase, ...]] = MappingProxyType({phase: _onward(phase) for phase in NEXT})
"""A life goes by `NEXT`; a write may go on at once from a phase at which nobody is waited for (ADR 0098)."""
FIRST = (Phase.PROPOSED, *WRITTEN[Phase.PROPOSED])  # what the first write may say

OPEN = (Phase.PROPOSED, Phase.GUARDED)  # the spec may still change
TERMINAL = tuple(phase for phase, after in NEXT.items() if not after)
TOUCHING = (Phase.APPROVED, Phase.APPLYING, Phase.VERIFYING, Phase.ACTIVE)  # never reached in mode shadow
JUDGED = (Phase.GUARDED, *TOUCHING)  # every guard has answered yes
BEGUN = (Phase.APPLYING, Phase.VERIFYING, Phase.ACTIVE)  # the inverse is stored

MEANING: Mapping[Phase, str] = MappingProxyType(
    {
        Phase.PROPOSED: "somebody asks for it; nothing was judged yet",
        Phase.GUARDED: "every guard has answered yes; it waits for approvals, or for its end in mode shadow",
        Phase.APPROVED: "it may be carried out as it stands; the spec is fixed from here on",
        Phase.APPLYING: "the inverse is stored, the change is being made",
        Phase.VERIFYING: "the change is made, probes watch whether it holds",
        Phase.ACTIVE: "in force and verified, until its time is up",
        Phase.RELEASED: "taken back as planned: its time was up, or a person released it",
        Phase.ROLLED_BACK: "taken back because it failed, or did not do what it was for",
        Phase.EXPIRED: "not approved or not begun in time; nothing was touched",
        Phase.DENIED: "a guard or a person said no; nothing was touched",
        Phase.SUPERSEDED: "its target changed, or the next step of its ladder came; what it did is taken back",
    }
)
