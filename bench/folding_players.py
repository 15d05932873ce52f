"""Who folding.py lets play: the rules as they are, a playbook by hand, and nobody.

Called by `bench/folding.py` and tests. The rules are `ionic.decide.propose` itself, asked with a Finding that is made
of what the environment shows; nothing of the truth goes into it.
"""

import numpy as np
import numpy.typing as npt

from loomidi.contracts import Finding, FoldKind, Severity
from loomidi.ionic.decide import propose
from loomidi.ionic.decide.places import place
from loomidi.origami.gym import HUMAN, NOTHING, PLAIN, SIGNALS, Simulator, action_of
from loomidi.origami.gym.actions import KIND_NAMES

F64 = npt.NDArray[np.float64]
FIRST, STEP, NONE_IF_RULES = (
    0.6,
    0.1,
    0.4,
)  # what a rule's first fold, each further one, and doing nothing are held to be worth


def finding_of(simulator: Simulator) -> Finding:
    """What a detector would say at this moment."""
    trouble, now_ns = simulator.trouble, round(simulator.now_s * 1e9)
    names = tuple(entity.name for entity in trouble.suspects)
    return Finding(
        id=f"finding-{now_ns}",
        pattern=trouble.pattern,
        techniques=(),
        severity=Severity.HIGH,
        confidence=trouble.confidence,
        entities=names,
        first_ns=0,
        last_ns=now_ns,
        evidence=(),
        source="gym",
    )


def rules(simulator: Simulator) -> list[int]:
    """The actions that the rules propose, gentlest first; what the environment has no action for is left out."""
    suspects = [place(entity.name) for entity in simulator.trouble.suspects]
    names = [entity.name for entity in simulator.trouble.suspects]
    found: list[int] = []
    for fold in propose(finding_of(simulator)):
        address = fold.match.source
        slots = [
            at for at, name in enumerate(names) if name == fold.target or (address and suspects[at].address == address)
        ]
        if slots and fold.kind.value in KIND_NAMES:
            found.append(action_of(fold.kind.value, slots[0]))
    return list(dict.fromkeys(found))


def expected(simulator: Simulator) -> F64:
    """The rules as a bandit's prior: before it has learned anything it does what they do."""
    proposed = [action for action in rules(simulator) if simulator.mask()[action]]
    if not proposed:
        return PLAIN
    worth = PLAIN.copy()
    worth[NOTHING] = NONE_IF_RULES
    for rank, action in enumerate(proposed):
        worth[action] = FIRST - STEP * rank
    return worth


class Rules:
    """The playbook: the gentlest answer that guards allow and that was not tried yet, then the next, at a rest."""

    screened = False  # they know of no budgets

    def __init__(self, wait_s: float = 30.0) -> None:
        self._wait_s, self._next_s = wait_s, 0.0
        self._tried: set[int] = set()

    def begin(self) -> None:
        """Nothing was tried."""
        self._next_s, self._tried = 0.0, set()

    def decide(self, simulator: Simulator) -> int:
        """The next of the rules' folds."""
        if not simulator.alarm or simulator.now_s < self._next_s:
            return NOTHING
        action = first_of(simulator, [one for one in rules(simulator) if one not in self._tried])
        if action != NOTHING:
            self._tried.add(action)
            self._next_s = simulator.now_s + self._wait_s
        return action


def first_of(simulator: Simulator, actions: list[int], *, screened: bool = False) -> int:
    """The first that guards allow, or nothing."""
    mask = simulator.mask(screened=screened)
    return next((action for action in actions if mask[action]), NOTHING)


class ByHand:
    """A dozen lines of somebody who knows the scenarios: heuristics first, before anything is called learned."""

    def __init__(self, wait_s: float = 30.0) -> None:
        self._wait_s, self._next_s = wait_s, 0.0

    def begin(self) -> None:
        """Nothing is waited for."""
        self._next_s = 0.0

    def decide(self, simulator: Simulator) -> int:
        """By a few thresholds on what is seen."""
        if not simulator.alarm or simulator.now_s < self._next_s:
            return NOTHING
        self._next_s = simulator.now_s + self._wait_s
        return first_of(simulator, by_hand(simulator), screened=True)


def by_hand(simulator: Simulator) -> list[int]:
    """What to try, the best first."""
    seen = dict(zip(SIGNALS, simulator.signals, strict=True))
    both = lambda kind: [action_of(kind, slot) for slot in (0, 1)]  # noqa: E731
    if seen["expected"] > 0.45 or seen["forged"] > 0.6:
        return [NOTHING]
    if seen["inside"] > 0.5:
        return both(FoldKind.ISOLATE_POD.value)[: 1 + (seen["outside"] < 0.25)]
    if seen["outside"] > 0.5:
        return both(FoldKind.RECONFIGURE_NETWORK.value)
    if seen["rollout"] > 0.45:
        return both(FoldKind.ROLLBACK.value)
    if seen["node"] > 0.6:
        return [*both(FoldKind.CORDON.value), *both(FoldKind.EVICT.value)]
    if seen["throttled"] > 0.4:
        return both(FoldKind.SCALE_OUT.value)
    return [*both(FoldKind.RESTART.value)[:1], HUMAN] if seen["errors"] > 0.3 else [HUMAN]
