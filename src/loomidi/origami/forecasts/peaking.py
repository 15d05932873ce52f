"""How high each series was when it was reset: the teeth of a saw, and where restarts come.

Called by `exhausting`. In: peaks. Out: how high the next tooth is expected to grow, and a capacity that nobody told:
where a process was begun anew several times at the same level, there is the limit.
"""

import numpy as np
import numpy.typing as npt

from loomidi.origami.forecasts.trending import middles

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
KEPT = 6  # peaks of a series
TEETH = 2  # peaks from which on they are a habit
RESTARTS = 2  # at one level: it is a limit
ALIKE = 0.05  # of the level, by which they may differ


class Peaks:
    """Of many series."""

    def __init__(self, series: int) -> None:
        self._at_s, self._top = np.full((2, series, KEPT), np.nan)  # newest last
        self._anew = np.zeros((series, KEPT), bool)

    def add(self, places: I64, now_s: F64, tops: F64, anew: npt.NDArray[np.bool_]) -> None:
        """A peak of each of these series; `anew`: what holds it was begun anew."""
        for kept, new in ((self._at_s, now_s), (self._top, tops), (self._anew, anew)):
            kept[places] = np.concatenate([kept[places, 1:], new[:, None]], axis=1)

    def forget(self, places: I64) -> None:
        """Nothing is known of these."""
        self._at_s[places] = self._top[places] = np.nan
        self._anew[places] = False

    def edge(self, places: I64, now_s: F64, ahead_s: F64) -> tuple[F64, F64]:
        """Where the next peaks are expected by horizon, (series, horizons), and how they spread. NaN: no habit."""
        times, tops = self._at_s[places], self._top[places]
        teeth = np.isfinite(tops).sum(axis=1)
        slopes = np.diff(tops, axis=1) / np.maximum(np.diff(times, axis=1), 1e-9)
        slope = np.where(teeth >= 3, np.nan_to_num(middles(slopes)), 0.0)
        slope = np.maximum(slope, 0.0)  # teeth that shrink are no promise
        lines = tops - slope[:, None] * (times - now_s[:, None])
        level = middles(lines)
        spread = 1.4826 * np.nan_to_num(middles(np.abs(lines - level[:, None])))
        spread = np.maximum(spread, 0.01 * np.abs(np.nan_to_num(level)))
        edge = level[:, None] + slope[:, None] * ahead_s[None, :]
        return np.where((teeth >= TEETH)[:, None], edge, np.nan), spread

    def capacity(self, places: I64) -> F64:
        """Where restarts came, if they came at one level; NaN: not known."""
        tops = np.where(self._anew[places], self._top[places], np.nan)
        level = middles(tops)
        alike = np.isfinite(tops) & (np.abs(tops - level[:, None]) <= ALIKE * np.abs(level[:, None]))
        return np.where(alike.sum(axis=1) >= RESTARTS, level, np.nan)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Everything, for a snapshot."""
        return {"peaks_at_s": self._at_s, "peaks": self._top, "peaks_anew": self._anew}

    def go_on(self, arrays: dict[str, npt.NDArray[np.generic]]) -> None:
        """From `arrays` of the same shape."""
        self._at_s, self._top, self._anew = (arrays[name] for name in ("peaks_at_s", "peaks", "peaks_anew"))
