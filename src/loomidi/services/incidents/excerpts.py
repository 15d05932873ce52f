"""Excerpts of captures: the packets of a few addresses, headers only, bounded, as pcapng.

Called by `keeping`. In: captures, whose packets, from when to when. Out: frames cut behind their last header, so that
nothing that anybody said is kept; how many were left out, by reason. Addresses are kept: a detector judges by them.
"""

import dataclasses
import ipaddress
import struct
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from loomidi.loom.capture.frames import Frame
from loomidi.loom.capture.twin import ETHERNET, frames

_VLAN, _IPV4, _IPV6 = (0x8100, 0x88A8), 0x0800, 0x86DD
_TCP, _LEAST = 6, 8  # of UDP, ICMP and whatever else is behind IP: the first 8 octets
_NANOSECONDS = 9  # if_tsresol: 10^-9 s


@dataclasses.dataclass(frozen=True, slots=True)
class ExcerptSettings:
    """How much of a capture is kept."""

    most_packets: int = 20_000
    # Of each excerpt; a flood shows itself in far fewer. The first ones are kept.
    before_s: float = 5.0
    # What came before an attack belongs to it: a detector meets both in one window.
    after_s: float = 1.0
    snaplen: int = 128
    # Octets of a frame at most, headers included: those of a frame in two VLANs with all options fit.


@dataclasses.dataclass(slots=True)
class Excerpt:
    """The packets of some addresses in a span of time."""

    among: Collection[bytes]  # packed addresses; one of both ends is among them
    without: Collection[bytes]  # and neither is among these
    from_ns: int
    until_ns: int
    gap: tuple[int, int] = (0, 0)  # a span that is left out, ns
    kept: list[Frame] = dataclasses.field(default_factory=list)
    left_out: int = 0  # beyond the settings' `most_packets`

    def offer(self, frame: Frame, ends: tuple[bytes, bytes], settings: ExcerptSettings) -> None:
        """Keep the frame's headers if it belongs here."""
        out = self.gap[0] <= frame.at_ns <= self.gap[1] or not self.from_ns <= frame.at_ns <= self.until_ns
        if out or not any(end in self.among for end in ends) or any(end in self.without for end in ends):
            return
        if len(self.kept) >= settings.most_packets:
            self.left_out += 1
            return
        self.kept.append(dataclasses.replace(frame, octets=headers_of(frame.octets, settings.snaplen)))


def cut(captures: Sequence[str], excerpts: Sequence[Excerpt], settings: ExcerptSettings) -> int:
    """Fill all excerpts in one reading of the captures. Returns the frames that are not Ethernet or not IP."""
    beside = 0
    for frame in (each for capture in captures for each in frames(capture)):
        ends = addresses_of(frame.octets) if frame.link == ETHERNET else None
        if ends is None:
            beside += 1
            continue
        for excerpt in excerpts:
            excerpt.offer(frame, ends, settings)
    return beside


def packed(address: str) -> bytes:
    """The octets of an address as a packet has them."""
    return ipaddress.ip_address(address).packed


def addresses_of(octets: bytes) -> tuple[bytes, bytes] | None:
    """Source and destination, packed; None when there is no whole IP header."""
    at, kind = _network(octets)
    if kind == _IPV4 and len(octets) >= at + 20:
        return octets[at + 12 : at + 16], octets[at + 16 : at + 20]
    if kind == _IPV6 and len(octets) >= at + 40:
        return octets[at + 8 : at + 24], octets[at + 24 : at + 40]
    return None


def headers_of(octets: bytes, snaplen: int = 128) -> bytes:
    """The frame up to the end of its transport header; what is said in it is cut off."""
    at, kind = _network(octets)
    if kind == _IPV4 and len(octets) > at + 9:
        protocol, body = octets[at + 9], at + 4 * (octets[at] & 15)
    elif kind == _IPV6 and len(octets) > at + 6:
        protocol, body = octets[at + 6], at + 40
    else:
        return octets[: min(at, snaplen)]
    length = _LEAST
    if protocol == _TCP and len(octets) > body + 12:
        length = max(20, 4 * (octets[body + 12] >> 4))
    return octets[: min(body + length, snaplen)]


def _network(octets: bytes) -> tuple[int, int]:
    """Where the network header begins, and its EtherType; 0 for a frame that is too short."""
    at = 12
    while len(octets) >= at + 2:
        kind = int.from_bytes(octets[at : at + 2], "big")
        if kind not in _VLAN:
            return at + 2, kind
        at += 4
    return len(octets), 0


def write_pcapng(path: Path, kept: Iterable[Frame], snaplen: int) -> None:
    """Frames with their times and their lengths on the wire (pcapng, draft-ietf-opsawg-pcapng, one section)."""
    resolution = struct.pack("<HHB3xHH", 9, 1, _NANOSECONDS, 0, 0)  # option if_tsresol, then the end of options
    with path.open("wb") as file:
        file.write(_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
        file.write(_block(1, struct.pack("<HHI", ETHERNET, 0, snaplen) + resolution))
        for frame in kept:
            head = struct.pack(
                "<IIIII", 0, frame.at_ns >> 32, frame.at_ns & 0xFFFFFFFF, len(frame.octets), frame.wire_octets
            )
            file.write(_block(6, head + frame.octets + bytes(-len(frame.octets) % 4)))


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)
