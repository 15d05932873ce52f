"""What a policy may see of an episode: as one vector for an agent, as candidates for a bandit.

Called by `playing`, `environment` and the bench. In: a `Simulator`, and what the rules expect of each action. Out:
`observation` (float32, OBSERVED values within -1..1) and `candidates`. Nothing of the truth is in either: no scenario,
no role, no cure.
"""

import numpy as np
import numpy.typing as npt

from loomidi.origami.gym.actions import ACTIONS, FIRST_FOLD, HUMAN, NOTHING, SLOTS, action_of, slot_of, traits_of
from loomidi.origami.gym.scenarios import SIGNALS
from loomidi.origami.gym.simulating import Simulator
from loomidi.origami.gym.troubles import Entity
from loomidi.origami.policy import ARMS, Candidates

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
_KINDS = ("pod", "external", "workload", "node")
_SUSPECT = 3 + len(_KINDS) + 1
FEATURES = 1 + 1 + len(SIGNALS) + _SUSPECT  # of a candidate: bias, confidence, signals, its suspect
OBSERVED = len(SIGNALS) + 2 + SLOTS * _SUSPECT + (len(ACTIONS) - FIRST_FOLD) + 5
PLAIN = np.array([0.5, 0.35] + [0.2] * (len(ACTIONS) - FIRST_FOLD))  # expected without rules
_ARM_OF = np.array(
    [ARMS.index(ACTIONS[NOTHING]), ARMS.index(ACTIONS[HUMAN])]
    + [ARMS.index(traits_of(action).kind.value) for action in range(FIRST_FOLD, len(ACTIONS))],
    np.int64,
)
_FOLDS = [traits_of(action) for action in range(FIRST_FOLD, len(ACTIONS))]
_GENTLE = np.array([True, True] + [traits.gentle and traits.undoable for traits in _FOLDS])


def observation(simulator: Simulator) -> F32:
    """One vector: signals, confidence, alarm, suspects, folds at work, a human, time, what is left of the budgets."""
    trouble, now, settings = simulator.trouble, simulator.now_s, simulator.settings
    at_work = np.zeros(len(ACTIONS) - FIRST_FOLD)
    for fold in simulator.folds:
        if fold.until_s > now:
            at_work[action_of(fold.traits.kind.value, fold.slot) - FIRST_FOLD] = 1.0
    tally, budgets = simulator.tally, settings.budgets
    rest = [
        float(simulator.asked),
        min(now / settings.horizon_s, 1.0),
        np.clip(1.0 - tally.downtime_min / budgets.downtime_min, -1.0, 1.0),
        np.clip(1.0 - tally.blast / budgets.blast, -1.0, 1.0),
        simulator.bad,
    ]
    seen = [*simulator.signals, trouble.confidence, float(simulator.alarm)]
    suspects = [_suspect(simulator, slot) for slot in range(SLOTS)]
    return np.concatenate([seen, *suspects, at_work, rest]).astype(np.float32)


def candidates(simulator: Simulator, expected: F64 | None = None, *, screened: bool = True) -> Candidates:
    """A row per action, in their order; `expected` as the rules have it. Exploring is safe for what is gentle."""
    shared = np.array([1.0, simulator.trouble.confidence, *simulator.signals])
    none, suspects = np.zeros(_SUSPECT), [_suspect(simulator, slot) for slot in range(SLOTS)]
    rows = [none if action < FIRST_FOLD else suspects[slot_of(action)] for action in range(len(ACTIONS))]
    return Candidates(
        names=ACTIONS,
        arms=_ARM_OF,
        features=np.array([np.concatenate([shared, row]) for row in rows]),
        expected=PLAIN if expected is None else expected,
        allowed=simulator.mask(screened=screened),
        safe=_GENTLE,
    )


def _suspect(simulator: Simulator, slot: int) -> F64:
    trouble, world = simulator.trouble, simulator.world
    entity: Entity = trouble.suspects[slot]
    kinds = [float(entity.kind == kind) for kind in _KINDS]
    serves = entity.service >= 0 and entity.kind != "node"
    uses = float(world.uses[entity.service]) if serves else 0.0
    alone = 1.0 / float(world.replicas[entity.service]) if serves else 0.0
    return np.array([trouble.scores[slot], *kinds, uses, alone, entity.octets])
