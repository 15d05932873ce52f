"""The scoring of the Numenta Anomaly Benchmark, from its published definition, for a whole corpus at once.

Called by `bench.nab` and its tests. In: series with labelled windows, and a score per reading. Out: the total at every
threshold, the best of them, and that on the scale on which silence is 0 and a perfect detector 100. Source: Lavin and
Ahmad, Evaluating Real-time Anomaly Detection Algorithms, ICMLA 2015, with the probation and the positions in a window
as the authors' own sweep has them.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
PROBATION, LONGEST = 0.15, 5000  # share of a series that is not scored, and of how many readings at most
STEEP, FAR = 5.0, 3.0  # of the sigmoid; window lengths behind a window at which a false alarm costs all


@dataclasses.dataclass(frozen=True)
class Profile:
    """What the three kinds of answers are worth."""

    found: float = 1.0  # a window, at its very start
    missed: float = 1.0  # a window
    false: float = 0.11  # a reading outside of all windows


STANDARD = Profile()


@dataclasses.dataclass(frozen=True)
class Series:
    """One file."""

    name: str
    times_s: F64  # since the epoch
    values: F64
    windows: tuple[tuple[int, int], ...]  # first and last reading of each, in order


def probation(length: int) -> int:
    """Readings at the start that are not scored."""
    return int(min(np.floor(PROBATION * length), PROBATION * LONGEST))


def sigmoid(position: F64) -> F64:
    """-1: a window's first reading, 0: its end, above: how many window lengths behind it."""
    out: F64 = 2 / (1 + np.exp(STEEP * np.minimum(position, FAR))) - 1
    out[position >= FAR] = -1.0
    return out


def worth(length: int, windows: Sequence[tuple[int, int]], profile: Profile = STANDARD) -> tuple[F64, I64]:
    """What an alarm at each reading adds, and the number of the window that it is in, -1 for none."""
    at, owner = np.arange(length), np.full(length, -1, np.int64)
    position = np.full(length, FAR)
    for number, (first, last) in enumerate(windows):
        width = last - first + 1
        inside, after = slice(first, last + 1), slice(last + 1, length)
        owner[inside] = number
        position[inside] = -(last - at[inside] + 1) / width
        position[after] = (at[after] - last) / max(width - 1, 1)
    most = sigmoid(np.array([-1.0]))[0]
    gain = np.where(owner >= 0, profile.found / most, profile.false) * sigmoid(position)
    return gain, owner


def totals(corpus: Sequence[Series], scores: Sequence[F64], profile: Profile = STANDARD) -> tuple[F64, F64]:
    """Thresholds, falling, and the total of the corpus at each: alarms are readings that score at least as much."""
    gains, owners, values, windows = [], [], [], 0
    for series, scored in zip(corpus, scores, strict=True):
        gain, owner = worth(len(scored), series.windows, profile)
        judged = slice(probation(len(scored)), None)
        gains.append(gain[judged])
        owners.append(np.where(owner >= 0, owner + windows, -1)[judged])
        values.append(np.asarray(scored, float)[judged])
        windows += len(series.windows)
    gain, owner, value = np.concatenate(gains), np.concatenate(owners), np.concatenate(values)
    order = np.argsort(-value, kind="stable")
    gain, owner, value = gain[order], owner[order], value[order]
    steps = np.where(owner < 0, gain, 0.0)
    seen = np.unique(owner[owner >= 0])  # a window that lies in the probation wholly can be neither found nor missed
    for number in seen:
        inside = np.flatnonzero(owner == number)
        best = np.maximum.accumulate(np.concatenate([[-profile.missed], gain[inside]]))
        steps[inside] = np.diff(best)
    ends = np.append(np.flatnonzero(np.diff(value)), len(value) - 1)
    silent = -profile.missed * len(seen)
    return np.append(np.inf, value[ends]), np.append(silent, silent + np.cumsum(steps)[ends])


def best(corpus: Sequence[Series], scores: Sequence[F64], profile: Profile = STANDARD) -> tuple[float, float]:
    """The threshold that is best for the whole corpus, and its score from 0 to 100."""
    thresholds, sums = totals(corpus, scores, profile)
    at = int(np.argmax(sums))
    return float(thresholds[at]), normalised(float(sums[at]), corpus, profile)


def at_threshold(
    corpus: Sequence[Series], scores: Sequence[F64], threshold: float, profile: Profile = STANDARD
) -> float:
    """The score from 0 to 100 at a threshold that was chosen elsewhere."""
    thresholds, sums = totals(corpus, scores, profile)
    return normalised(float(sums[np.flatnonzero(thresholds >= threshold)[-1]]), corpus, profile)


def normalised(total: float, corpus: Sequence[Series], profile: Profile = STANDARD) -> float:
    """On the scale on which never an alarm is 0 and one at the start of each window 100."""
    windows = sum(len(series.windows) for series in corpus)
    silent, perfect = -profile.missed * windows, profile.found * windows
    return 100 * (total - silent) / (perfect - silent)
