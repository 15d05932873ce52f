"""Ethernet frames of a capture file with their times, for detectors that look at frames: pcap and pcapng, either order.

Called by `replaying`. Frames of other link types are left out, and so is what follows a block that is not whole.
"""

import gzip
import struct
from collections.abc import Iterator
from pathlib import Path

ETHERNET = 1
_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_UNITS = {0xA1B2C3D4: 1_000, 0xA1B23C4D: 1}  # magic -> ns of the smaller part of a time


def frames(path: Path) -> Iterator[tuple[int, bytes]]:
    """(ns since the epoch, frame)."""
    data = path.read_bytes()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    if len(data) < 24:
        return
    if data[:4] == b"\x0a\x0d\x0d\x0a":
        yield from _pcapng(data)
        return
    order = "<" if struct.unpack_from("<I", data)[0] in _UNITS else ">"
    unit = _UNITS.get(struct.unpack_from(f"{order}I", data)[0])
    at = 24
    while unit and struct.unpack_from(f"{order}I", data, 20)[0] == ETHERNET and at + 16 <= len(data):
        seconds, part, kept, _ = struct.unpack_from(f"{order}IIII", data, at)
        yield seconds * 1_000_000_000 + part * unit, data[at + 16 : at + 16 + kept]
        at += 16 + kept


def _pcapng(data: bytes) -> Iterator[tuple[int, bytes]]:
    at, order = 0, "<"
    links: list[tuple[int, int]] = []  # of each interface: link type, parts of a second
    while at + 12 <= len(data):
        if data[at : at + 4] == b"\x0a\x0d\x0d\x0a":
            order, links = "<" if data[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">", []
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if size < 12 or at + size > len(data):
            return
        body = data[at + 8 : at + size - 4]
        if kind == _INTERFACE:
            links.append((struct.unpack_from(f"{order}H", body)[0], _parts(body[8:], order)))
        elif kind == _PACKET:
            which, high, low, kept = struct.unpack_from(f"{order}IIII", body)
            link, parts = links[which]
            if link == ETHERNET:
                yield ((high << 32) | low) * 1_000_000_000 // parts, body[20 : 20 + kept]
        at += size


def _parts(options: bytes, order: str) -> int:
    """How many parts a second has: option `if_tsresol`, else microseconds."""
    while len(options) >= 4:
        code, size = struct.unpack_from(f"{order}HH", options)
        if code == 9 and size:
            return int(2 ** (options[4] & 0x7F) if options[4] & 0x80 else 10 ** options[4])
        options = options[4 + (size + 3) // 4 * 4 :]
    return 1_000_000
