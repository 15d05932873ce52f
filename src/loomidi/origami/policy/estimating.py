"""What another policy would have earned, by the log of this one: IPS, SNIPS and DR, with how far to believe them.

Called by the bench and, later, by the promotion gate. In: rewards, propensities, what the other policy would have
done. Out: `Estimate`s with an interval by bootstrap and the effective sample size; below a least size the answer is
"cannot be said", never a number to act on. Written from the papers, which each function names.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from loomidi.contracts import UsageError
from loomidi.origami.policy.arms import LinearArms
from loomidi.origami.policy.candidates import Candidates

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True)
class EstimateSettings:
    """How much evidence is asked for."""

    least_effective: float = 50.0
    # Decisions that the weighted log is worth; fewer give intervals that mean nothing.
    least_share: float = 0.1
    # Of the log: below it a few decisions carry the whole answer, however long the log is.
    confidence: float = 0.95
    # Of the interval.
    rounds: int = 1000
    # Bootstrap samples.
    seed: int = 0
    # Of the bootstrap.
    folds: int = 5
    # Parts of the log for the reward model: each decision is judged by a model that has not seen it.


@dataclasses.dataclass(frozen=True, slots=True)
class Logged:
    """One row a decision. Raises UsageError for a propensity that is not above zero."""

    rewards: F64
    propensities: F64  # of what was done, by who did it
    target: F64  # of what was done, by the other policy
    modelled: F64 | None = None  # reward of what was done, by a model that did not see it
    modelled_target: F64 | None = None  # mean of the model's rewards under the other policy

    def __post_init__(self) -> None:
        columns = (self.rewards, self.propensities, self.target, self.modelled, self.modelled_target)
        if not len(self.rewards) or any(one is not None and len(one) != len(self.rewards) for one in columns):
            raise UsageError("a log of policies needs at least one decision, and columns of one length")
        if np.any(self.propensities <= 0) or np.any(self.propensities > 1):
            raise UsageError("a propensity is not in (0, 1]: what was logged cannot have been chosen by lot")

    @property
    def weights(self) -> F64:
        """How much more often the other policy would have done it."""
        ratio: F64 = self.target / self.propensities
        return ratio


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """The mean reward of the other policy."""

    method: str  # ips, snips, dr
    value: float
    low: float  # of the interval
    high: float
    decisions: int
    effective: float  # sample size
    conclusive: bool
    because: str  # why not; empty when it is

    def better_than(self, reward: float) -> bool | None:
        """Whether the whole interval lies above `reward`; None: cannot be said."""
        if not self.conclusive or self.low <= reward <= self.high:
            return None
        return self.low > reward


def effective_size(weights: F64) -> float:
    """(sum w)^2 / sum w^2 (Kong 1992): how many decisions of the other policy itself the log is worth."""
    squares = float(np.sum(weights**2))
    return float(np.sum(weights)) ** 2 / squares if squares > 0 else 0.0


def ips(logged: Logged, at: I64 | None = None) -> float:
    """Mean of weighted rewards (Horvitz and Thompson 1952; Strehl et al. 2010, arXiv:1003.0120). Unbiased, wide."""
    rows = slice(None) if at is None else at
    return float(np.mean((logged.weights * logged.rewards)[rows]))


def snips(logged: Logged, at: I64 | None = None) -> float:
    """The same by the sum of the weights (Swaminathan and Joachims 2015, NIPS). Narrower, a little biased.

    0 where no weight is above zero.
    """
    rows = slice(None) if at is None else at
    total = float(np.sum(logged.weights[rows]))
    return float(np.sum((logged.weights * logged.rewards)[rows])) / total if total > 0 else 0.0


def dr(logged: Logged, at: I64 | None = None) -> float:
    """Doubly robust (Dudik, Langford and Li 2011, arXiv:1103.4601): the model, mended where the log knows better.

    Raises UsageError for a log without a model's rewards.
    """
    if logged.modelled is None or logged.modelled_target is None:
        raise UsageError("DR needs rewards of a model; see modelled()")
    rows = slice(None) if at is None else at
    mended = logged.modelled_target + logged.weights * (logged.rewards - logged.modelled)
    return float(np.mean(mended[rows]))


METHODS: dict[str, Callable[..., float]] = {"ips": ips, "snips": snips, "dr": dr}


def estimate(method: str, logged: Logged, settings: EstimateSettings | None = None) -> Estimate:
    """By one of METHODS, with a percentile interval over samples of whole decisions."""
    if method not in METHODS:
        raise UsageError(f"{method} is no estimator; use one of {', '.join(METHODS)}")
    settings, of = settings or EstimateSettings(), METHODS[method]
    rng, rows = np.random.default_rng(settings.seed), len(logged.rewards)
    rounds = [of(logged, rng.integers(0, rows, rows)) for _ in range(settings.rounds)]
    outside = (1 - settings.confidence) / 2
    low, high = np.quantile(rounds, (outside, 1 - outside))
    effective = effective_size(logged.weights)
    because = _doubt(effective, rows, settings)
    return Estimate(method, of(logged), float(low), float(high), rows, effective, not because, because)


def _doubt(effective: float, rows: int, settings: EstimateSettings) -> str:
    least = max(settings.least_effective, settings.least_share * rows)
    if effective >= least:
        return ""
    return (
        f"the {rows} logged decisions are worth {effective:.1f} of the other policy, at least {least:.0f} are needed: "
        "log more, or explore more of what it does"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """Logged decisions with all their candidates, a row each."""

    candidates: tuple[Candidates, ...]
    chosen: I64
    rewards: F64
    propensities: F64


def modelled(
    judged: Judged, target: Callable[[Candidates], F64], ridge: float = 1.0, settings: EstimateSettings | None = None
) -> Logged:
    """The log as `target` would have acted (probabilities of the rows), with a reward model fitted across parts.

    A decision's rewards are modelled from the other parts of the log only, so that the model cannot know its outcome.
    """
    settings, rows = settings or EstimateSettings(), len(judged.rewards)
    if rows < settings.folds:
        raise UsageError(f"{rows} decisions cannot be cut into {settings.folds} parts; log more")
    part_of = np.random.default_rng(settings.seed).permutation(rows) % settings.folds
    targets = [target(one) for one in judged.candidates]
    done, meant = np.zeros(rows), np.zeros(rows)
    for part in range(settings.folds):
        model = _fitted(judged, np.flatnonzero(part_of != part), ridge)
        for row in np.flatnonzero(part_of == part):
            of = judged.candidates[row]
            means = np.clip(model.means(of.arms, of.features, of.expected), 0.0, 1.0)
            done[row], meant[row] = means[judged.chosen[row]], float(targets[row] @ means)
    share = np.array([one[at] for one, at in zip(targets, judged.chosen, strict=True)])
    return Logged(judged.rewards, judged.propensities, share, done, meant)


def _fitted(judged: Judged, rows: I64, ridge: float) -> LinearArms:
    model = LinearArms(judged.candidates[0].features.shape[1], ridge)
    for row in rows:
        of, at = judged.candidates[row], int(judged.chosen[row])
        model.learn(int(of.arms[at]), of.features[at], float(judged.rewards[row] - of.expected[at]))
    return model
