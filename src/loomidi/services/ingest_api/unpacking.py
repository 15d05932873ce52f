"""How large the batches of an Arrow IPC stream are once unpacked, told before they are unpacked.

Called by `metering`. In: messages of a stream that a stranger wrote. Out: octets. Arrow believes the length that each
packed buffer says of itself and allocates it, so a body of a kilobyte could ask for a terabyte; this reads those
lengths first. Knows just enough of flatbuffers: Message.header -> RecordBatch.buffers, .compression (format 1.0).
"""

import struct
from typing import Any

_HEADER, _BUFFERS, _COMPRESSION = 2, 2, 3  # numbers of fields in Message and in RecordBatch
_MOST_BUFFERS = 4096  # flows have some 300


def unpacked_octets(message: Any) -> int:
    """Of a record batch's message. Raises ValueError for one that is not well-formed."""
    metadata, body = memoryview(message.metadata), memoryview(message.body) if message.body is not None else b""
    try:
        table = _field(metadata, _at(metadata, 0), _HEADER)
        batch = 0 if table is None else _at(metadata, table)
        found = _field(metadata, batch, _BUFFERS) if batch else None
        if found is None:
            return 0
        packed = _field(metadata, batch, _COMPRESSION) is not None
        start = _at(metadata, found)
        (count,) = struct.unpack_from("<I", metadata, start)
        if count > _MOST_BUFFERS:
            raise ValueError("more buffers than any batch of flows has")
        spans = struct.iter_unpack("<qq", metadata[start + 4 : start + 4 + 16 * count])
        return sum(_size(body, offset, length, packed) for offset, length in spans)
    except (struct.error, IndexError) as error:
        raise ValueError("its metadata is damaged") from error


def _size(body: Any, offset: int, length: int, packed: bool) -> int:
    if offset < 0 or length < 0 or offset + length > len(body):
        raise ValueError("a buffer lies outside the body")
    if not packed or length == 0:
        return length
    (told,) = struct.unpack_from("<q", body, offset)
    return length if told == -1 else abs(told)


def _at(data: Any, where: int) -> int:
    """Where the offset at that place leads."""
    (offset,) = struct.unpack_from("<I", data, where)
    return where + int(offset)


def _field(data: Any, table: int, number: int) -> int | None:
    """Place of a table's field; None when it is left out."""
    (back,) = struct.unpack_from("<i", data, table)
    vtable = table - back
    (size,) = struct.unpack_from("<H", data, vtable)
    if 4 + 2 * number + 2 > size:
        return None
    (offset,) = struct.unpack_from("<H", data, vtable + 4 + 2 * number)
    return table + offset if offset else None
