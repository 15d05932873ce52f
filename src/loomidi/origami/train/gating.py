"""Whether a challenger may become the champion: every criterion with its figure; what is undefined refuses.

Called by `promoting` and `loomidi model compare`. In: the trials of both over the same test stream. Out: `Gate`. Where
incidents are known: recall of incidents at one realised false-positive rate for both, compared incident by incident by
a paired bootstrap. Where none are: how far alarms are from the budget, block by block, by a permutation of signs.
On top, for the challenger alone: alarms within the budget, latency, no broken promise.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from loomidi.origami.train.streams import USUAL, Stream
from loomidi.origami.train.trying import Trial

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True)
class GateSettings:
    """What is asked of a challenger."""

    nominal: float = 1e-3
    # Rate of alarms on usual edges: that of the budget, and the one at which recall is compared.
    most: float = 2.0
    # Realised over nominal rate of alarms, at most.
    fewest: float = 0.1
    # The same, at least, where no incidents are known: a model that says nothing would look calm.
    expected: float = 10.0
    # Alarms that the nominal rate gives over the test; with fewer a rate is not defined.
    incidents: int = 10
    # Known in the test; with fewer a difference of recall is not defined.
    margin: float = 0.02
    # Recall that the challenger may be worse by, at the lower end of the interval.
    confidence: float = 0.95
    # One-sided, of that end and of the permutation.
    draws: int = 4000
    # Of the bootstrap, and of the permutation where there are more than 12 blocks.
    blocks: int = 40
    # Pieces of equal length in time, for the permutation.
    latency_ms: float = 50.0
    # p99 of scoring a tick.
    ticks: int = 20
    # Below which a p99 is not defined.
    seed: int = 0
    # Of the draws.


@dataclasses.dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that is asked."""

    name: str
    met: bool | None  # None: not defined, which refuses
    figure: str
    limit: str
    how: str  # in one sentence, the statistic exactly

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, slots=True)
class Gate:
    """The answer."""

    criteria: tuple[Criterion, ...]

    @property
    def open(self) -> bool:
        """Only when there are criteria and each is met."""
        return bool(self.criteria) and all(one.met is True for one in self.criteria)

    @property
    def because(self) -> str:
        """In one line."""
        failed = [one for one in self.criteria if one.met is not True]
        if not self.criteria:
            return "nothing was measured"
        if not failed:
            return "every criterion is met"
        return "; ".join(f"{one.name}: {one.figure}, asked for {one.limit}" for one in failed)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"open": self.open, "because": self.because, "criteria": [one.as_dict() for one in self.criteria]}


def judge(stream: Stream, champion: Trial | None, challenger: Trial, settings: GateSettings | None = None) -> Gate:
    """1 promises, 2 latency, 3 alarms, 4 not worse, 5 better in something. Without a champion the first three."""
    s = settings or GateSettings()
    usual = usual_of(stream)
    first = (
        _promises(challenger),  # 1
        _latency(challenger, s),  # 2
        _alarms(challenger, usual, s, stream.labelled),  # 3
    )
    if champion is None:
        return Gate(first)
    if stream.labelled and known(stream):
        return Gate((*first, *_recall(stream, champion, challenger, s)))  # 4, 5
    return Gate((*first, _calmer(stream, champion, challenger, s)))


def found(stream: Stream, strange: F64, rate: float) -> tuple[Mask, float]:
    """Which incidents of the test are found when this share of its usual edges is told; and the rate that was used.

    The threshold is taken on the usual edges of the test itself: that compares models, it is no threshold to run with.
    Never below 10 edges, so that it does not hang on one. Ties count against the model; what is no number finds none.
    """
    usual = np.sort(strange[usual_of(stream)])
    if not len(usual):
        return np.zeros(len(known(stream)), bool), 0.0
    above = max(int(rate * len(usual)), min(10, len(usual) - 1))
    limit = usual[len(usual) - 1 - above]
    told = strange > limit
    return np.array([bool(np.any(told[rows])) for rows in known(stream)], bool), above / max(len(usual), 1)


def realised(trial: Trial, usual: Mask, nominal: float) -> tuple[float, float]:
    """Alarms on usual edges, and how many the nominal rate would give."""
    return float(np.sum(trial.alarms(nominal) & usual)), nominal * float(np.sum(usual))


def bootstrap(first: Mask, second: Mask, s: GateSettings) -> tuple[float, float]:
    """Mean and lower end of second minus first, incidents drawn with replacement, both models on the same draw."""
    difference = second.astype(float) - first.astype(float)
    draws = np.random.default_rng(s.seed).integers(0, len(difference), (s.draws, len(difference)))
    return float(difference.mean()), float(np.quantile(difference[draws].mean(axis=1), 1 - s.confidence))


def permutation(first: F64, second: F64, s: GateSettings) -> float:
    """p-value of: the second is not smaller. Signs of the differences by block, all of them up to 12 blocks."""
    difference = first - second
    if not np.any(difference):
        return 1.0
    count = len(difference)
    if count <= 12:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=count)))
        return float(np.mean(signs @ difference >= difference.sum() - 1e-12))
    signs = np.random.default_rng(s.seed).choice((1.0, -1.0), (s.draws, count))
    return float((1 + np.sum(signs @ difference >= difference.sum() - 1e-12)) / (1 + s.draws))


def known(stream: Stream) -> list[npt.NDArray[np.int64]]:
    """Rows of the test, counted from its first, of each incident that has some there."""
    number = stream.incident[stream.calibrate :]
    return [np.flatnonzero(number == one) for one in np.unique(number[number >= 0])]


def usual_of(stream: Stream) -> Mask:
    """Edges of the test that are usual as far as anybody knows."""
    usual: Mask = stream.incident[stream.calibrate :] == USUAL
    return usual


def _promises(challenger: Trial) -> Criterion:
    broken = {name: count for name, count in challenger.broken.items() if count}
    told = ", ".join(f"{count} {name}" for name, count in broken.items()) or "0 broken"
    how = "schema hash, one score for each edge, no NaN or infinity, the same scores however the stream is cut"
    return Criterion("promises", not broken, told, "0 broken", how)


def _latency(challenger: Trial, s: GateSettings) -> Criterion:
    limit, how = f"p99 <= {s.latency_ms:g} ms", "p99 over the ticks of the test, scoring and learning, in this run"
    if len(challenger.latencies_ms) < s.ticks:
        return Criterion("latency", None, f"{len(challenger.latencies_ms)} ticks", f"{s.ticks} ticks", how)
    p99 = float(np.quantile(challenger.latencies_ms, 0.99))
    return Criterion("latency", p99 <= s.latency_ms, f"{p99:.2f} ms", limit, how)


def _alarms(challenger: Trial, usual: Mask, s: GateSettings, labelled: bool) -> Criterion:
    told, expected = realised(challenger, usual, s.nominal)
    fewest = 0.0 if labelled else s.fewest
    limit = f"{fewest:g} to {s.most:g} times the budget"
    how = f"usual edges of the test with p <= {s.nominal:g}, over {s.nominal:g} of them"
    if expected < s.expected or not np.isfinite(challenger.strange[usual]).all():
        return Criterion("alarms", None, f"{expected:.1f} expected", f"{s.expected:g} expected or more", how)
    ratio = told / expected
    return Criterion("alarms", fewest <= ratio <= s.most, f"{ratio:.2f} times", limit, how)


def _recall(stream: Stream, champion: Trial, challenger: Trial, s: GateSettings) -> tuple[Criterion, Criterion]:
    (first, rate), (second, _) = (found(stream, one.strange, s.nominal) for one in (champion, challenger))
    how = (
        f"recall of {len(first)} incidents at a realised false-positive rate of {rate:.2g} for both; lower "
        f"{s.confidence:.0%} end of {s.draws} paired bootstrap draws over incidents"
    )
    if len(first) < s.incidents:
        few = Criterion("not worse", None, f"{len(first)} incidents", f"{s.incidents} incidents or more", how)
        return few, dataclasses.replace(few, name="better")
    mean, low = bootstrap(first, second, s)
    figure = f"{first.mean():.3f} to {second.mean():.3f}, lower end of the difference {low:+.3f}"
    not_worse = Criterion("not worse", low >= -s.margin, figure, f">= {-s.margin:g}", how)
    told, expected = realised(champion, usual_of(stream), s.nominal)
    astray = expected >= s.expected and told > s.most * expected
    limit = "> 0, or the champion's alarms over the budget"
    figure = f"{low:+.3f} (mean {mean:+.3f}); the champion's alarms {told / max(expected, 1e-9):.2f} times the budget"
    return not_worse, Criterion("better", low > 0 or astray, figure, limit, how)


def _calmer(stream: Stream, champion: Trial, challenger: Trial, s: GateSettings) -> Criterion:
    """Without known incidents: alarms nearer to the budget."""
    first, second = (_off(stream, one, s) for one in (champion, challenger))
    how = (
        f"no incident is known: distance of alarms from the budget in {len(first)} blocks of equal time, capped at ten "
        "budgets each; one-sided paired permutation of signs"
    )
    limit = f"p < {1 - s.confidence:.2g}"
    if len(first) < 6 or not np.isfinite(challenger.strange).all():
        return Criterion("better", None, f"{len(first)} blocks", "6 blocks or more", how)
    p_value = permutation(first, second, s)
    figure = f"{first.mean():.2f} to {second.mean():.2f} alarms off a block, p = {p_value:.3g}"
    return Criterion("better", p_value < 1 - s.confidence, figure, limit, how)


def _off(stream: Stream, trial: Trial, s: GateSettings) -> F64:
    """How far the alarms of each block are from what its edges may have."""
    times, usual = stream.seen.times_ns[stream.calibrate :], usual_of(stream)
    edges = np.linspace(times[0], times[-1] + 1, s.blocks + 1)
    block = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, s.blocks - 1)
    many = np.bincount(block[usual], minlength=s.blocks).astype(float)
    told = np.bincount(block[usual & trial.alarms(s.nominal)], minlength=s.blocks)
    budget = many[many > 0] * s.nominal
    off: F64 = np.minimum(np.abs(told[many > 0] - budget), 10 * np.maximum(budget, 1.0))
    return off


def empty(reason: str) -> Gate:
    """Nothing could be compared."""
    return Gate((Criterion("compared", None, reason, "a champion and a challenger on one stream", "not measured"),))


def plain(gate: Gate) -> Mapping[str, Any]:
    """For a history: the figures without the sentences."""
    return {one.name: {"met": one.met, "figure": one.figure, "limit": one.limit} for one in gate.criteria}
