"""A piece of time that is closed: what windows of any size are put together from.

Called by `closing`. In: the `Parts` of one piece of time, or panes in time order. Out: `Pane`: per edge the integer
sums, the terms of the entropy, the gaps between flow starts, the latencies. All is kept in integers, so that no order
of addition shows; floats are made last, in `features`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from loomidi.loom.windows import samples
from loomidi.loom.windows.parts import EXTREMES, Ints, Parts, frame_from, frame_to, grouped
from loomidi.loom.windows.projecting import RAW
from loomidi.loom.windows.requests import NO_REQUESTS, added
from loomidi.loom.windows.samples import Samples

BITS = 20
"""Entropy terms are in 2**-20 bit."""

TERMS = ("source_port_count", "source_port_term", "gap_count", "gap_us", "gap_square_us")
_LONGEST_US = 3_600_000_000  # a start that is earlier than an hour before the pane is told as that


@dataclasses.dataclass(frozen=True, slots=True)
class Pane:
    """Edges in the order of their keys; samples are numbered by their row."""

    edges: pl.DataFrame  # KEYS, WORKLOADS, SUMS, TERMS, first_start_us, last_start_us
    handshake: Samples
    response: Samples
    requests: pl.DataFrame = dataclasses.field(default_factory=lambda: NO_REQUESTS)
    collapsed: int = 0

    def to_bytes(self) -> bytes:
        """As Arrow IPC streams, one after the other."""
        frames = (self.edges.with_columns(pl.lit(self.collapsed).alias("collapsed")), self.requests)
        tables = [samples.to_table(some) for some in (self.handshake, self.response)]
        return b"".join([*map(frame_to, frames), *tables])

    @classmethod
    def from_bytes(cls, data: bytes) -> "Pane":
        """What `to_bytes` gave."""
        source = pa.BufferReader(data)
        edges, counts = frame_from(source), frame_from(source)
        handshake, response = samples.from_table(source), samples.from_table(source)
        collapsed = int(edges["collapsed"][0]) if len(edges) else 0
        return cls(edges.drop("collapsed"), handshake, response, counts, collapsed)

    def with_requests(self, counts: pl.DataFrame) -> "Pane":
        """The same with what HTTP servers counted."""
        return dataclasses.replace(self, requests=counts)


def weighed(counts: Ints) -> Ints:
    """c * log2(c) in 2**-20 bit: entropies are differences of such terms, exact to a millionth in any order."""
    terms = counts * np.log2(np.maximum(counts, 1)) * (1 << BITS)
    return np.rint(terms).astype(np.int64)


def sealed(parts: Parts, start_ns: int) -> Pane:
    """The pane of merged parts, which begins at `start_ns`."""
    raw = dict(zip(RAW, parts.raw, strict=True))
    count = len(parts.edges)
    ports = np.bincount(raw["source_transport_port"].edges, minlength=count)
    columns = {
        "source_port_count": ports,
        "source_port_term": weighed(ports) - _port_terms(*raw["source_transport_port"], count),
        **_gaps(*raw["flow_start_us"], count, start_ns // 1000 - _LONGEST_US),
    }
    edges = parts.edges.with_columns(
        pl.Series(name, values) if isinstance(values, pl.Series) else pl.Series(name, values, pl.Int64)
        for name, values in columns.items()
    )
    handshake, response = (samples.sampled(*raw[name]) for name in ("handshake_ns", "response_ns"))
    return Pane(edges, handshake, response, collapsed=parts.collapsed)


def combined(panes: Sequence[Pane], most: int) -> Pane:
    """Panes in time order as one; the gap from the last start of one to the first of the next counts, if positive."""
    if len(panes) == 1:
        return panes[0]
    edges = pl.concat([one.edges for one in panes])
    kept, new, collapsed = grouped(edges, most)
    kept = kept.with_columns(_ends(edges, new, len(kept)))
    kept = kept.with_columns(
        (pl.col(name) + pl.Series(name, values)).alias(name) for name, values in _joints(edges, new, len(kept)).items()
    )
    taken, latencies = 0, list[tuple[list[Samples], list[Samples]]]()
    for one in panes:
        rows = new[taken : taken + len(one.edges)]
        latencies.append((one.handshake.renumbered(rows), one.response.renumbered(rows)))
        taken += len(one.edges)
    return Pane(
        kept,
        samples.joined([piece for first, _ in latencies for piece in first]),
        samples.joined([piece for _, second in latencies for piece in second]),
        added([one.requests for one in panes]),
        collapsed + sum(one.collapsed for one in panes),
    )


def _port_terms(edges: Ints, ports: Ints, count: int) -> Ints:
    """For each edge the sum of c * log2(c) over its source ports."""
    numbers, _, times = samples.runs(samples.increasing((edges << 16) | ports))
    terms = np.zeros(count, np.int64)
    np.add.at(terms, numbers >> 16, weighed(times))
    return terms


def _ends(edges: pl.DataFrame, new: Ints, count: int) -> list[pl.Series]:
    """The first and the last start of all; null where no flow began and ended."""
    there = np.flatnonzero(edges["first_start_us"].is_not_null().to_numpy())
    first, last = np.full(count, np.iinfo(np.int64).max), np.full(count, np.iinfo(np.int64).min)
    np.minimum.at(first, new[there], edges["first_start_us"].fill_null(0).to_numpy()[there])
    np.maximum.at(last, new[there], edges["last_start_us"].fill_null(0).to_numpy()[there])
    none = first > last
    return [pl.Series(name, pa.array(values, mask=none)) for name, values in zip(EXTREMES, (first, last), strict=True)]


def _gaps(edges: Ints, starts: Ints, count: int, floor_us: int) -> dict[str, Ints | pl.Series]:
    """Gaps between the starts of the flows of each edge, sorted; the first and the last start."""
    keys, offsets = samples.ordered(edges, np.clip(starts - floor_us, 0, (1 << 40) - 1))
    numbers, begins, times = samples.runs(keys)
    gap, same = np.diff(offsets), keys[1:] == keys[:-1]
    found = _gap_sums(keys[1:][same], gap[same], count)
    first, last = np.zeros((2, count), np.int64)
    first[numbers], last[numbers] = offsets[begins] + floor_us, offsets[begins + times - 1] + floor_us
    none = np.ones(count, np.bool_)
    none[numbers] = False
    ends = {
        name: pl.Series(name, pa.array(values, mask=none))
        for name, values in (("first_start_us", first), ("last_start_us", last))
    }
    return {**found, **ends}


def _joints(edges: pl.DataFrame, new: Ints, count: int) -> dict[str, Ints]:
    """The gaps between panes: `edges` of all of them in time order, `new` their rows in the whole."""
    there = np.flatnonzero(edges["first_start_us"].is_not_null().to_numpy())
    order = there[np.argsort(new[there], kind="stable")]
    rows = new[order]
    first, last = (edges[name].fill_null(0).to_numpy()[order] for name in ("first_start_us", "last_start_us"))
    gap = first[1:] - last[:-1]
    joint = (rows[1:] == rows[:-1]) & (gap > 0)
    return _gap_sums(rows[1:][joint], gap[joint], count)


def _gap_sums(rows: Ints, gap: Ints, count: int) -> dict[str, Ints]:
    """How many, their sum and the sum of their squares. A gap is at most an hour, as no window is longer."""
    gap = np.minimum(gap, _LONGEST_US // 4)
    sums: npt.NDArray[np.int64] = np.zeros((3, count), np.int64)
    for total, values in zip(sums, (np.ones(len(gap), np.int64), gap, gap * gap), strict=True):
        np.add.at(total, rows, values)
    return dict(zip(("gap_count", "gap_us", "gap_square_us"), sums, strict=True))
