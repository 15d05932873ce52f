"""Keys of edges as numbers: text is looked at once, all else is arithmetic on integers.

Called by `parts`, `panes` and `features`. In: columns of keys. Out: for each row the number of its key, in the order
of the keys. Order is that of the text, null first, so it does not depend on which row came first.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

Ints = npt.NDArray[np.int64]

KEYS = ("source", "destination", "destination_service", "destination_transport_port", "protocol_identifier")


class Numbered(NamedTuple):
    """Rows by key: equal keys have equal numbers, and the numbers are in the order of the keys."""

    of: Ints  # for each row its number
    first: Ints  # for each number one of its rows
    many: int  # numbers


def numbered(columns: list[pa.Array]) -> Numbered:
    """Of the five columns of `KEYS`."""
    source, destination, service = (ranks(column) for column in columns[:3])
    port, protocol = (column.to_numpy().astype(np.int64) for column in columns[3:])
    pair = packed((source, destination))
    return ordered(packed((pair, service, (port << 8) | protocol)))


def ordered(keys: Ints) -> Numbered:
    """The numbers of whole numbers."""
    encoded = pa.array(keys).dictionary_encode()
    codes, values = encoded.indices.to_numpy(), encoded.dictionary.to_numpy()
    order = np.argsort(values)
    place = np.empty(len(values), np.int64)
    place[order] = np.arange(len(values))
    of = place[codes]
    first = np.zeros(len(values), np.int64)
    first[of] = np.arange(len(of))
    return Numbered(of, first, len(values))


def ranks(column: pa.Array) -> Ints:
    """For each row the rank of its text, 0 for null."""
    return _ranked(column)[0]


def _ranked(column: pa.Array) -> tuple[Ints, pa.Array]:
    """For each row the rank of its text, 0 for null; the texts in their order, the first of rank 1."""
    encoded = column.dictionary_encode()
    order = np.argsort(encoded.dictionary.to_numpy(zero_copy_only=False))
    place = np.zeros(len(order) + 1, np.int64)  # the last one, -1, is null's
    place[order] = np.arange(1, len(order) + 1)
    codes = encoded.indices.fill_null(-1) if encoded.null_count else encoded.indices
    return place[codes.to_numpy()], encoded.dictionary.take(pa.array(order))


def packed(columns: tuple[Ints, ...]) -> Ints:
    """One number for each row, in the order of the columns; where they need more than 63 bits, their ranks."""
    bits = [int(column.max(initial=0)).bit_length() for column in columns]
    joined, used = columns[0], bits[0]
    for column, width in zip(columns[1:], bits[1:], strict=True):
        if used + width > 63:
            joined = ordered(joined).of
            used = int(joined.max(initial=0)).bit_length()
        joined, used = (joined << width) | column, used + width
    return joined


def greatest(column: pa.Array, by: Numbered) -> pl.Series:
    """The greatest text of each number: mostly there is one, and the greatest does not depend on the order."""
    if column.null_count == len(column):
        return pl.Series([None] * by.many, dtype=pl.String)
    rank, words = _ranked(column)
    best = rank[by.first]
    if (best[by.of] != rank).any():
        np.maximum.at(best, by.of, rank)
    return pl.Series(words.take(pa.array(best - 1, mask=best == 0)))


def arrows(frame: pl.DataFrame, names: tuple[str, ...]) -> list[pa.Array]:
    """Columns of a frame, each as one array."""
    table = frame.select(names).to_arrow(compat_level=pl.CompatLevel.oldest())
    return [whole(table.column(name)) for name in names]


def whole(column: pa.ChunkedArray) -> pa.Array:
    """One array, whatever the chunks."""
    joined = column.combine_chunks()
    return joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks or [pa.array([], column.type)])
