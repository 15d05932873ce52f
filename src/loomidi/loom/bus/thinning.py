"""What gives way when flows come faster than they go: detail first, then rows, each said in the rows that stay.

Called by `publishing`. Pure functions from batch to batch. Streams that are no flows have nothing that may be left out.
"""

import functools
import re

import numpy as np
import pyarrow as pa

from loomidi.contracts.streams import Stream

FLOWS = frozenset({Stream.FLOWS.value, Stream.LATE.value})
_STATISTICS = re.compile(r"_(min|mean|std|max)(_ns)?$")
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # spreads ids that lie close together over the whole range


def lowered(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same flows without statistics (null) and without their first packets (empty lists): half of the octets."""
    columns = [
        column if keep else _nothing(column.type, batch.num_rows)
        for column, keep in zip(batch.columns, _kept(batch.schema), strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


@functools.lru_cache(maxsize=16)
def _kept(schema: pa.Schema) -> tuple[bool, ...]:
    return tuple(
        not (pa.types.is_list(field.type) or (field.nullable and _STATISTICS.search(field.name))) for field in schema
    )


def _nothing(kind: pa.DataType, rows: int) -> pa.Array:
    if pa.types.is_list(kind):
        offsets = pa.array(np.zeros(rows + 1, np.int32))
        return pa.ListArray.from_arrays(offsets, pa.array([], kind.value_type), type=kind)
    return _nulls(kind, 1 << (rows - 1).bit_length() if rows else 0).slice(0, rows)


@functools.lru_cache(maxsize=256)
def _nulls(kind: pa.DataType, rows: int) -> pa.Array:
    """Shared by all batches: columns of nulls take no memory of their own."""
    return pa.nulls(rows, kind)


def octets(batch: pa.RecordBatch) -> int:
    """Of memory, without what `lowered` has taken out."""
    return sum(column.nbytes for column in batch.columns if column.null_count < len(column))


def sampled(batch: pa.RecordBatch, interval: int) -> pa.RecordBatch:
    """About one row of so many, the same flows everywhere; each says how many it stands for.

    What is kept at 1 of 4 is part of what is kept at 1 of 2: intervals are powers of two.
    """
    ids = batch.column("flow_id").to_numpy()
    spread = (ids * _GOLDEN) >> np.uint64(32)
    kept = batch.filter(pa.array(spread % np.uint64(interval) == 0))
    place = kept.schema.get_field_index("sampling_interval")
    stands_for = pa.array(kept.column(place).to_numpy() * np.uint32(interval), pa.uint32())
    return kept.set_column(place, kept.schema.field(place), stands_for)
