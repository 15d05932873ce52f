"""Limits for rates and scores that are rare by design: a tail fitted to what exceeded before, and small lasting shifts.

Called by `scoring` and by whoever watches a rate. In: values in order of time. Out: `TailThreshold` (peaks over
threshold, the method of SPOT and DSPOT): a limit that a share `risk` of the values exceeds, also where fewer than
1 / risk were seen. `Cusum`: how long and how far a rate has been above what it was. Memory is fixed.
"""

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from loomidi.contracts.errors import UsageError
from loomidi.origami.online.seen import packed, unpacked

F64 = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class TailSettings:
    """Where the tail begins and how rare is too rare."""

    risk: float = 1e-4
    # Share of usual values that may exceed the limit.
    level: float = 0.98
    # Quantile at which the tail begins.
    peaks: int = 4096
    # Excesses that are kept, the last ones.
    depth: int = 0
    # Values whose mean is taken off first, for what drifts (DSPOT); 0: none is.


class TailThreshold:
    """A generalised Pareto tail over the excesses of a stream."""

    def __init__(self, settings: TailSettings | None = None) -> None:
        self.settings = settings or TailSettings()
        if not 0 < self.settings.risk < 1 - self.settings.level:
            raise UsageError(f"a risk of {self.settings.risk:g} is no tail of level {self.settings.level:g}")
        self._excesses: F64 = np.zeros(0)
        self._recent: F64 = np.zeros(0)  # for the mean that is taken off
        self._start = math.inf  # of the tail
        self._count = 0.0  # values that the excesses stand for
        self._shape, self._scale = 0.0, 1.0

    def fit(self, values: F64) -> None:
        """Begin with these, in order of time."""
        if len(values) < 10:
            raise UsageError(f"a tail cannot be fitted to {len(values)} values; give it at least 10")
        self._recent = values[: self.settings.depth].astype(float)
        off = values[len(self._recent) :] - self._means(values[len(self._recent) :])
        self._start = float(np.quantile(off, self.settings.level))
        self._excesses, self._count = np.zeros(0), 0.0
        self._add(off)

    @property
    def limit(self) -> float:
        """What a value exceeds with a probability of `risk`."""
        share = self.settings.risk * self._count / max(len(self._excesses), 1)
        if not len(self._excesses) or share >= 1:
            over = 0.0
        elif abs(self._shape) < 1e-6:
            over = -self._scale * math.log(share)
        else:
            over = self._scale / self._shape * (share**-self._shape - 1)
        return self._start + over + (float(np.mean(self._recent)) if len(self._recent) else 0.0)

    def update(self, values: F64) -> npt.NDArray[np.bool_]:
        """Which values of one tick exceed the limit as it was before it; those do not change it, the others do."""
        alarms = values > self.limit
        usual = values[~alarms]
        if len(usual):
            off = usual - self._means(usual)
            self._add(off)
        return alarms

    def snapshot(self) -> bytes:
        """Excesses, mean and fit."""
        return packed(self._arrays())

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot`."""
        kept = unpacked(state, self._arrays())
        self._excesses, self._recent = kept["excesses"], kept["recent"]
        self._start, self._count, self._shape, self._scale = (float(value) for value in kept["fit"])

    def _arrays(self) -> dict[str, F64]:
        fit = np.array([self._start, self._count, self._shape, self._scale])
        return {"excesses": self._excesses, "recent": self._recent, "fit": fit}

    def _means(self, values: F64) -> F64:
        """The mean of the `depth` values before each, which become part of the memory."""
        if not self.settings.depth:
            return np.zeros(len(values))
        joined = np.concatenate([self._recent, values])
        sums = np.concatenate([[0.0], np.cumsum(joined)])
        ends = np.arange(len(self._recent), len(joined))
        starts = np.maximum(ends - self.settings.depth, 0)
        means: F64 = (sums[ends] - sums[starts]) / np.maximum(ends - starts, 1)
        self._recent = joined[-self.settings.depth :]
        return means

    def _add(self, off: F64) -> None:
        over = off[off > self._start] - self._start
        self._count += len(off)
        self._excesses = np.concatenate([self._excesses, over])
        lost = len(self._excesses) - self.settings.peaks
        if lost > 0:  # the oldest go, and their share of the values with them
            self._count *= self.settings.peaks / len(self._excesses)
            self._excesses = self._excesses[lost:]
        if len(over):
            self._shape, self._scale = pareto(self._excesses)


def pareto(excesses: F64) -> tuple[float, float]:
    """Shape and scale of the generalised Pareto tail that makes these likeliest: one parameter, searched on a grid."""
    mean, top = float(np.mean(excesses)), float(np.max(excesses))
    if len(excesses) < 10 or top <= 0 or mean <= 0:
        return 0.0, max(mean, 1e-12)
    tried = np.concatenate([-(1 - np.geomspace(1e-4, 1, 48)) / top, np.geomspace(1e-4, 50, 64) / mean])
    tried = tried[np.abs(tried) > 1e-9]
    shapes = np.array([float(np.mean(np.log1p(one * excesses))) for one in tried])
    with np.errstate(divide="ignore", invalid="ignore"):
        likely = -np.log(shapes / tried) - shapes - 1  # per excess
    exponential = -math.log(mean) - 1
    likely[~np.isfinite(likely) | (shapes < -0.5)] = -np.inf
    best = int(np.argmax(likely))
    if likely[best] <= exponential + 1e-9:
        return 0.0, mean
    return float(shapes[best]), float(shapes[best] / tried[best])


def beyond(excesses: F64, shape: float, scale: float) -> F64:
    """Share of such a tail that is farther out than each of these; excesses below 0 are where it begins."""
    over = np.maximum(excesses, 0.0) / max(scale, 1e-12)
    if abs(shape) < 1e-9:
        return np.asarray(np.exp(-over))
    inside = np.maximum(1 + shape * over, 1e-12)
    return np.asarray(inside ** (-1 / shape))


@dataclasses.dataclass(frozen=True, slots=True)
class CusumSettings:
    """What is a lasting shift."""

    slack: float = 0.5
    # Deviations above usual that are let pass.
    limit: float = 8.0
    # Summed deviations at which it is told.
    memory: int = 256
    # Values over which usual is measured; older ones fade.
    mature: int = 30
    # Values before anything is told.


class Cusum:
    """Many rates at once: how far each has been above its own mean, summed over time."""

    def __init__(self, series: int, settings: CusumSettings | None = None) -> None:
        self.settings = settings or CusumSettings()
        self._mean, self._spread, self._sums = np.zeros((3, series))
        self._count = np.zeros(1, np.int64)

    def update(self, values: F64) -> npt.NDArray[np.bool_]:
        """Which of the series are told now: one value for each. What is told is not learned."""
        count = int(self._count[0])
        deviation = (values - self._mean) / np.maximum(self._spread, 1e-9 + 0.01 * np.abs(self._mean))
        ripe = count >= self.settings.mature
        self._sums = np.maximum(0.0, self._sums + deviation - self.settings.slack) if ripe else self._sums
        told: npt.NDArray[np.bool_] = self._sums > self.settings.limit
        weight = 1.0 / min(count + 1, self.settings.memory)
        calm = ~told & (np.abs(deviation) < self.settings.limit) if ripe else ~told
        off = np.where(calm, values - self._mean, 0.0)
        self._spread = np.where(calm, np.sqrt((1 - weight) * (self._spread**2 + weight * off**2)), self._spread)
        self._mean += weight * off
        self._count += 1
        return told

    def settle(self, series: npt.NDArray[np.bool_]) -> None:
        """Begin to sum anew for these: what was told is dealt with, or is the new usual."""
        self._sums[series] = 0.0

    def snapshot(self) -> bytes:
        """Means, spreads, sums."""
        return packed(self._arrays())

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot`."""
        kept = unpacked(state, self._arrays())
        self._mean, self._spread, self._sums, self._count = (kept[name] for name in ("mean", "spread", "sums", "count"))

    def _arrays(self) -> dict[str, npt.NDArray[np.float64] | npt.NDArray[np.int64]]:
        return {"mean": self._mean, "spread": self._spread, "sums": self._sums, "count": self._count}
