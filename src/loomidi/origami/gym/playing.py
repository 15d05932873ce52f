"""Policies at work in the environment, and what became of it: whole episodes, and single decisions.

Called by the bench, `comparing` and tests. In: a `Player` (who decides), scenarios with seeds. Out: `Played`, a record
per episode, and `Decided`, a record per decision with the outcome that a bandit learns from. The same scenario and
seed are the same world, trouble and signals to every player.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np

from loomidi.origami.gym.actions import HUMAN, NOTHING
from loomidi.origami.gym.observing import candidates
from loomidi.origami.gym.scenarios import SCENARIOS
from loomidi.origami.gym.simulating import GymSettings, Simulator, Tally
from loomidi.origami.policy import Chooser, MaskedAction

HORIZON_S = 60.0  # after which the outcome of a decision is looked at: as long as the operator verifies
WORST_MIN = 2.0  # minutes of the service level; what costs as much or more earns nothing
Episode = tuple[str, int]  # scenario, seed


class Player(Protocol):
    """Who decides."""

    def begin(self) -> None:
        """Another episode begins."""

    def decide(self, simulator: Simulator) -> int:
        """The action to take now."""


@dataclasses.dataclass(frozen=True, slots=True)
class Played:
    """One episode."""

    scenario: str
    seed: int
    reward: float
    slo_min: float
    progress: float
    downtime_min: float
    blast: float
    folds: int
    asked: int
    masked: int
    over_s: float
    detected_s: float
    first: str  # kind of the first fold, '' without any
    within: bool  # both budgets held


@dataclasses.dataclass(frozen=True, slots=True)
class Decided:
    """What came of one decision within HORIZON_S."""

    worked: bool
    reward: float  # 0..1: half whether it worked, half what it cost
    label: str  # worked, no_effect, harmful


def play(player: Player, episodes: Iterable[Episode], settings: GymSettings | None = None) -> list[Played]:
    """Whole episodes. A masked action is counted, and nothing is done instead."""
    simulator, played = Simulator(settings), []
    for scenario, seed in episodes:
        simulator.reset(scenario, seed)
        played.append(play_on(player, simulator, seed))
    return played


def play_on(player: Player, simulator: Simulator, seed: int) -> Played:
    """From where the simulator stands to the end."""
    player.begin()
    screened = bool(getattr(player, "screened", True))
    while not simulator.done:
        try:
            simulator.step(player.decide(simulator), screened=screened)
        except MaskedAction:
            simulator.step(NOTHING)
    tally, budgets = simulator.tally, simulator.settings.budgets
    within = tally.downtime_min <= budgets.downtime_min and tally.blast <= budgets.blast
    first = simulator.folds[0].traits.kind.value if simulator.folds else ""
    return Played(
        simulator.trouble.scenario.name, seed, tally.reward, tally.slo_min, tally.progress, tally.downtime_min,
        tally.blast, tally.folds, tally.asked, tally.masked, tally.over_s, simulator.trouble.detected_s, first, within,
    )  # fmt: skip


def decide_once(simulator: Simulator, action: int, *, screened: bool = True) -> Decided:
    """Take the action, wait, and look: the outcome as it would be joined to the decision in production."""
    before = dataclasses.replace(simulator.tally)
    simulator.step(action, screened=screened)
    for _ in range(round(HORIZON_S / simulator.settings.decide_s) - 1):
        simulator.step(NOTHING)
    worked = _worked(simulator, action, before)
    cost = min(1.0, max(0.0, before.reward - simulator.tally.reward) / WORST_MIN)
    harmful = not worked and simulator.tally.downtime_min - before.downtime_min > _HARM_MIN
    label = "worked" if worked else "harmful" if harmful else "no_effect"
    return Decided(worked, 0.5 * worked + 0.5 * (1.0 - cost), label)


_HARM_MIN = 0.05  # of downtime through the fold: a twentieth of a minute of all users


def _worked(simulator: Simulator, action: int, before: Tally) -> bool:
    """The trouble is over, and users paid little for it. Where no fold helps, it was right to ask, or to do nothing.

    What needs nothing is what is benign, and an attack that only wants us to hit a bystander; a person who is asked
    for that was asked for nothing.
    """
    trouble = simulator.trouble
    scenario = trouble.scenario
    harm = simulator.tally.downtime_min - before.downtime_min > _HARM_MIN
    if action == HUMAN:
        return not scenario.cures and scenario.category == "failure"
    if not scenario.cures or scenario.category == "benign":
        helped = any(fold.cure > 0 for fold in simulator.folds)
        return scenario.category != "failure" and (action == NOTHING or (helped and not harm))
    return not simulator.alarm and not harm


def episodes_of(names: Sequence[str], count: int, seed: int, benign: float = 0.3) -> list[Episode]:
    """Scenarios by lot: a share `benign` of look-alikes, the rest attacks and failures alike, families alike."""
    rng = np.random.default_rng([seed, 7])
    by_category: dict[str, dict[str, list[str]]] = {}
    for name in names:
        one = SCENARIOS[name]
        by_category.setdefault(one.category, {}).setdefault(one.family, []).append(name)
    shares = {"benign": benign, "attack": (1 - benign) / 2, "failure": (1 - benign) / 2}
    categories = [category for category in shares if category in by_category]
    weights = np.array([shares[category] for category in categories])
    drawn: list[Episode] = []
    for at in range(count):
        families = by_category[categories[int(rng.choice(len(categories), p=weights / np.sum(weights)))]]
        names_of = list(families.values())[int(rng.integers(0, len(families)))]
        drawn.append((names_of[int(rng.integers(0, len(names_of)))], seed * 1_000_000 + at))
    return drawn


class Idle:
    """Never does anything."""

    def begin(self) -> None:
        """Nothing to forget."""

    def decide(self, simulator: Simulator) -> int:
        """Nothing."""
        return NOTHING


Expecting = Callable[[Simulator], "np.ndarray[tuple[int], np.dtype[np.float64]]"]


class Bandit:
    """A `Chooser` that has learned, without its lots: decides when it is alarmed, then waits for what comes of it."""

    def __init__(self, chooser: Chooser, expecting: Expecting, wait_s: float = 30.0) -> None:
        self._chooser, self._expecting, self._wait_s = chooser, expecting, wait_s
        self._next_s = 0.0

    def begin(self) -> None:
        """Nothing is waited for."""
        self._next_s = 0.0

    def decide(self, simulator: Simulator) -> int:
        """What looks best now, or nothing while the last decision is still at work."""
        if not simulator.alarm or simulator.now_s < self._next_s:
            return NOTHING
        self._next_s = simulator.now_s + self._wait_s
        return self._chooser.best(candidates(simulator, self._expecting(simulator)))
