"""A limit for scores that follows what drifts, from the past only and without taking anything out of it.

Called by the bench and by who watches a rate of alarms. In: scores in order of time. Out: which of them exceed the
limit of their day: the median of the limits that each of the last days would have needed. An attack that fills a day
moves one of twenty votes; to drop what was told runs away, one quantile over all blinds. Memory is fixed.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from loomidi.origami.online.seen import F32, I64, Mask, packed, unpacked

_BITS = 16
"""Scores are counted by their upper bits as floats: an error below 1 in 128, whatever their size."""


@dataclasses.dataclass(frozen=True, slots=True)
class RollingSettings:
    """How rare is too rare, and how long the past is."""

    risk: float = 1e-3
    # Share of usual scores that may exceed the limit.
    period_s: float = 86_400.0
    # What one vote is about.
    periods: int = 20
    # Votes; the oldest goes.
    least: int = 1000
    # Scores without which a period has no vote.


class RollingLimit:
    """The limit of now, and the counts of the period that is not over."""

    def __init__(self, first: float, settings: RollingSettings | None = None) -> None:
        """`first` is the limit until a period is over: of a calibration slice."""
        self.settings = settings or RollingSettings()
        self._limit = np.array([first])
        self._votes = np.zeros(0)
        self._counts = np.zeros(1 << _BITS, np.int64)
        self._period = np.zeros(1, np.int64)

    @property
    def limit(self) -> float:
        """Of the period that is not over."""
        return float(self._limit[0])

    def exceed(self, times_ns: I64, scores: F32) -> Mask:
        """Which scores exceed the limit of their period; all of them count for the limits of later ones."""
        out = np.zeros(len(scores), bool)
        periods = np.maximum.accumulate(times_ns // int(self.settings.period_s * 1e9))
        for period in np.unique(periods):
            if period > self._period[0]:
                self._turn(int(period))
            rows = slice(*np.searchsorted(periods, [period, period + 1]))
            out[rows] = scores[rows] > self._limit[0]
            self._counts += np.bincount(_places(scores[rows]), minlength=len(self._counts))
        return out

    def snapshot(self) -> bytes:
        """Votes and counts."""
        return packed(self._arrays())

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot`."""
        kept = unpacked(state, self._arrays())
        self._limit, self._votes, self._counts, self._period = (kept[name] for name in self._arrays())

    def _arrays(self) -> dict[str, npt.NDArray[np.float64] | npt.NDArray[np.int64]]:
        return {"limit": self._limit, "votes": self._votes, "counts": self._counts, "period": self._period}

    def _turn(self, period: int) -> None:
        count = int(self._counts.sum())
        if count >= self.settings.least:
            above = np.cumsum(self._counts[::-1])[::-1]  # scores in this place or a higher one
            place = int(np.argmax(above <= self.settings.risk * count))
            self._votes = np.append(self._votes, _value(place))[-self.settings.periods :]
            self._limit = np.array([np.median(self._votes)])
        self._counts = np.zeros(1 << _BITS, np.int64)
        self._period = np.array([period], np.int64)


def _places(scores: F32) -> npt.NDArray[np.uint32]:
    """The upper bits of floats, in the order of the floats."""
    bits = scores.astype(np.float32).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)) >> np.uint32(32 - _BITS)


def _value(place: int) -> float:
    """The least float of a place."""
    bits = np.array([place << (32 - _BITS)], np.uint32)
    return float(np.where(bits >> 31, bits & np.uint32((1 << 31) - 1), ~bits).astype(np.uint32).view(np.float32)[0])
