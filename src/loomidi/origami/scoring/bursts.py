"""Many edges of one end that are strange at once: how often the edges of a usual end are as strange together.

Called by `judging` and `glancing`. In: p-values of the edges of ticks, by end. Out: p-values of ends. A flood or a
guesser may make two hundred edges, none of which is stranger than the strangest usual one. Each end's edges below the
gate are summed as log(gate / p), out and in apart (Fisher 1932, truncated as by Zaykin et al. 2002); usual edges of one
end are not strange independently of each other, so how large a sum is comes from a slice of usual ticks, beyond it from
a tail fitted to it. The tail falls no faster than that of one edge would.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from loomidi.origami.online.seen import Seen, packed, unpacked
from loomidi.origami.online.tails import beyond, pareto

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True)
class BurstSettings:
    """How the slice is read."""

    gate: float = 1e-2
    # p-value below which an edge is counted in.
    tail: float = 0.99
    # Quantile of all ends and ticks from which the fitted tail is used.
    kept: int = 4096
    # Sums that are kept, the largest.
    share: float = 0.1
    # Of the errors that a judge may make, those that are left to ends: what one edge shows alone loses a tenth by them.


class Bursts:
    """The largest sums of usual ends. Nothing is strange before `fit`."""

    def __init__(self, settings: BurstSettings | None = None) -> None:
        self.settings = settings or BurstSettings()
        self._largest: F64 = np.zeros(0)  # ascending
        self._count = 0  # ends and ticks that they are the largest of
        self._tail: F64 = np.array([0.0, 0.0, 0.0, 1.0])  # its start, share of all that is beyond, shape, scale

    def fit(self, seen: Seen, p_values: F64) -> None:
        """From the edges of usual ticks."""
        sums = np.concatenate([_summed(self.settings.gate, seen.times_ns, ends, p_values)[0] for ends in _roles(seen)])
        self._count = len(sums)
        self._largest = np.sort(sums)[-self.settings.kept :]
        start = max(float(np.quantile(sums, self.settings.tail)), float(self._largest[0])) if len(sums) else 0.0
        over = self._largest[self._largest > start] - start
        shape, scale = pareto(over) if len(over) else (0.0, 1.0)
        share = max(len(over), 1) / max(self._count, 1)
        self._tail = np.array([start, share, max(shape, 0.0), max(scale, 1.0)])

    def p_values(self, seen: Seen, p_values: F64) -> F64:
        """Of each edge that is below the gate the lesser one of its two ends, for both (Bonferroni); of others 1."""
        told, near = np.ones(len(seen)), np.flatnonzero(p_values < self.settings.gate)
        if self._count and len(near):
            for ends in _roles(seen):
                sums, places = _summed(self.settings.gate, seen.times_ns[near], ends[near], p_values[near])
                told[near] = np.minimum(told[near], self._survival(sums)[places])
        found: F64 = np.minimum(1.0, 2 * told)
        return found

    def snapshot(self) -> bytes:
        """The slice's sums and their tail."""
        return packed({"largest": self._largest, "tail": self._tail, "count": np.array([self._count])})

    def restore(self, state: bytes) -> None:
        """Take over a `snapshot`."""
        kept = unpacked(state, {"largest": self._largest, "tail": self._tail, "count": np.zeros(1, np.int64)})
        self._largest, self._tail, self._count = kept["largest"], kept["tail"], int(kept["count"][0])

    def _survival(self, sums: F64) -> F64:
        """How often a usual end's sum is as large: as counted, where none was as by the tail."""
        at_least = len(self._largest) - np.searchsorted(self._largest, sums, side="left")
        counted = (1.0 + at_least) / (1.0 + self._count)
        start, share, shape, scale = self._tail
        fitted = share * beyond(sums - start, shape, scale)
        least = self._largest[0] if self._count > len(self._largest) else 0.0  # below, nobody has counted
        values: F64 = np.where(at_least > 0, counted, np.minimum(counted, fitted))
        values[(sums <= 0) | (sums < least)] = 1.0
        return values


def _roles(seen: Seen) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    return seen.sources, seen.destinations


def _summed(gate: float, times_ns: I64, ends: npt.NDArray[np.uint64], p_values: F64) -> tuple[F64, I64]:
    """(ends and ticks,) sums, (edges,) the place of each edge's among them."""
    if not len(ends):
        return np.zeros(0), np.zeros(0, np.int64)
    order = np.lexsort((ends, times_ns))
    first = np.append(True, (times_ns[order][1:] != times_ns[order][:-1]) | (ends[order][1:] != ends[order][:-1]))
    places = np.empty(len(ends), np.int64)
    places[order] = np.cumsum(first) - 1
    strange = np.log(gate / np.clip(p_values, 1e-300, gate))
    return np.asarray(np.bincount(places, weights=strange), np.float64), places
