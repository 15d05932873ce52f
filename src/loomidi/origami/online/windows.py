"""Event-time windows as tables that merge: any order and any split of batches gives the same sums.

Called by the flow detectors. In: rows with `key` (hash of window and what is counted) and `window` (index). Out: the
rows of windows that time has left behind. A window is due when the batches have moved away from it, in either
direction, so that one packet with a wrong clock closes nothing, and a second capture may be older than the first.
Rows that come later than that open their window again: nothing is dropped for being late. Memory is bounded by `rows`;
what is shed is counted.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from loomidi.garden.graph.columns import I64, U64, Shape, Table, grouped, stacked, taken

MOST_WINDOWS = 256  # a longer flow is spread over this many and not further
_FEW = 16_384  # rows that wait at least before they are merged; later as many as are merged already
Shed = Callable[[Table], npt.NDArray[np.bool_]]


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """Which input row each output row came from, its window, and the share of the row's counts in it."""

    row: I64
    window: I64
    before: npt.NDArray[np.float64]  # share of the flow that lies before this window
    after: npt.NDArray[np.float64]  # share up to the end of this window

    def part(self, counts: I64) -> I64:
        """Counts of each row's window; over all windows of a row they add up exactly."""
        whole = counts[self.row].astype(np.float64)
        part: I64 = (np.floor(whole * self.after) - np.floor(whole * self.before)).astype(np.int64)
        return part


def spread(first: I64, last: I64, width_ns: int) -> Spread:
    """Cut flows at the borders of the windows they lie in, as if their packets were evenly spaced."""
    begin, end = first // width_ns, np.maximum(last, first) // width_ns
    count = np.minimum(end - begin + 1, MOST_WINDOWS)
    row = np.repeat(np.arange(len(first)), count)
    step = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    window = begin[row] + step
    length = np.maximum(last - first, 1)[row].astype(np.float64)
    before = np.clip((window * width_ns - first[row]) / length, 0.0, 1.0)
    after = np.clip(((window + 1) * width_ns - first[row]) / length, 0.0, 1.0)
    after[window == end[row]] = 1.0
    before[step == 0] = 0.0
    return Spread(row, window, before, after)


class Windows:
    """A bounded table of windowed rows."""

    def __init__(self, shape: Shape, rows: int, shed: Shed) -> None:
        self._shape = shape
        self._limit = rows
        self._shed = shed  # which rows to keep when there are too many
        self._parts: list[Table] = []
        self._rows = self._merged = 0
        self.open: set[int] = set()  # windows with rows that were not asked for yet
        self.grown: set[int] = set()  # windows with rows since `look` asked for them last
        self.shed_rows = 0

    def add(self, table: Table) -> None:
        """Merge rows in."""
        if not len(table["key"]):
            return
        part = grouped(table, self._shape)
        windows = np.unique(part["window"]).tolist()
        self.open.update(windows)
        self.grown.update(windows)
        self._parts.append(part)
        self._rows += len(part["key"])
        if self._rows > self._merged + max(_FEW, min(self._merged, self._limit)):
            self._merge()

    def rows_of(self, windows: list[int]) -> Table:
        """The merged rows of these windows, which are asked for now; empty dict when there is none."""
        self.open.difference_update(windows)
        return self.peek(windows)

    def peek(self, windows: list[int]) -> Table:
        """The same, without closing them. Rows stay until `forget`."""
        table = self._merge()
        rows = np.isin(table["window"], np.array(windows, np.int64)) if table else np.zeros(0, bool)
        return taken(table, rows) if rows.any() else {}

    def forget(self, keep: tuple[int, int]) -> None:
        """Drop the rows of windows outside keep[0]..keep[1]."""
        if self._parts:
            table = self._merge()
            window = table["window"]
            self._replace(taken(table, (window >= keep[0]) & (window <= keep[1])))

    def _merge(self) -> Table:
        if not self._parts:
            return {}
        if len(self._parts) > 1:
            table = grouped(stacked(self._parts), self._shape)
            if len(table["key"]) > self._limit:
                kept = self._shed(table)
                self.shed_rows += int((~kept).sum())
                table = taken(table, kept)
            self._replace(table)
        return self._parts[0] if self._parts else {}

    def _replace(self, table: Table) -> None:
        self._rows = self._merged = len(table["key"])
        self._parts = [table] if self._rows else []


def largest(column: str, rows: int) -> Shed:
    """Keep the rows with the largest values of a column: half of the bound."""

    def kept(table: Table) -> npt.NDArray[np.bool_]:
        rank = np.argsort(-table[column].astype(np.int64), kind="stable")
        mask = np.zeros(len(rank), bool)
        mask[rank[: rows // 2]] = True
        return mask

    return kept


class Distinct:
    """How many different elements each key met: the smallest 1024 hashes of each key (KMV sketch).

    Exact up to 1024 elements, about 3 % off above; order and splits of the input make no difference.
    """

    def __init__(self, size: int = 1024, rows: int = 120_000) -> None:
        self._size = size
        self._limit = rows
        self._parts: list[Table] = []
        self._rows = self._merged = 0
        self.shed_rows = 0

    def add(self, key: U64, window: I64, element: U64, name: npt.NDArray[np.bytes_], weight: I64 | None = None) -> None:
        """Each key met this element; `name` is kept so that few of them can be told, the heaviest first."""
        if len(key):
            heavy = np.ones(len(key), np.int64) if weight is None else weight
            table = {"key": key, "window": window, "rank": element, "name": name, "weight": heavy}
            self._parts.append(self._smallest(table))
            self._rows += len(self._parts[-1]["key"])
            if self._rows > self._merged + max(_FEW, min(self._merged, self._limit)):
                self._merge()

    def counts(self, keys: U64) -> I64:
        """Distinct elements of each key; 0 for a key that met none."""
        table = self._merge()
        if not table:
            return np.zeros(len(keys), np.int64)
        low, high = np.searchsorted(table["key"], keys), np.searchsorted(table["key"], keys, side="right")
        count: I64 = (high - low).astype(np.int64)
        for index in np.flatnonzero(count >= self._size):
            largest_rank = float(table["rank"][high[index] - 1]) / 2.0**64
            count[index] = int((self._size - 1) / max(largest_rank, 1e-12))
        return count

    def names(self, key: np.uint64, most: int, share: float = 0.0) -> list[str]:
        """Up to `most` of the elements that a key met, the heaviest first; of equal weight by name.

        `share`: who weighs less than this part of the heaviest is left out.
        """
        table = self._merge()
        if not table:
            return []
        low, high = np.searchsorted(table["key"], key), np.searchsorted(table["key"], key, side="right")
        weights = table["weight"][low:high].tolist()
        met = sorted(zip(weights, table["name"][low:high].tolist(), strict=True), key=lambda one: (-one[0], one[1]))
        least = share * max(weights, default=0)
        return [name.decode() for weight, name in met[:most] if weight >= least]

    def forget(self, keep: tuple[int, int]) -> None:
        """Drop the rows of windows outside keep[0]..keep[1]."""
        if self._parts:
            table = self._merge()
            window = table["window"]
            self._parts = [taken(table, (window >= keep[0]) & (window <= keep[1]))]
            self._rows = self._merged = len(self._parts[0]["key"])

    def _smallest(self, table: Table) -> Table:
        """Unique (key, rank) with the sum of their weights, at most `size` per key, in that order."""
        order = np.lexsort((table["rank"], table["key"]))
        key, rank = table["key"][order], table["rank"][order]
        fresh = np.concatenate(([True], (key[1:] != key[:-1]) | (rank[1:] != rank[:-1])))
        table = table | {"weight": _spread_sums(table["weight"], order, np.flatnonzero(fresh))}
        order = order[fresh]
        key = table["key"][order]
        starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
        lengths = np.diff(np.append(starts, len(key)))
        within = np.arange(len(key)) - np.repeat(starts, lengths)
        return taken(table, order[within < self._size])

    def _merge(self) -> Table:
        if not self._parts:
            return {}
        if len(self._parts) > 1:
            table = self._smallest(stacked(self._parts))
            if len(table["key"]) > self._limit:
                table = self._without_loners(table)
            self._parts = [table]
            self._rows = self._merged = len(table["key"])
        return self._parts[0]

    def _without_loners(self, table: Table) -> Table:
        """Shed the keys that met the fewest."""
        _, inverse, count = np.unique(table["key"], return_inverse=True, return_counts=True)
        met = count[inverse]
        kept = met > np.sort(met)[len(met) - self._limit // 2]
        self.shed_rows += int((~kept).sum())
        return taken(table, kept)


def _spread_sums(weight: I64, order: I64, starts: I64) -> I64:
    """The weight column with, at the first row of each run in `order`, the sum of the run."""
    summed = weight.copy()
    summed[order[starts]] = np.add.reduceat(weight[order], starts)
    return summed
