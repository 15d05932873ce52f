"""What can be done in the environment: nothing, asking a human, or one of eight folds on one of two suspects.

Read by everything in `gym`. An action is a number: 0 nothing, 1 a human, then for each kind a number per suspect.
Times to live and confidences are those of the house (`ionic`), repeated here because imports go downwards only; a
test holds them against it.
"""

import dataclasses

from loomidi.contracts import FoldKind
from loomidi.origami.policy import ASK_HUMAN, NO_ACTION

NOTHING, HUMAN, FIRST_FOLD = 0, 1, 2
SLOTS = 2  # suspects that a finding names, the likelier first


@dataclasses.dataclass(frozen=True, slots=True)
class KindTraits:
    """One kind of fold."""

    kind: FoldKind
    on: tuple[str, ...]  # kinds of suspects that it can be done to
    ttl_s: float  # it ends by itself
    confidence: float  # 0..1, least of the finding
    gentle: bool  # nobody is cut off from what he talks to: no limit on the share of the traffic
    undoable: bool  # there is a way back
    risk: float  # 0..1, how much it hurts where it is wrong; orders the candidates, is no reward


KINDS: tuple[KindTraits, ...] = (
    KindTraits(FoldKind.SCALE_OUT, ("workload",), 1800.0, 0.5, gentle=True, undoable=True, risk=0.1),
    KindTraits(FoldKind.RESIZE, ("workload",), 1800.0, 0.5, gentle=True, undoable=True, risk=0.1),
    KindTraits(FoldKind.CORDON, ("node", "pod"), 1800.0, 0.6, gentle=True, undoable=True, risk=0.2),
    KindTraits(
        FoldKind.RECONFIGURE_NETWORK, ("external", "workload"), 300.0, 0.6, gentle=False, undoable=True, risk=0.4
    ),
    KindTraits(FoldKind.ROLLBACK, ("workload",), 3600.0, 0.7, gentle=True, undoable=True, risk=0.4),
    KindTraits(FoldKind.RESTART, ("workload",), 60.0, 0.6, gentle=True, undoable=False, risk=0.5),
    KindTraits(FoldKind.ISOLATE_POD, ("pod", "workload"), 900.0, 0.7, gentle=False, undoable=True, risk=0.7),
    KindTraits(FoldKind.EVICT, ("pod", "workload"), 60.0, 0.8, gentle=False, undoable=False, risk=0.6),
)
KIND_NAMES: tuple[str, ...] = tuple(traits.kind.value for traits in KINDS)
ACTIONS: tuple[str, ...] = (
    NO_ACTION,
    ASK_HUMAN,
    *(f"{name} suspect {slot + 1}" for name in KIND_NAMES for slot in range(SLOTS)),
)


def action_of(kind: str, slot: int) -> int:
    """The number of a fold of that kind on that suspect."""
    return FIRST_FOLD + KIND_NAMES.index(kind) * SLOTS + slot


def traits_of(action: int) -> KindTraits:
    """Of a fold."""
    return KINDS[(action - FIRST_FOLD) // SLOTS]


def slot_of(action: int) -> int:
    """Which suspect a fold is about."""
    return (action - FIRST_FOLD) % SLOTS
