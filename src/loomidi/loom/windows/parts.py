"""What a piece of time amounts to so far, in a form that can be added up in any order and sent anywhere.

Called by runners (rows -> parts, parts + parts) and by `panes`. In: ROWS, whole or in pieces. Out: `Parts`: for each
edge its integer sums, and the single values that percentiles, gaps and entropies will need. `merged` is associative
and commutative up to the order of the values, and `panes` sorts those: any batching and order give the same window.
"""

import dataclasses
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from loomidi.loom.windows.keying import KEYS, Numbered, arrows, greatest, numbered
from loomidi.loom.windows.projecting import RAW, SUMS, WORKLOADS

Ints = npt.NDArray[np.int64]

EXTREMES = ("first_start_us", "last_start_us")  # of panes: these are no sums
OTHER = "other"  # who stands for edges beyond the bound


class Values(NamedTuple):
    """Single values of edges: row of the edge, value."""

    edges: Ints
    values: Ints


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """Edges with their sums; `raw` holds for each of `RAW` the values that are there."""

    edges: pl.DataFrame  # KEYS, WORKLOADS, SUMS
    raw: tuple[Values, ...]
    collapsed: int = 0  # edges that went into `other`

    @property
    def rows(self) -> int:
        return int(self.edges["flow_record_count"].sum())

    @property
    def values(self) -> int:
        """How many single values it holds."""
        return sum(len(one.values) for one in self.raw)

    def without_values(self) -> "Parts":
        """The sums alone, where there is no room for more."""
        return dataclasses.replace(self, raw=NO_PARTS.raw)

    def to_bytes(self) -> bytes:
        """As Arrow IPC streams, one after the other."""
        out = io.BytesIO()
        tables = [self.edges.to_arrow(compat_level=pl.CompatLevel.oldest())]
        tables += [pa.table({"edges": one.edges, "values": one.values}) for one in self.raw]
        tables[0] = tables[0].replace_schema_metadata({"collapsed": str(self.collapsed)})
        for table in tables:
            with pa.ipc.new_stream(out, table.schema) as writer:
                writer.write_table(table)
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Parts":
        """What `to_bytes` gave."""
        source = pa.BufferReader(data)
        tables = [pa.ipc.open_stream(source).read_all() for _ in range(1 + len(RAW))]
        raw = (Values(table["edges"].to_numpy(), table["values"].to_numpy()) for table in tables[1:])
        collapsed = int(tables[0].schema.metadata[b"collapsed"])
        edges = pl.from_arrow(tables[0])
        assert isinstance(edges, pl.DataFrame)
        return cls(edges, tuple(raw), collapsed)


def frame_to(frame: pl.DataFrame) -> bytes:
    """A frame as an Arrow IPC stream."""
    out, table = io.BytesIO(), frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def frame_from(data: bytes | pa.BufferReader) -> pl.DataFrame:
    """What `frame_to` gave; a reader is left behind it."""
    frame = pl.from_arrow(pa.ipc.open_stream(data).read_all())
    assert isinstance(frame, pl.DataFrame)
    return frame


NO_PARTS = Parts(
    pl.DataFrame(
        schema={
            "source": pl.String,
            "destination": pl.String,
            "destination_service": pl.String,
            "destination_transport_port": pl.UInt16,
            "protocol_identifier": pl.UInt8,
            **dict.fromkeys(WORKLOADS, pl.String),
            **dict.fromkeys(SUMS, pl.Int64),
        }
    ),
    tuple(Values(np.empty(0, np.int64), np.empty(0, np.int64)) for _ in RAW),
)


def reduced(rows: pa.RecordBatch) -> Parts:
    """The parts of rows; every row falls into exactly one edge."""
    by = numbered([rows.column(name) for name in KEYS])
    first = pa.array(by.first)
    columns = {name: pl.Series(rows.column(name).take(first)) for name in KEYS}
    columns |= {name: greatest(rows.column(name), by) for name in WORKLOADS}
    columns |= {name: pl.Series(summed(rows.column(name).to_numpy(), by)) for name in SUMS}
    raw = []
    for name in RAW:
        values = rows.column(name).to_numpy()
        there = np.flatnonzero(values >= 0)
        raw.append(Values(by.of, values) if len(there) == len(values) else Values(by.of[there], values[there]))
    return Parts(pl.DataFrame(columns), tuple(raw))


def merged(parts: Sequence[Parts], most: int) -> Parts:
    """All of them together, edges in the order of their keys; those beyond `most`, the smallest, become `other`."""
    edges, new, collapsed = grouped(pl.concat([one.edges for one in parts]), most)
    offset, raw = 0, list[list[Values]]([] for _ in RAW)
    for one in parts:
        rows = new[offset : offset + len(one.edges)]
        for index, values in enumerate(one.raw):
            raw[index].append(Values(rows[values.edges], values.values))
        offset += len(one.edges)
    joined = tuple(
        Values(np.concatenate([one.edges for one in some]), np.concatenate([one.values for one in some]))
        for some in raw
    )
    return Parts(edges, joined, collapsed + sum(one.collapsed for one in parts))


def grouped(edges: pl.DataFrame, most: int) -> tuple[pl.DataFrame, Ints, int]:
    """(one row for each key, for each old row its new one, how many edges went into `other`); whole numbers add up."""
    by = numbered(arrows(edges, KEYS))
    if by.many > most:
        size = summed(edges["flow_record_count"].to_numpy(), by)
        small = np.ones(by.many, np.bool_)
        small[np.argsort(-size, kind="stable")[:most]] = False
        found, new, _ = grouped(_renamed(edges, small[by.of]), most + 1)
        return found, new, by.many - most
    first = edges[by.first]
    columns = {name: greatest(column, by) for name, column in zip(WORKLOADS, arrows(edges, WORKLOADS), strict=True)}
    for name, kind in edges.schema.items():
        if kind == pl.Int64 and name not in EXTREMES:
            columns[name] = pl.Series(summed(edges[name].to_numpy(), by))
    found = first.with_columns(values.alias(name) for name, values in columns.items())
    return found, by.of, 0


def _renamed(edges: pl.DataFrame, small: npt.NDArray[np.bool_]) -> pl.DataFrame:
    names = {"source": OTHER, "destination": OTHER, "destination_service": None, **dict.fromkeys(WORKLOADS)}
    chosen = pl.Series(small)
    return edges.with_columns(
        pl.when(chosen).then(pl.lit(names.get(name, 0), edges.schema[name])).otherwise(pl.col(name)).alias(name)
        for name in (*KEYS, *WORKLOADS)
    )


def summed(values: Ints, by: Numbered) -> Ints:
    """The sum of each number."""
    total = np.zeros(by.many, np.int64)
    np.add.at(total, by.of, values)
    return total
