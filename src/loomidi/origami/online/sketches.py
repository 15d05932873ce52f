"""Edges whose count in this minute is far from what it was: a sketch of fixed size, by the method of MIDAS-F.

Called by `scoring` and the bench. In: `Seen`, of which only times and keys are looked at. Out: scores. What scores high
is not merged into what is usual, so an attack does not become normal by going on. Counted in bpf/sketch.c: about ten
million additions a second.
"""

import dataclasses

import numpy as np

from loomidi.origami import native
from loomidi.origami.online.seen import F32, Mask, Seen


@dataclasses.dataclass(frozen=True, slots=True)
class SketchSettings:
    """Size and forgetting; rows, columns, threshold and factor are those of the method's authors."""

    rows: int = 2
    # Hash functions; the least of their counts is taken.
    columns: int = 1024
    # Cells of a row, a power of two. 2 x 1024 cells of edges, sources, destinations are 74 kB.
    threshold: float = 1000.0
    # What scores as much is not merged.
    factor: float = 0.5
    # What is left of the current counts after a tick.
    tick_s: float = 60.0
    # Length of a tick.
    seed: int = 0
    # Of the hash functions.

    def native(self) -> native.SketchSettings:
        """As C takes them."""
        return native.SketchSettings(self.seed, self.rows, self.columns, self.threshold, self.factor)


class EdgeSketch:
    """Chi-squared of this tick's count against the usual one, of edge, source and destination; the greatest."""

    def __init__(self, settings: SketchSettings | None = None) -> None:
        self.settings = settings or SketchSettings()
        self._counter = native.Counter("sketch", self.settings.native())
        self._start = np.zeros(1, np.int64)  # the first tick; 0: none was seen

    def fit(self, seen: Seen) -> None:
        """Begin anew with these."""
        self._counter = native.Counter("sketch", self.settings.native())
        self._start[0] = 0
        self.score(seen)

    def score(self, seen: Seen, learn: Mask | None = None) -> F32:
        """Every edge is counted: it is the merge that is conditional, so `learn` is not looked at."""
        del learn
        ticks = seen.times_ns // int(self.settings.tick_s * 1e9)
        if not self._start[0] and len(ticks):
            self._start[0] = ticks[0]
        since = np.maximum(ticks - self._start[0] + 1, 1).astype(np.uint32)
        out = np.empty(len(seen), np.float32)
        columns = (since, seen.sources, seen.destinations)
        self._counter.run("score", len(seen), *map(np.ascontiguousarray, columns), out)
        return out

    def snapshot(self) -> bytes:
        """The first tick and all cells."""
        return self._start.tobytes() + self._counter.save()

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot`."""
        self._counter.load(state[self._start.nbytes :])
        self._start = np.frombuffer(state[: self._start.nbytes], np.int64).copy()
