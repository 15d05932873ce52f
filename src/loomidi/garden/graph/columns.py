"""Arrow columns as numpy, and grouping without Python objects.

Called by the entity graph and the flow detectors. In: Arrow text columns, key and value arrays. Out: fixed-width
byte arrays, 64-bit hashes, grouped sums and extremes. Addresses stay bytes until one of them is told.
"""

import dataclasses
import ipaddress
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loomidi.loom.flows.columns import plain

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Text = npt.NDArray[np.bytes_]
Column = npt.NDArray[Any]

_NARROW, _WIDE = 16, 40  # octets: an IPv4 address, an IPv6 address (39) as text
_ODD = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F], np.uint64
)


def texts(column: pa.Array) -> Text:
    """A utf8 column as fixed-width bytes (16 or 40 wide, zero padded; longer text is cut)."""
    count = len(column)
    if not count:
        return np.zeros(0, f"S{_NARROW}")
    column = column.cast(pa.utf8()) if column.type != pa.utf8() else column
    _, offset_buffer, data_buffer = column.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[column.offset : column.offset + count + 1].astype(np.int64)
    lengths = np.diff(offsets)
    width = _NARROW if int(lengths.max()) <= _NARROW else _WIDE
    data = (
        np.frombuffer(data_buffer, np.uint8) if data_buffer is not None and data_buffer.size else np.zeros(1, np.uint8)
    )
    at = offsets[:-1, None] + np.arange(width)
    chars = data[np.minimum(at, len(data) - 1)]
    chars[np.arange(width) >= lengths[:, None]] = 0
    return np.ascontiguousarray(chars).view(f"S{width}").ravel()


def hashes(column: Text) -> U64:
    """A 64-bit hash of each text; the width of the column makes no difference."""
    words = np.ascontiguousarray(column).view(np.uint64).reshape(len(column), -1)
    total = np.zeros(len(column), np.uint64)
    for index in range(words.shape[1]):
        word = words[:, index]
        total += (word ^ (word >> np.uint64(29))) * _ODD[index]
    return mixed(total)


def mixed(values: U64) -> U64:
    """Spread 64-bit values evenly (the finaliser of splitmix64)."""
    values = values ^ (values >> np.uint64(30))
    values = values * np.uint64(0xBF58476D1CE4E5B9)
    values = values ^ (values >> np.uint64(27))
    values = values * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


LEVELS = ((3, b"0/24", 64), (2, b"0.0/16", 48), (1, b"0.0.0/8", 32), (0, b"0.0.0.0/0", 0))
"""Octets kept of an IPv4 address, what follows them, and the IPv6 prefix length, from fine to coarse."""


def networks(names: Text, level: int) -> Text:
    """Addresses, or networks of a finer level, as the networks of `LEVELS[level]` that hold them."""
    kept, suffix, prefix = LEVELS[level]
    chars = names.astype(f"S{_WIDE}").view(np.uint8).reshape(len(names), _WIDE).copy()
    six = (chars == ord(":")).any(axis=1)
    dots = np.cumsum(chars[:, :_NARROW] == ord("."), axis=1, dtype=np.int8)
    at = (dots >= kept).argmax(axis=1) + 1 if kept else np.zeros(len(names), np.int64)
    chars[np.arange(_WIDE) >= at[:, None]] = 0
    for index, letter in enumerate(suffix):
        chars[np.arange(len(names)), np.minimum(at + index, _WIDE - 1)] = letter
    folded: Text = chars.view(f"S{_WIDE}").ravel()
    folded[six] = [_network6(name, prefix) for name in names[six].tolist()]
    return folded


def _network6(name: bytes, prefix: int) -> bytes:
    return str(ipaddress.ip_network((name.decode().partition("/")[0], prefix), strict=False)).encode()


def joined(*parts: npt.ArrayLike) -> U64:
    """One hash of several key columns; the order of the columns matters."""
    total: U64 = np.zeros(1, np.uint64)
    for part in parts:
        total = mixed(total * _ODD[1] + np.asarray(part).astype(np.uint64) + _ODD[0])
    return total


def numbers(batch: pa.RecordBatch, name: str) -> I64:
    """An unsigned integer or time column as int64; null is 0."""
    values: I64 = plain(batch.column(name)).astype(np.int64)
    return values


def given(batch: pa.RecordBatch, name: str) -> npt.NDArray[np.bool_]:
    """Where a column is not null."""
    valid: npt.NDArray[np.bool_] = batch.column(name).is_valid().to_numpy(zero_copy_only=False)
    return valid


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """How each column of a table is combined when rows of one key meet."""

    keys: tuple[str, ...]  # equal in all rows of a key (the hash column is `key`)
    sums: tuple[str, ...] = ()
    lows: tuple[str, ...] = ()
    highs: tuple[str, ...] = ()


Table = dict[str, Column]


def grouped(table: Mapping[str, Column], shape: Shape) -> Table:
    """One row for each value of `key`, ordered by it."""
    order = np.argsort(table["key"], kind="stable")
    keys = table["key"][order]
    if not len(keys):
        return dict(table)
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    result: Table = {"key": keys[starts]}
    for name in shape.keys:
        result[name] = table[name][order[starts]]
    for names, combine in ((shape.sums, np.add), (shape.lows, np.minimum), (shape.highs, np.maximum)):
        for name in names:
            result[name] = combine.reduceat(table[name][order], starts)
    return result


def stacked(tables: list[Table]) -> Table:
    """Tables with the same columns below each other."""
    if len(tables) == 1:
        return tables[0]
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def taken(table: Mapping[str, Column], rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Table:
    """Some rows of a table."""
    return {name: column[rows] for name, column in table.items()}
