"""Chooses the fold: what the guards allow, by what was learned, with a stated share by lot among what is safe.

Called by `services` (later) and by `origami.gym`. In: `Candidates`; rewards by decision id, whenever they come. Out:
`Choice` with the probability of every candidate. Steps of `choose`: 1 mask, 2 judge, 3 draw, 4 check again. Whether a
fold is carried out, and keeping the log, is left to the caller (`logs` has its schema).
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from loomidi.contracts import Refused, UsageError
from loomidi.origami.online.seen import packed, unpacked
from loomidi.origami.policy.arms import LinearArms
from loomidi.origami.policy.candidates import Candidates, Choice

F64 = npt.NDArray[np.float64]
LEAST_FLOOR, MOST_FLOOR = 0.05, 0.10
_ID_OCTETS = 64
_COUNTS = ("chosen", "by_lot", "masked", "refused_after", "learned", "unknown", "forgotten")


class MaskedAction(Refused):
    """A candidate that a guard denies was about to be chosen. Nothing was done."""


@dataclasses.dataclass(frozen=True, slots=True)
class ChooserSettings:
    """How much is tried, and how fast the rules are given up."""

    seed: int = 0
    # Of the lots. The same seed and the same candidates give the same choices.
    floor: float = 0.08
    # Share of decisions by lot among safe candidates, 0.05 to 0.10. Without it the log cannot judge any other policy.
    optimism: float = 0.0
    # Deviations that are added to a safe candidate (LinUCB's alpha). The floor tries enough: see docs/which-fold.md.
    caution: float = 0.0
    # Deviations that are taken off a candidate that is not safe, which then has to be known to be better.
    ridge: float = 1.0
    # How many outcomes the rules' expectation weighs.
    pending: int = 4096
    # Decisions whose outcome is waited for; the oldest is forgotten, and counted.

    def __post_init__(self) -> None:
        if not LEAST_FLOOR <= self.floor <= MOST_FLOOR:
            raise UsageError(f"a floor of {self.floor:g} is not within {LEAST_FLOOR} to {MOST_FLOOR}")
        if self.pending < 1:
            raise UsageError("at least one decision must be waited for; raise `pending`")


@dataclasses.dataclass(frozen=True, slots=True)
class _Waiting:
    """What is needed of a choice once its outcome comes."""

    arm: int
    expected: float
    features: F64


class Chooser:
    """A contextual bandit over the candidates of rules."""

    def __init__(self, features: int, settings: ChooserSettings | None = None) -> None:
        self.settings = settings or ChooserSettings()
        self.arms = LinearArms(features, self.settings.ridge)
        self.counts = dict.fromkeys(_COUNTS, 0)
        self._waiting: dict[str, _Waiting] = {}  # the oldest first

    def choose(self, decision: str, candidates: Candidates, allowed_now: Callable[[int], bool] | None = None) -> Choice:
        """One decision. `allowed_now` asks the guards once more about the row that was drawn.

        Raises MaskedAction when they no longer allow it, UsageError for an id that is waited for or too long.
        """
        self._check_id(decision)
        propensities, greedy = self.propensities(candidates)  # 1 mask, 2 judge
        number = self.counts["chosen"]
        index = _drawn(propensities, self.settings.seed, number)  # 3 draw
        if not candidates.allowed[index] or not (allowed_now or _still)(index):  # 4 check again
            self.counts["refused_after"] += 1
            raise MaskedAction(f"{candidates.names[index]}: a guard denies it; nothing was done, decide anew")
        self.counts["chosen"] += 1
        self.counts["masked"] += int(np.sum(~candidates.allowed))
        self.counts["by_lot"] += index != greedy
        self._wait(decision, candidates, index)
        return Choice(decision, number, index, greedy, propensities, candidates)

    def propensities(self, candidates: Candidates) -> tuple[F64, int]:
        """The probability of each row, and the row that looks best; nothing is drawn or counted."""
        greedy = self.best(candidates)
        chances = np.zeros(len(candidates))
        by_lot = candidates.explored
        floor = self.settings.floor if np.any(by_lot) else 0.0
        chances[by_lot] = floor / max(int(np.sum(by_lot)), 1)
        chances[greedy] += 1.0 - floor
        return chances, greedy

    def best(self, candidates: Candidates) -> int:
        """The allowed row that looks best; of equals the first."""
        means = self.arms.means(candidates.arms, candidates.features, candidates.expected)
        unsure = self.arms.deviations(candidates.arms, candidates.features)
        leaning = np.where(candidates.safe, self.settings.optimism, -self.settings.caution)
        return int(np.argmax(np.where(candidates.allowed, means + leaning * unsure, -np.inf)))

    def learn(self, decision: str, reward: float) -> bool:
        """The outcome of a decision, 0..1 or about it; False, and counted, for one that nobody waits for (any more)."""
        waiting = self._waiting.pop(decision, None)
        if waiting is None or not np.isfinite(reward):
            self.counts["unknown"] += 1
            return False
        self.arms.learn(waiting.arm, waiting.features, reward - waiting.expected)
        self.counts["learned"] += 1
        return True

    def snapshot(self) -> bytes:
        """What was learned, what is waited for, counts. The settings are the caller's."""
        return packed(self._arrays())

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot` bit for bit. Raises InputError where it does not fit."""
        kept = unpacked(state, self._arrays())
        self.arms.restore(kept["arms"].tobytes())
        self.counts = dict(zip(_COUNTS, map(int, kept["counts"]), strict=True))
        names = [name.decode() for name in kept["waiting"].tolist()]
        columns = zip(kept["waiting_arms"], kept["waiting_expected"], kept["waiting_features"], strict=True)
        rows = [_Waiting(int(arm), float(expected), features) for arm, expected, features in columns]
        self._waiting = dict(zip(names, rows, strict=True))

    def _wait(self, decision: str, candidates: Candidates, index: int) -> None:
        self._waiting[decision] = _Waiting(
            int(candidates.arms[index]), float(candidates.expected[index]), candidates.features[index].copy()
        )
        while len(self._waiting) > self.settings.pending:
            self._waiting.pop(next(iter(self._waiting)))
            self.counts["forgotten"] += 1

    def _check_id(self, decision: str) -> None:
        if decision in self._waiting:
            raise UsageError(f"the decision {decision} is waited for already; give each one an id of its own")
        if not 0 < len(decision.encode()) <= _ID_OCTETS:
            raise UsageError(f"an id of {len(decision.encode())} octets; give it 1 to {_ID_OCTETS}")

    def _arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        rows = list(self._waiting.values())
        features = [row.features for row in rows] or [np.zeros(self.arms.features)]
        return {
            "arms": np.frombuffer(self.arms.snapshot(), np.uint8),
            "counts": np.array([self.counts[name] for name in _COUNTS], np.int64),
            "waiting": np.array([name.encode() for name in self._waiting], f"S{_ID_OCTETS}"),
            "waiting_arms": np.array([row.arm for row in rows], np.int64),
            "waiting_expected": np.array([row.expected for row in rows], np.float64),
            "waiting_features": np.stack(features)[: len(rows)],
        }


def _drawn(chances: F64, seed: int, number: int) -> int:
    """A row by its probability. The lot depends on seed and number alone, so a decision can be repeated by itself."""
    lot = float(np.random.Generator(np.random.Philox(key=[seed, number])).random())
    return int(min(np.searchsorted(np.cumsum(chances), lot, side="right"), np.flatnonzero(chances)[-1]))


def _still(_index: int) -> bool:
    return True
