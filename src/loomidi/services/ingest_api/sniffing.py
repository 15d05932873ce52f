"""What the octets of a body are, by themselves.

Called by `handling`. In: the body of /data/network-flow. Out: its kind, or the problem that says what is taken.
"""

import enum

from loomidi.services.http.problems import Problem

_FRAME_LEAST, _FRAME_MOST = 14, 65_549  # an Ethernet header; the largest IP packet behind it
_PCAP = (b"\xa1\xb2\xc3\xd4", b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x4d\x3c\xb2\xa1")
_PACKED = {
    b"\x1f\x8b\x08": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
}
_CONTINUED = b"\xff\xff\xff\xff"
TAKEN = "a pcap or pcapng capture, an Arrow IPC stream or file of flows, or one raw Ethernet frame"


class Kind(enum.StrEnum):
    """What a body of flows can be."""

    PCAP = "pcap"
    PCAPNG = "pcapng"
    ARROW_STREAM = "arrow-stream"
    ARROW_FILE = "arrow-file"
    FRAME = "frame"


def kind_of(body: bytes) -> Kind:
    """By its first octets; a frame has none of its own, so it is what nothing else is and could be one."""
    if body.startswith(_PCAP):
        return Kind.PCAP
    if body.startswith(b"\x0a\x0d\x0d\x0a"):
        return Kind.PCAPNG
    if body.startswith(b"ARROW1\x00\x00"):
        return Kind.ARROW_FILE
    # A broadcast frame begins with six times 0xff; an Arrow stream's first message is shorter than that would say.
    if body.startswith(_CONTINUED) and 0 < int.from_bytes(body[4:8], "little") <= len(body):
        return Kind.ARROW_STREAM
    for magic, name in _PACKED.items():
        if body.startswith(magic):
            hint = "with Content-Encoding: gzip" if name == "gzip" else "unpacked"
            raise Problem("media-type", f"the body is {name}: send it {hint}")
    if not _FRAME_LEAST <= len(body) <= _FRAME_MOST:
        raise Problem("unusable", f"the body, {len(body):,} octets, is none of what is taken: send {TAKEN}")
    return Kind.FRAME
