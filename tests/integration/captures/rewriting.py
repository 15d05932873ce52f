"""A small, independent reader and writer of captures, for tests only.

Written apart from bpf/capture.c, so that each checks the other. In: bytes of pcap or pcapng files. Out: packets, or
files changed on purpose.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

_LITTLE = {b"\xd4\xc3\xb2\xa1": 1000, b"\x4d\x3c\xb2\xa1": 1}
_BIG = {b"\xa1\xb2\xc3\xd4": 1000, b"\xa1\xb2\x3c\x4d": 1}


def records(octets: bytes) -> Iterator[tuple[int, int, str]]:
    """Offset of the captured length field, offset of the frame, byte order; for pcap and pcapng alike."""
    if octets[:4] == b"\n\r\r\n":
        yield from _blocks(octets)
        return
    order = "<" if octets[:4] in _LITTLE else ">"
    at = 24
    while at + 16 <= len(octets):
        yield at + 8, at + 16, order
        at += 16 + struct.unpack_from(order + "I", octets, at + 8)[0]


def _blocks(octets: bytes) -> Iterator[tuple[int, int, str]]:
    at, order = 0, "<"
    while at + 12 <= len(octets):
        if octets[at : at + 4] == b"\n\r\r\n":
            order = "<" if octets[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
        kind, total = struct.unpack_from(order + "II", octets, at)
        if kind in (2, 6):
            yield at + 20, at + 28, order
        at += total


def with_captured_lengths(capture: Path, folder: Path) -> Path:
    """A copy in which every packet's wire length is its captured length."""
    octets = bytearray(capture.read_bytes())
    for at, _, order in records(bytes(octets)):
        octets[at + 4 : at + 8] = octets[at : at + 4]
        if order not in "<>":
            raise AssertionError(order)
    copy = folder / capture.name
    copy.write_bytes(octets)
    return copy


def pcap(
    packets: Sequence[tuple[int, bytes]],
    *,
    link: int = 1,
    order: str = "<",
    nanoseconds: bool = False,
    snap: int = 262144,
    wire: Sequence[int] | None = None,
) -> bytes:
    """A pcap of (ns since the epoch, frame) pairs."""
    unit = 1 if nanoseconds else 1000
    out = [struct.pack(order + "IHHiIII", 0xA1B23C4D if nanoseconds else 0xA1B2C3D4, 2, 4, 0, 0, snap, link)]
    for number, (at_ns, frame) in enumerate(packets):
        seconds, rest = divmod(at_ns, 10**9)
        full = wire[number] if wire else len(frame)
        out.append(struct.pack(order + "IIII", seconds, rest // unit, len(frame), full) + frame)
    return b"".join(out)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A pcapng block, padded."""
    body += b"\0" * (-len(body) % 4)
    total = len(body) + 12
    return struct.pack(order + "II", kind, total) + body + struct.pack(order + "I", total)


def section(order: str = "<") -> bytes:
    """A section header block."""
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link: int = 1, snap: int = 0, options: Sequence[tuple[int, bytes]] = (), order: str = "<") -> bytes:
    """An interface description block."""
    body = struct.pack(order + "HHI", link, 0, snap)
    for code, value in options:
        body += struct.pack(order + "HH", code, len(value)) + value + b"\0" * (-len(value) % 4)
    return block(1, body + (struct.pack(order + "HH", 0, 0) if options else b""), order)


def enhanced(frame: bytes, ticks: int, on: int = 0, order: str = "<") -> bytes:
    """An enhanced packet block."""
    head = struct.pack(order + "IIIII", on, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    return block(6, head + frame, order)
