"""How far forecasts were off, and from it the chance that the next one is: conformal, from the past only.

Called by `exhausting`. In: how far forecasts that came due were off, in their own scale, by kind of trend and horizon.
Out: the share of them that were as high as is needed now. It is split conformal prediction with scaled residuals,
apart for each kind (Mondrian; Vovk, Gammerman and Shafer, 2005), over the last `kept` of them of all series together: a
series that is new has the experience of the others.
"""

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_RESORT = 32  # new residuals before a pool is sorted again
# What stands in a pool before there is anything: quantiles of Student's t with three degrees of freedom, once and twice
# as wide, so that a first forecast is unsure rather than wrong.
_FIRST = np.array([0.14, 0.42, 0.72, 1.04, 1.42, 1.90, 2.61, 4.18])


class Residuals:
    """Pools by kind and horizon."""

    def __init__(self, kinds: int, horizons: int, kept: int) -> None:
        first = np.concatenate([-2 * _FIRST, -_FIRST, _FIRST, 2 * _FIRST])
        self._pools = np.full((kinds, horizons, kept), np.nan)
        self._pools[:, :, : len(first)] = first
        self._added = np.full((kinds, horizons), len(first), np.int64)
        self._unsorted = np.zeros((kinds, horizons), np.int64)
        self._sorted = np.sort(self._pools, axis=2)

    def add(self, kinds: I64, horizon: int, residuals: F64) -> None:
        """Residuals of one horizon, each with the kind of its forecast."""
        for kind in np.unique(kinds):
            new = residuals[kinds == kind]
            pool, kept = self._pools[kind, horizon], self._pools.shape[2]
            at = (self._added[kind, horizon] + np.arange(len(new))) % kept
            pool[at] = new
            self._added[kind, horizon] += len(new)
            self._unsorted[kind, horizon] += len(new)
            if self._unsorted[kind, horizon] >= _RESORT:
                self._sorted[kind, horizon] = np.sort(pool)
                self._unsorted[kind, horizon] = 0

    def shares(self, kinds: I64, needs: F64) -> F64:
        """For each row of needs, (series, horizons), the chance that a residual is as high; never quite 0 or 1."""
        out = np.empty(needs.shape)
        for kind in np.unique(kinds):
            rows = np.flatnonzero(kinds == kind)
            for horizon in range(needs.shape[1]):
                out[rows, horizon] = self._share(kind, horizon, needs[rows, horizon])
        return out

    def _share(self, kind: int, horizon: int, needs: F64) -> F64:
        added = self._added[kind, horizon] - self._unsorted[kind, horizon]  # by the last time that they were sorted
        size = int(min(added, self._pools.shape[2]))
        pool = self._sorted[kind, horizon, :size]
        width = max(float(pool[-1] - pool[0]), 1e-9) / 4
        ranks = np.interp(needs, pool, np.arange(1, size + 1))  # 1..size
        above, below = np.maximum(needs - pool[-1], 0.0), np.maximum(pool[0] - needs, 0.0)
        tail = np.exp(-above / width) * (needs > pool[-1]) + (needs <= pool[-1])
        head = np.exp(-below / width) * (needs < pool[0]) + (needs >= pool[0])
        chance: F64 = np.where(needs < pool[0], 1 - head / (size + 1), tail * (size + 1 - ranks) / (size + 1))
        return chance

    def arrays(self) -> dict[str, F64 | I64]:
        """Everything, for a snapshot."""
        return {
            "pools": self._pools,
            "sorted": self._sorted,
            "added": self._added,
            "unsorted": self._unsorted,
        }

    def go_on(self, arrays: dict[str, npt.NDArray[np.generic]]) -> None:
        """From `arrays` of the same shape."""
        for name in ("pools", "sorted", "added", "unsorted"):
            setattr(self, f"_{name}", arrays[name])
