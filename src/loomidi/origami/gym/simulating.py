"""One episode after the other of the system graph with a trouble in it: the environment itself, in plain numpy.

Called by `playing`, `comparing` and `environment`. In: a scenario's name and a seed; then an action at a time. Out:
`Step`: what is seen, the reward, and beside it what the budgets count. Steps of `step`: 1 guard, 2 act, 3 advance,
4 settle. A masked action raises MaskedAction, is counted, and changes nothing.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from loomidi.contracts import UsageError
from loomidi.origami.gym.actions import ACTIONS, HUMAN, NOTHING, slot_of, traits_of
from loomidi.origami.gym.figures import Figures, measured
from loomidi.origami.gym.folds import Fold, FoldSettings, prices
from loomidi.origami.gym.guarding import Budgets, GuardSettings, Situation, refusals
from loomidi.origami.gym.scenarios import SCENARIOS, SIGNALS
from loomidi.origami.gym.troubles import SuspectSettings, Trouble, draw_trouble
from loomidi.origami.gym.worlds import World, WorldSettings, draw_world
from loomidi.origami.policy import MaskedAction

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
_NEVER_S = 1e9
_FLICKER = 0.05  # deviation of a signal from one look to the next
_LASTING = np.isin(SIGNALS, ("rollout", "inside", "outside", "crowd", "expected", "forged"))


@dataclasses.dataclass(frozen=True, slots=True)
class GymSettings:
    """One unit for everything: minutes of the service level lost, all users' requests failing for a minute."""

    decide_s: float = 10.0
    # Between two decisions.
    horizon_s: float = 300.0
    # Of an episode.
    goal_min: float = 5.0
    # What an attack that has reached its goal costs.
    fold_min: float = 0.02
    # What each fold costs whoever reads about it.
    final_min: float = 0.05
    # On top, for what has no way back.
    human_min: float = 0.3
    # What a human who is asked costs.
    human_s: tuple[float, float] = (60.0, 240.0)
    # Until he has done the right thing.
    verify_s: float = 60.0
    # After which what does not help is taken back, where there is a way back.
    ramp_s: float = 5.0
    # Until a trouble is at its height.
    seen: float = 0.25
    # Part of its height from which it is seen: what a cure leaves is less.
    figures: Figures = dataclasses.field(default_factory=measured)
    world: WorldSettings = dataclasses.field(default_factory=WorldSettings)
    suspects: SuspectSettings = dataclasses.field(default_factory=SuspectSettings)
    guards: GuardSettings = dataclasses.field(default_factory=GuardSettings)
    budgets: Budgets = dataclasses.field(default_factory=Budgets)
    folds: FoldSettings = dataclasses.field(default_factory=FoldSettings)


@dataclasses.dataclass(slots=True)
class Tally:
    """What an episode has cost so far."""

    reward: float = 0.0
    slo_min: float = 0.0  # minutes of the service level lost
    downtime_min: float = 0.0  # of them through folds
    blast: float = 0.0  # the largest share of users' requests that folds touched at one moment
    progress: float = 0.0  # of the attack, 1: it has what it wants
    folds: int = 0
    asked: int = 0
    masked: int = 0  # actions that were tried although they were masked
    over_s: float = 0.0  # the trouble was seen last


class Simulator:
    """State: world, trouble, folds at work, time. Everything is drawn from one seed."""

    world: World
    trouble: Trouble

    def __init__(self, settings: GymSettings | None = None) -> None:
        self.settings = settings or GymSettings()
        self.folds: list[Fold] = []
        self.now_s = 0.0
        self.tally = Tally()
        self.bad = 0.0  # share of users' requests that failed in the last step
        self.signals: F64 = np.zeros(len(SIGNALS))  # in their order, as they are seen now
        self._human_s = _NEVER_S
        self._height = 0.0  # of the trouble now
        self._said: dict[bool, list[str]] = {}  # why not, until the next step

    def reset(self, scenario: str, seed: int, lasts_s: float | None = None) -> None:
        """Begin an episode and go on to the moment of detection. Raises UsageError for a scenario that is not there."""
        if scenario not in SCENARIOS:
            raise UsageError(f"{scenario} is no scenario; use one of {', '.join(SCENARIOS)}")
        rng = np.random.default_rng([seed, list(SCENARIOS).index(scenario)])
        self.world = draw_world(rng, self.settings.world)
        row = SCENARIOS[scenario]
        row = row if lasts_s is None else dataclasses.replace(row, lasts_s=(lasts_s, lasts_s))
        self.trouble = draw_trouble(row, self.world, self.settings.figures, rng, self.settings.suspects)
        self._acting, self._seeing = rng.spawn(2)  # what is seen does not depend on what is done
        self._human_s = _NEVER_S
        self.folds, self.now_s, self.tally, self.bad = [], 0.0, Tally(), 0.0
        self._advance(self.trouble.detected_s)
        self.tally.reward = 0.0  # nobody could have done anything before
        self._look()

    @property
    def done(self) -> bool:
        """The episode is over."""
        return self.now_s >= self.settings.horizon_s

    @property
    def alarm(self) -> bool:
        """Whether the trouble is seen now."""
        return self._height > self.settings.seen

    @property
    def asked(self) -> bool:
        """Whether a human was asked in this episode."""
        return self._human_s < _NEVER_S

    def refusals(self, *, screened: bool = True) -> list[str]:
        """Why each action is masked now; `screened`: by what is left of the budgets as well."""
        if screened in self._said:
            return self._said[screened]
        at = np.array([self.now_s])
        situation = Situation(
            self.now_s, self.trouble, self.world, self.folds, self.asked, self.alarm, self._spent(),
            float(self._touched(at)[0]),
        )  # fmt: skip
        budgets = self.settings.budgets if screened else None
        self._said[screened] = refusals(situation, self.settings.guards, budgets, self.settings.folds)
        return self._said[screened]

    def mask(self, *, screened: bool = True) -> Mask:
        """True where an action may be taken."""
        return np.array([not why for why in self.refusals(screened=screened)])

    def step(self, action: int, *, screened: bool = True) -> float:
        """Take one action and go on for `decide_s`; the reward. Raises MaskedAction for one that is not allowed."""
        if not 0 <= action < len(ACTIONS):
            raise UsageError(f"{action} is no action; there are {len(ACTIONS)}")
        if why := self.refusals(screened=screened)[action]:  # 1 guard
            self.tally.masked += 1
            raise MaskedAction(f"{ACTIONS[action]}: {why}; nothing was done")
        before = self.tally.reward
        self._act(action)  # 2 act
        self._advance(self.settings.decide_s)  # 3 advance
        self._settle()  # 4 settle
        self._look()
        return self.tally.reward - before

    def _act(self, action: int) -> None:
        settings, tally = self.settings, self.tally
        if action == NOTHING:
            return
        if action == HUMAN:
            self._human_s = self.now_s + float(self._acting.uniform(*settings.human_s))
            tally.asked += 1
            tally.reward -= settings.human_min
            return
        fold = self._fold(action)
        self.folds.append(fold)
        tally.folds += 1
        tally.reward -= settings.fold_min + (0.0 if fold.traits.undoable else settings.final_min)

    def _fold(self, action: int) -> Fold:
        traits, entity, rng = traits_of(action), self.trouble.suspects[slot_of(action)], self._acting
        kind, figures = traits.kind.value, self.settings.figures
        starts = self.now_s + figures.folded_s(kind, rng)
        cured = starts + figures.over_s(kind, rng)
        fold = Fold(traits, slot_of(action), entity, self.now_s, starts, cured, starts + traits.ttl_s)
        if cure := self.trouble.cure(kind, entity):
            fold.cure, fold.cure_until_s = cure.share * float(rng.uniform(0.9, 1.0)), cured + cure.lasts_s
            if kind in ("RESTART", "ROLLBACK", "EVICT"):
                fold.until_s = fold.cure_until_s  # what was put right stays so when the fold is over
        fold.worse = kind in self.trouble.scenario.worse and entity.role in ("victim", "other", "healthy")
        if kind == "SCALE_OUT":
            fold.added = min(self.settings.folds.added, float(np.sum(self.world.room)))
            fold.cure *= fold.added / self.settings.folds.added
        return fold

    def _advance(self, seconds: float) -> None:
        """Go on, a moment a second, and account."""
        count = max(1, round(seconds))
        times = self.now_s + (np.arange(count) + 0.5) * seconds / count
        minutes, tally, settings = seconds / count / 60.0, self.tally, self.settings
        strength = self._strength(times)
        served = self._served(times, strength, folds=True)
        without = self._served(times, strength, folds=False) if self.folds else served
        lost = float(np.sum(1.0 - served)) * minutes
        tally.slo_min += lost
        tally.downtime_min += float(np.sum(np.maximum(0.0, without - served))) * minutes
        tally.blast = max(tally.blast, float(np.max(self._touched(times))))
        won = 0.0
        if self.trouble.goal_s:
            won = min(float(np.sum(strength)) * minutes * 60.0 / self.trouble.goal_s, 1.0 - tally.progress)
            tally.progress += won
        seen = times[strength > settings.seen]
        tally.over_s = float(seen[-1]) + seconds / count / 2 if len(seen) else tally.over_s
        tally.reward -= lost + settings.goal_min * won
        self.bad = float(1.0 - served[-1])
        self.now_s += seconds

    def _settle(self) -> None:
        """Take back what did not help; a human who has answered takes back all that does not."""
        for fold in self.folds:
            late = self.now_s >= fold.from_s + self.settings.verify_s
            if fold.cure == 0.0 and fold.traits.undoable and (late or self.now_s >= self._human_s):
                fold.until_s = min(fold.until_s, self.now_s)

    def _spent(self) -> float:
        """Minutes of the budget of downtime that are gone, or that folds at work may still cost."""
        costs, spent = self.settings.folds, self.tally.downtime_min
        for fold in self.folds:
            if self.now_s < min(fold.until_s, fold.from_s + costs.longest_s):
                spent += prices(fold.traits, fold.entity, self.world, costs)[0]
        return spent

    def _look(self) -> None:
        """Signals of what goes on follow the trouble; those of who and what it is stay as they were found."""
        self._height = float(self._strength(np.array([self.now_s]))[0])
        self._said = {}
        seen = self.trouble.signals * np.where(_LASTING, 1.0, min(self._height, 1.0))
        self.signals = np.clip(seen + self._seeing.normal(0.0, _FLICKER, len(SIGNALS)), 0.0, 1.0)

    def _strength(self, times: F64) -> F64:
        """Of the trouble, 1 at its height, after what folds and a human have taken away."""
        trouble = self.trouble
        ends = trouble.lasts_s + trouble.after_s
        strength = np.clip(times / self.settings.ramp_s, 0.0, 1.0) * (times < ends) * (times < self._human_s)
        for fold in self.folds:
            strength *= fold.left(times)
            if fold.worse:
                strength *= 1.0 + 0.5 * fold.at_work(times)
        return strength

    def _served(self, times: F64, strength: F64, *, folds: bool) -> F64:
        """Share of users' requests that are answered well; without `folds`: had they cost nobody anything."""
        world, trouble, costs = self.world, self.trouble, self.settings.folds
        pods = np.repeat(world.replicas[None], len(times), axis=0)
        load = np.repeat((world.usage * world.replicas)[None], len(times), axis=0)
        passed = np.ones_like(pods)
        at, replicas = trouble.victim, float(world.replicas[trouble.victim])
        pods[:, at] -= np.minimum(trouble.capacity * strength, 1.0) * replicas
        load[:, at] += trouble.load * strength * replicas
        users = np.ones(len(times))
        for fold in self.folds:
            service = fold.entity.service
            if service >= 0:
                pods[:, service] += fold.more(times, world, costs)
            if folds and service >= 0:
                pods[:, service] -= fold.missing(times, world, costs)
                passed[:, service] *= 1.0 - fold.refused(times, costs)
            if folds:
                users *= 1.0 - fold.cut(times)
        good = np.clip(np.maximum(pods, 0.0) / load, 0.0, 1.0) * passed
        good[:, at] *= 1.0 - np.minimum(trouble.fault * strength, 1.0)
        served: F64 = np.prod(1.0 - world.uses * (1.0 - good), axis=1) * users
        return served

    def _touched(self, times: F64) -> F64:
        """Share of users' requests that folds at work touch."""
        free = np.ones(len(times))  # without folds it stays so
        for fold in self.folds:
            share = prices(fold.traits, fold.entity, self.world, self.settings.folds)[1]
            away = fold.missing(times, self.world, self.settings.folds) > 0
            at_work = fold.at_work(times) > 0 if fold.traits.kind.value == "RECONFIGURE_NETWORK" else away
            free *= 1.0 - min(share, 1.0) * at_work
        return 1.0 - free
