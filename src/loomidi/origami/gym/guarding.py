"""Which actions the guards allow at this moment: the floor's checks in terms of the environment.

Called by `simulating`, before an action is chosen and again when it is taken. In: the state of an episode. Out: for
each action '' or why not. Same meaning as `ionic.decide.guards.floor`, which acts on plans: fitting, spared, final,
confidence, share, caps; and the operator's brakes: half of a workload at most, rest after a fold.
"""

import dataclasses
from collections.abc import Sequence

from loomidi.origami.gym.actions import ACTIONS, FIRST_FOLD, HUMAN, slot_of, traits_of
from loomidi.origami.gym.folds import Fold, FoldSettings, prices
from loomidi.origami.gym.troubles import Trouble
from loomidi.origami.gym.worlds import World


@dataclasses.dataclass(frozen=True, slots=True)
class GuardSettings:
    """As `ionic.decide.Limits` and the brakes of a FoldPolicy have them."""

    sure: float = 0.8
    # Confidence from which a named source may be cut off whatever its share is.
    max_share: float = 0.5
    # Of all octets, that a fold may cut otherwise.
    max_active_per_target: int = 4
    # Folds at work on one suspect.
    out_share: float = 0.5
    # Of a workload's pods, that folds may take out together.
    rest_s: float = 10.0
    # After a fold on a suspect, before the next one on it.


@dataclasses.dataclass(frozen=True, slots=True)
class Budgets:
    """What the folds of one incident may cost users: constraints, beside the reward and not in it."""

    downtime_min: float = 0.5
    # Minutes of all users' requests that were lost through folds.
    blast: float = 0.5
    # Share of users' requests that folds at work touch at one moment.


@dataclasses.dataclass(frozen=True, slots=True)
class Situation:
    """What guards look at."""

    now_s: float
    trouble: Trouble
    world: World
    folds: Sequence[Fold]
    asked: bool  # a human, in this episode
    alarm: bool
    spent_min: float  # of the budget of downtime
    touching: float  # share of users' requests that folds touch now


def refusals(situation: Situation, guards: GuardSettings, budgets: Budgets | None, costs: FoldSettings) -> list[str]:
    """Why each action is masked, '' where it is not. With `budgets`, also what could break them at worst.

    The screening by what is left of a budget is that of arXiv:2606.13832.
    """
    if not situation.alarm:
        return ["", *["nothing is found"] * (len(ACTIONS) - 1)]
    said = [""] * len(ACTIONS)
    said[HUMAN] = "a human is asked already" if situation.asked else ""
    for action in range(FIRST_FOLD, len(ACTIONS)):
        said[action] = _denied(situation, action, guards) or (
            _dear(situation, action, budgets, costs) if budgets else ""
        )
    return said


def _denied(situation: Situation, action: int, guards: GuardSettings) -> str:
    traits, trouble = traits_of(action), situation.trouble
    entity = trouble.suspects[slot_of(action)]
    same = [fold for fold in situation.folds if fold.slot == slot_of(action)]
    active = [fold for fold in same if fold.until_s > situation.now_s]
    if entity.kind not in traits.on:
        return f"{traits.kind.value} does not fit a {entity.kind}"
    if entity.protected:
        return f"{entity.name} is protected"
    if trouble.confidence < traits.confidence:
        return f"confidence {trouble.confidence:.2f}, asked {traits.confidence:g}"
    if not traits.gentle and entity.octets > guards.max_share and trouble.confidence < guards.sure:
        return f"it cuts {entity.octets:.0%} of the octets"
    if any(fold.traits is traits for fold in active):
        return "it is at work already"
    if len(active) >= guards.max_active_per_target:
        return f"{len(active)} folds are at work on it"
    if any(situation.now_s - fold.decided_s < guards.rest_s for fold in same):
        return "it rests"
    return _too_many(situation, action, guards)


def _too_many(situation: Situation, action: int, guards: GuardSettings) -> str:
    """Half of the pods of a workload at most."""
    traits, entity = traits_of(action), situation.trouble.suspects[slot_of(action)]
    if (
        traits.kind.value not in ("ISOLATE_POD", "EVICT")
        or entity.service < 0
        or entity.kind not in ("pod", "workload")
    ):
        return ""
    out = sum(
        fold.traits.kind.value == "ISOLATE_POD" and fold.entity.service == entity.service
        for fold in situation.folds
        if fold.until_s > situation.now_s
    )
    replicas = float(situation.world.replicas[entity.service])
    return f"{out + 1} of {replicas:.0f} pods would be out" if out + 1 > guards.out_share * replicas else ""


def _dear(situation: Situation, action: int, budgets: Budgets, costs: FoldSettings) -> str:
    entity = situation.trouble.suspects[slot_of(action)]
    downtime, blast = prices(traits_of(action), entity, situation.world, costs)
    if situation.spent_min + downtime > budgets.downtime_min:
        return f"it may cost {downtime:.2f} min of {budgets.downtime_min - situation.spent_min:.2f} that are left"
    if situation.touching + blast > budgets.blast:
        return f"it touches {blast:.0%} of the requests beside {situation.touching:.0%}"
    return ""
