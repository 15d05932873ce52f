"""How surprising each new reading of many metrics is, by each metric's own past: in bits, one set of settings for all.

Called by whoever reads metrics, and by `bench.nab`. In: one reading for each of a fixed number of series, NaN for none.
Out: bits of surprise, 0 while nothing is known. Several views of one reading (its value, its jump, the level, the
spread, the time of day) are each held against the same view of the past; a view counts by its rank there, so that no
scale and no distribution is assumed. What was told is told again only when it gets stranger. Memory is fixed.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from loomidi.contracts.errors import InputError, UsageError
from loomidi.origami.forecasts.trending import middles
from loomidi.origami.online.seen import packed, unpacked

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
DAY_S = 86_400.0
REFRESH = 16  # readings between two looks at the middle
VIEWS = ("value", "jump", "level", "spread", "season")


@dataclasses.dataclass(frozen=True, slots=True)
class SurpriseSettings:
    """What is compared with what, in readings."""

    kept: int = 2048
    # Of the past of each view: a week at five minutes. A series is 60 kB.
    short: int = 12
    # Over which level and spread are taken: an hour at five minutes.
    fade: float = 0.2
    # Weight of the newest reading in what the next one is expected to be.
    mature: int = 150
    # Before which nothing is told.
    bins: int = 48
    # Of a day; readings of one bin on earlier days are what is usual at that time.
    days: int = 8
    # Remembered of each bin.
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 0.5, 1.0)
    # Of `VIEWS`: how much a bit of each counts; 0 leaves one out.
    beyond: float = 2.0
    # Bits for each doubling of what was the strangest so far.
    quiet: int = 150
    # For which what was told holds: only what is stranger by `more` is told meanwhile.
    more: float = 1.0
    # Bits.


class Surprises:
    """A fixed number of series."""

    def __init__(self, series: int, settings: SurpriseSettings | None = None) -> None:
        self.settings = s = settings or SurpriseSettings()
        if len(s.weights) != len(VIEWS) or s.kept < s.mature or s.short < 3:
            raise UsageError(
                "surprises need a weight for each view, three readings or more, and a past to be mature in"
            )
        self._past = np.full((len(VIEWS), series, s.kept), -1.0, np.float32)  # strangeness by view; -1: not known
        self._values = np.full((series, s.kept), np.nan)
        self._last = np.full((series, s.short), np.nan)  # newest at the end
        self._seasons = np.full((series, s.bins, s.days), np.nan)  # means by day, the newest day at the end
        self._days = np.full((2, series, s.bins), -1, np.int64)  # newest day of a bin, readings of it on that day
        self._usuals = np.full((4, series), np.nan)  # middle, expected, movement, what was told last
        self._counts = np.zeros((2, series), np.int64)  # readings, and those since the last word

    def update(self, at_s: F64, values: F64) -> F64:
        """Bits of surprise of one reading each; `at_s`: seconds since the epoch. NaN: no reading, nothing changes."""
        rows = np.flatnonzero(np.isfinite(values))
        out = np.zeros(len(values))
        if len(rows):
            views = self.looked(rows, at_s[rows], values[rows])
            weights = np.array(self.settings.weights)[:, None]
            out[rows] = self._told(rows, np.max(weights * self.ranked(rows, views), axis=0))
            self._learn(rows, at_s[rows], values[rows], views)
        return out

    def snapshot(self) -> bytes:
        """The past of all series."""
        return packed(self._arrays())

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot` of as many series with the same settings. Raises InputError where it does not fit."""
        kept = unpacked(state, self._arrays())
        if kept["last"].shape != self._last.shape:
            raise InputError(f"a snapshot of {len(kept['last'])} series does not fit {len(self._last)}; start anew")
        for name, array in kept.items():
            setattr(self, f"_{name}", array)

    def _arrays(self) -> dict[str, npt.NDArray[np.float32] | F64 | I64]:
        return {
            "past": self._past,
            "values": self._values,
            "last": self._last,
            "seasons": self._seasons,
            "days": self._days,
            "usuals": self._usuals,
            "counts": self._counts,
        }

    def looked(self, rows: I64, at_s: F64, values: F64) -> F64:
        """Each view of new readings, (views, rows), held against what was before them; NaN where nothing is known."""
        middle, expected, movement, _ = self._usuals[:, rows]
        last = np.concatenate([self._last[rows, 1:], values[:, None]], axis=1)
        moved = np.mean(np.abs(np.diff(last, axis=1)), axis=1)
        floor = 1e-9 + 1e-3 * movement
        spread = np.abs(np.log((moved + floor) / (movement + floor)))
        off = np.abs(np.mean(last[:, -3:], axis=1) - self._usual(rows, at_s))
        level = np.abs(np.mean(last, axis=1) - middle)
        return np.stack([np.abs(values - middle), np.abs(values - expected), level, spread, off])

    def ranked(self, rows: I64, views: F64) -> F64:
        """Bits of each view: how few of the past were as strange, and how far beyond all of them it is."""
        out = np.zeros(views.shape)
        mature = self._counts[0, rows] >= self.settings.mature
        for at in np.flatnonzero(self.settings.weights):
            past = self._past[at] if len(rows) == len(self._counts[0]) else self._past[at, rows]
            now = views[at].astype(np.float32)
            known = np.count_nonzero(past >= 0, axis=1)
            rank = np.log2((known + 1) / (np.count_nonzero(past >= now[:, None], axis=1) + 1))
            most = np.maximum(np.max(past, axis=1), 1e-12)
            ratio = np.clip(np.nan_to_num(now, nan=0.0) / most, 1.0, 2.0**8)
            bits = rank + self.settings.beyond * np.log2(ratio)
            out[at] = np.where(mature & np.isfinite(now) & (known >= self.settings.mature), bits, 0.0)
        return out

    def _usual(self, rows: I64, at_s: F64) -> F64:
        """The middle of what was at this time of day on earlier days; NaN before there were three."""
        bins = self._bins(at_s)
        days = self._seasons[rows, bins].copy()
        days[self._days[0, rows, bins] == at_s // DAY_S, -1] = np.nan
        enough = np.isfinite(days).sum(axis=1) >= 3
        out = np.full(len(rows), np.nan)
        if enough.any():
            out[enough] = np.nanmedian(days[enough], axis=1)
        return out

    def _bins(self, at_s: F64) -> I64:
        return np.asarray((at_s % DAY_S) / DAY_S * self.settings.bins, np.int64)

    def _told(self, rows: I64, bits: F64) -> F64:
        """What is no news is taken back: within `quiet` readings only what is stranger counts."""
        s, told, since = self.settings, self._usuals[3, rows], self._counts[1, rows]
        fresh = ~np.isfinite(told) | (since >= s.quiet) | (bits > told + s.more)
        self._usuals[3, rows] = np.where(fresh, bits, told)
        self._counts[1, rows] = np.where(fresh, 0, since + 1)
        return np.where(fresh, bits, 0.0)

    def _learn(self, rows: I64, at_s: F64, values: F64, views: F64) -> None:
        s, count = self.settings, self._counts[0, rows]
        at = count % s.kept
        self._past[:, rows, at] = np.nan_to_num(views, nan=-1.0)
        self._values[rows, at] = values
        moved = np.abs(values - self._last[rows, -1])
        self._last[rows] = np.concatenate([self._last[rows, 1:], values[:, None]], axis=1)
        _, expected, movement, _ = self._usuals[:, rows]
        self._usuals[1, rows] = np.where(np.isfinite(expected), expected + s.fade * (values - expected), values)
        slow = movement + (moved - movement) / np.minimum(count + 1, s.kept)
        self._usuals[2, rows] = np.where(np.isfinite(movement), slow, moved)
        self._counts[0, rows] = count + 1
        self._learn_season(rows, at_s, values)
        stale = rows[(count % REFRESH == 0) | (count < REFRESH)]
        if len(stale):
            self._usuals[0, stale] = middles(self._values[stale, :: 1 + (s.kept > 8 * REFRESH) * 7])

    def _learn_season(self, rows: I64, at_s: F64, values: F64) -> None:
        """A new day begins a new mean; readings of one bin on one day are averaged."""
        bins, day = self._bins(at_s), np.asarray(at_s // DAY_S, np.int64)
        new = self._days[0, rows, bins] != day
        seasons = self._seasons[rows, bins]
        seasons[new] = np.concatenate([seasons[new, 1:], np.zeros((int(new.sum()), 1))], axis=1)
        readings = np.where(new, 0, self._days[1, rows, bins]) + 1
        seasons[:, -1] += (values - seasons[:, -1]) / readings
        self._seasons[rows, bins] = seasons
        self._days[0, rows, bins], self._days[1, rows, bins] = day, readings
