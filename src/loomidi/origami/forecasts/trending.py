"""The local trend of many series at once, robust against single readings.

Called by `exhausting`. In: the last readings of each series, right-aligned, and how many of them count. Out: level now,
slope, how sure it is, and how it bends. Method: Theil's slopes (medians over pairs; Theil, 1950) of pairs a quarter of
the window apart, which a step does not bend, over a long and a brief window; the brief one counts once it differs more
than both are unsure. Or Holt's damped trend (Gardner and McKenzie, 1985), which `bench.failing` holds it against.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_SIGMA = 1.4826  # median absolute deviation to the standard deviation of a normal distribution
_APART = 4  # part of the window that lies between the two of a pair: a step is in a third of the pairs, and no slope
_THEIL = 1.35  # the slope's standard error by that of least squares, for normal noise: pairs are not all used
_DIFFER = 3.0  # standard errors by which a brief window must differ
_BENDS = (0.05, 1.5)  # late slope by early slope, at least and at most
_LEVELLED = 5  # newest readings whose middle is the level


@dataclasses.dataclass(frozen=True, slots=True)
class Trend:
    """One row a series; units of the metric, seconds."""

    level: F64  # now
    slope: F64  # per s
    error: F64  # standard error of the slope
    noise: F64  # standard deviation around the trend
    bend: F64  # slope of the later half by that of the earlier; 1: straight, or not known
    reach: F64  # s, from the middle of the earlier half to that of the later
    growth_from: F64  # s between the middle of the window from which the slope comes, and now

    def growth(self, ahead_s: F64) -> F64:
        """What is added until so many seconds ahead: (series, horizons). A trend that bends goes on bending."""
        bend = np.clip(self.bend, *_BENDS)[:, None]
        reach = np.maximum(self.reach, 1e-9)[:, None]
        rate = np.log(bend) / reach
        now = self.slope[:, None] * np.exp(np.clip(rate * self.growth_from[:, None], -3.0, 0.5))
        ahead = np.minimum(ahead_s[None, :], np.where(rate > 0, reach, np.inf))  # faster and faster: not for ever
        straight = np.abs(rate) < 1e-9
        rest = np.where(rate > 0, np.exp(rate * ahead) * (ahead_s[None, :] - ahead), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            bent = np.expm1(rate * ahead) / np.where(straight, 1.0, rate)
        return np.asarray(now * (np.where(straight, ahead_s[None, :], bent + rest)))


def middles(values: F64) -> F64:
    """The median of each row, NaN left out; NaN of a row that is nothing else."""
    ordered = np.sort(values, axis=1)  # NaN last
    count = np.isfinite(ordered).sum(axis=1)
    rows = np.arange(len(ordered))
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, ordered.shape[1] - 1)
    return np.where(count > 0, (ordered[rows, low] + ordered[rows, high]) / 2, np.nan)


def theil(times_s: F64, values: F64, counts: I64, brief: int) -> Trend:
    """By Theil's slopes. `times_s`, `values`: (series, kept), newest last; of each row the last `counts` are read."""
    whole = _fitted(times_s, values, counts)
    short = _fitted(times_s, values, np.minimum(counts, brief))
    apart = np.abs(short[0] - whole[0]) > _DIFFER * np.hypot(short[1], whole[1])
    slope, error, noise = (np.where(apart, one, other) for one, other in zip(short, whole, strict=True))
    used = np.where(apart, np.minimum(counts, brief), counts)
    level = middles((values - slope[:, None] * (times_s - times_s[:, -1:]))[:, -_LEVELLED:])
    bend, reach = _bent(times_s, values, used, slope, error)
    return Trend(level, slope, error, noise, bend, reach, _length(times_s, used) / 2)


def holt(
    times_s: F64, values: F64, counts: I64, *, damping: float = 0.98, fast: float = 0.4, slow: float = 0.1
) -> Trend:
    """By Holt's smoothing with a damped trend, run over the same readings. Arguments as for `theil`."""
    kept = values.shape[1]
    level, slope = values[:, 0].copy(), np.zeros(len(values))
    errors = np.full(values.shape, np.nan)
    for at in range(1, kept):
        begun, first = at > kept - counts, at == kept - counts
        apart = np.maximum(times_s[:, at] - times_s[:, at - 1], 1e-9)
        expected = level + damping * slope * apart
        errors[:, at] = np.where(begun, values[:, at] - expected, np.nan)
        new = expected + fast * (values[:, at] - expected)
        trend = damping * slope + slow * ((new - level) / apart - damping * slope)
        level = np.where(begun, new, np.where(first, values[:, at], level))
        slope = np.where(begun, trend, 0.0)
    noise = _SIGMA * middles(np.abs(errors))
    length = np.maximum(_length(times_s, counts), 1e-9)
    error = noise * slow / np.maximum(length / np.maximum(counts, 1), 1e-9) / np.sqrt(2 - slow)
    apart = length / np.maximum(counts - 1, 1)
    return Trend(level, slope, error, noise, np.full(len(level), damping), apart, np.zeros(len(level)))


def _fitted(times_s: F64, values: F64, counts: I64) -> tuple[F64, F64, F64]:
    """Slope, its standard error, noise around the line."""
    kept = values.shape[1]
    apart, rows = np.maximum(counts // _APART, 1), np.arange(len(values))[:, None]
    first = (kept - counts)[:, None] + np.arange(kept)[None, :]
    pairs = np.arange(kept)[None, :] < (counts - apart)[:, None]
    second = np.minimum(first + apart[:, None], kept - 1)
    first = np.minimum(first, kept - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = (values[rows, second] - values[rows, first]) / (times_s[rows, second] - times_s[rows, first])
    slope = np.nan_to_num(middles(np.where(pairs, slopes, np.nan)))
    inside = np.arange(kept)[None, :] >= (kept - counts)[:, None]
    lines = np.where(inside, values - slope[:, None] * (times_s - times_s[:, -1:]), np.nan)
    noise = _SIGMA * np.nan_to_num(middles(np.abs(lines - middles(lines)[:, None])))
    each = _length(times_s, counts) / np.maximum(counts - 1, 1)
    size = counts.astype(float)
    error = _THEIL * noise * np.sqrt(12 / np.maximum(size * (size**2 - 1), 1)) / np.maximum(each, 1e-9)
    return slope, error, noise


def _length(times_s: F64, counts: I64) -> F64:
    """From the first reading that counts to the last."""
    kept = times_s.shape[1]
    return np.asarray(times_s[:, -1] - times_s[np.arange(len(times_s)), np.minimum(kept - counts, kept - 1)])


def _bent(times_s: F64, values: F64, counts: I64, slope: F64, error: F64) -> tuple[F64, F64]:
    """How the later half's slope is to the earlier's, drawn towards 1 where both are unsure."""
    half = counts // 2
    late, late_error, _ = _fitted(times_s, values, half)
    early = 2 * slope - late  # the whole's slope is about their mean
    unsure = np.minimum(late_error / np.maximum(np.abs(slope), 1e-300), 1e6)
    sure = (error > 0) & (half >= 4) & (slope > 2 * error)
    with np.errstate(divide="ignore", invalid="ignore"):
        bend = np.clip(np.maximum(late, 0) / np.maximum(early, 1e-300), *_BENDS)
    weight = np.where(sure, 1 / (1 + (4 * unsure) ** 2), 0.0)
    return np.exp(weight * np.log(bend)), _length(times_s, counts) / 2
