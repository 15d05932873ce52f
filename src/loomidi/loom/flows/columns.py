"""Columns of a batch as numpy arrays, from their own buffers.

Called by `garden.graph` and `insight.report` on each batch. In: a column of numbers or times. Out: a numpy array.
pyarrow's `to_numpy` loads pandas wherever that is installed, which costs a second at the first batch.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def plain(column: pa.Array) -> npt.NDArray[Any]:
    """Values in the column's own type, times as int64; null is 0. Read-only where nothing was null."""
    kind = np.dtype(np.int64) if pa.types.is_timestamp(column.type) else np.dtype(str(column.type))
    valid, octets = column.buffers()
    values: npt.NDArray[Any] = np.frombuffer(octets or b"", kind, len(column), column.offset * kind.itemsize)
    if not column.null_count:
        return values
    bits = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")
    kept: npt.NDArray[Any] = np.where(bits[column.offset : column.offset + len(column)], values, kind.type(0))
    return kept
