"""Totals and the traffic timeline of a stream of flow batches, in memory that does not grow with it.

A stage of `services.analyzing`: `Tally.absorb` takes one Arrow batch (schema `FLOWS`). Out: `FlowTotals`, per-protocol
totals and a `Series`. The timeline keeps a fixed number of bins; when the captures outlast them, bins are merged in
pairs and are twice as wide from then on. Leaves entities and findings to the stages beside it.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loomidi.insight.report.records import FlowTotals, Series
from loomidi.loom.flows.columns import plain

BINS = 240
FINEST_NS = 1_000_000  # 1 ms: no bin is narrower
GROUPS = ("tcp", "udp", "icmp", "other")
_GROUP_OF = np.full(256, GROUPS.index("other"), dtype=np.intp)
_GROUP_OF[[6, 17, 1, 58]] = [0, 1, 2, 2]

Numbers = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]


class Tally:
    """Counts what passes by."""

    def __init__(self, bins: int = BINS) -> None:
        self._totals = np.zeros((len(GROUPS), 3), dtype=np.int64)  # flows, packets, octets
        self._timeline = Timeline(len(GROUPS) + 1, bins)
        self._first_ns: int | None = None
        self._last_ns = 0

    def absorb(self, batch: pa.RecordBatch) -> None:
        """Add one batch of ended flows."""
        if batch.num_rows == 0:
            return
        start = plain(batch.column("flow_start_nanoseconds"))
        end = np.maximum(plain(batch.column("flow_end_nanoseconds")), start)  # a capture may claim anything
        packets = _both(batch, "packet_delta_count")
        octets = _both(batch, "octet_delta_count")
        group = _GROUP_OF[plain(batch.column("protocol_identifier"))]
        for at, weights in enumerate((None, packets, octets)):
            self._totals[:, at] += np.bincount(group, weights, len(GROUPS)).astype(np.int64)
        lowest = int(start.min())
        self._first_ns = lowest if self._first_ns is None else min(self._first_ns, lowest)
        self._last_ns = max(self._last_ns, int(end.max()))
        self._timeline.add(start, end, packets, group)
        self._timeline.add(start, end, octets, np.full(batch.num_rows, len(GROUPS)))

    def totals(self) -> FlowTotals:
        """All protocols together."""
        return self._flows(self._totals.sum(axis=0))

    def protocols(self) -> Mapping[str, FlowTotals]:
        """Per protocol group, in the order of `GROUPS`, those without flows left out."""
        return {name: self._flows(row) for name, row in zip(GROUPS, self._totals, strict=True) if row[0]}

    def _flows(self, row: Numbers) -> FlowTotals:
        count, packets, octets = (int(number) for number in row)
        return FlowTotals(count, packets, octets, self._first_ns or 0, self._last_ns)

    def series(self) -> Series:
        """The timeline from the first to the last flow."""
        start_ns, bin_ns, values = self._timeline.rounded()
        packets = {name: tuple(row) for name, row in zip(GROUPS, values, strict=False)}
        return Series(start_ns, bin_ns, packets, tuple(values[-1]))


class Timeline:
    """`rows` series over at most `bins` bins of equal width, aligned to multiples of the width since the epoch."""

    def __init__(self, rows: int, bins: int = BINS) -> None:
        self._values: Shares = np.zeros((rows, bins))
        self._bins, self._width = bins, FINEST_NS
        self._first: int | None = None  # number of the first bin since the epoch
        self._last = 0

    def add(self, start_ns: Numbers, end_ns: Numbers, amount: Numbers, row: npt.NDArray[np.intp]) -> None:
        """Spread each amount evenly over its time. Four arrays of equal length; a row is an index of a series."""
        self._make_room(int(start_ns.min()), int(end_ns.max()))
        assert self._first is not None
        first, last = start_ns // self._width - self._first, end_ns // self._width - self._first
        within = first == last
        np.add.at(self._values, (row[within], first[within]), amount[within].astype(np.float64))
        if not within.all():
            over = ~within
            begin = (start_ns[over] % self._width + first[over] * self._width).astype(np.float64)
            exact = (end_ns - start_ns)[over]  # wraps below 0 when a capture claims more than 292 years
            length = np.where(exact > 0, exact, end_ns[over].astype(np.float64) - start_ns[over])
            self._spread(begin, length, amount[over] / length, (row[over], first[over], last[over]))

    def _spread(self, begin: Shares, length: Shares, rate: Shares, at: tuple[npt.NDArray[np.intp], ...]) -> None:
        """Amounts that cross a bin's edge: the parts at both ends, and whole bins between them as running sums."""
        row, first, last = at
        width = float(self._width)
        np.add.at(self._values, (row, first), rate * ((first + 1) * width - begin))
        np.add.at(self._values, (row, last), rate * (begin + length - last * width))
        steps = np.zeros((len(self._values), self._bins + 1))
        np.add.at(steps, (row, first + 1), rate * width)
        np.add.at(steps, (row, last), -rate * width)
        self._values += np.cumsum(steps, axis=1)[:, :-1]

    def _make_room(self, lowest_ns: int, highest_ns: int) -> None:
        """Widen and shift until both ends fit."""
        if self._first is not None:
            lowest_ns = min(lowest_ns, self._first * self._width)
            highest_ns = max(highest_ns, (self._last + 1) * self._width - 1)
        width = self._width
        while highest_ns // width - lowest_ns // width >= self._bins:
            width *= 2
        first, values = lowest_ns // width, np.zeros_like(self._values)
        if self._first is not None:
            old = np.arange(self._bins)[: self._last - self._first + 1]
            np.add.at(values.T, (self._first + old) // (width // self._width) - first, self._values.T[old])
        self._values, self._width, self._first, self._last = values, width, first, highest_ns // width

    def rounded(self) -> tuple[int, int, list[list[int]]]:
        """Start, width and whole numbers per series; each series keeps its total."""
        if self._first is None:
            return 0, self._width, [[0] for _ in self._values]
        used = self._values[:, : self._last - self._first + 1]
        edges = np.rint(np.cumsum(used, axis=1)).astype(np.int64)
        return self._first * self._width, self._width, np.diff(edges, axis=1, prepend=0).tolist()


def _both(batch: pa.RecordBatch, name: str) -> Numbers:
    """A counter of both directions together."""
    answers = plain(batch.column(f"reverse_{name}")).astype(np.int64)
    total: Numbers = plain(batch.column(name)).astype(np.int64) + answers
    return total
