"""ARP and IPv6 neighbour discovery of one link, as they come in and go out: a packet socket beside XDP and tc.

Called by `services.fast.neighbouring`; for frames of captures, `word_of` by the tests of the detections. In: the name
of a link. Out: `NeighbourWord`s since the last time, at most so many. A packet socket meets what XDP lets pass and what
this host sends. A filter in the kernel keeps the few frames that are wanted; what found the buffer full is counted as
lost, what cannot be read as odd. For one thread.

What a host would not take for neighbour discovery is none here either: a hop limit below 255 has come by a router
(RFC 4861, 6.1 and 7.1), fragments are refused (RFC 6980). It is looked for behind one header of options as well.
"""

import contextlib
import socket
import struct
import sys
import time
from pathlib import Path
from typing import NamedTuple

from loomidi.contracts.neighbours import ANNOUNCE, ANSWER, ASK, ROUTER, NeighbourWord
from loomidi.loom.capture import packet_sockets
from loomidi.loom.capture.packet_sockets import Instruction

_SNAP, _ROOM = 256, 1 << 20  # octets kept of a frame, and that wait in the kernel
_ARP, _IPV6, _VLANS = 0x0806, 0x86DD, (0x8100, 0x88A8)
_SOL_PACKET, _AUXDATA, _STAMPS = 263, 8, 35
_ABOUT = socket.CMSG_SPACE(20) + socket.CMSG_SPACE(16)  # tpacket_auxdata, timespec
_VLAN_VALID = 0x10  # tpacket_auxdata.tp_status
_OTHER_HOST, _OUTGOING = 3, 4
_ETHERNET_IPV4 = bytes.fromhex("000108000604")  # how an ARP frame of these two begins
_OPTIONS, _ICMPV6 = (0, 60), 58  # hop by hop, destination
_RS, _RA, _NS, _NA = 133, 134, 135, 136
_FIRST_OPTION = {_RS: 8, _RA: 16, _NS: 24, _NA: 24}
_SOURCE_LINK, _TARGET_LINK = 1, 2  # options of neighbour discovery
_OVERRIDE = 0x20  # flag of a neighbour advertisement
_NONE4, _NONE6 = bytes(4), bytes(16)
_PROC = Path("/proc/thread-self/net")
_ORDER = -1 if sys.byteorder == "little" else 1  # in which a route's addresses are written


class NeighbourEar:
    """On one link."""

    def __init__(self, link: str) -> None:
        """Raises EnvironmentLacks without the right, Refused for a link that is not there."""
        self.link = link
        self.lost = self.odd = 0  # frames that found the buffer full; that are no whole ones
        self._said: list[NeighbourWord] = []
        marks = ((_SOL_PACKET, _AUXDATA), (socket.SOL_SOCKET, _STAMPS))
        self._socket = packet_sockets.opened(link, assembled(), kind=socket.SOCK_RAW, room=_ROOM, options=marks)

    def heard(self, most: int) -> list[NeighbourWord]:
        """At most so many of what has come since the last time; the others wait. Empty when the link has gone."""
        words, self._said = self._said, []
        for _ in range(most):
            try:
                frame, about, _, address = self._socket.recvmsg(_SNAP, _ABOUT)
            except OSError:  # nothing is left, or the link has gone
                break
            at_ns, vlan = _stamped(about)
            own, aside = address[2] == _OUTGOING, address[2] == _OTHER_HOST
            word = word_of(frame, at_ns, vlan=vlan, own=own, aside=aside)
            self.odd += word is None
            if word is not None:
                words.append(word)
        self.lost += packet_sockets.lost(self._socket)
        return words

    def ask(self, address: str, link: str) -> bool:
        """Ask the holder of a link address, and nobody else, whether it has this address; False where that fails.

        A probe names no sender (RFC 5227, 2.1.1) and a solicitation a link-local one: neither changes what is known.
        """
        own = bytes(self._socket.getsockname()[4])
        frame = (
            _solicitation(address, link, own, _link_local(self.link)) if ":" in address else _probe(address, link, own)
        )
        word = word_of(frame, time.time_ns(), own=True)
        try:
            if word is None or self._socket.send(frame) != len(frame):
                return False
        except OSError:  # the link is down, or has gone
            return False
        self._said.append(word)  # the kernel gives a socket nothing back of what it sent itself
        return True

    def close(self) -> None:
        """End."""
        self._socket.close()


class _Met(NamedTuple):
    """What is known of a frame beside its content."""

    at_ns: int
    sender: str
    vlan: int
    own: bool
    aside: bool
    to_all: bool  # its Ethernet destination is everybody, or a group

    def word(
        self, kind: str, address: bytes, link: bytes, about: bytes = b"", *, overrides: bool = True
    ) -> NeighbourWord:
        claimed = _text(address)
        held = (link.hex(":") or self.sender) if claimed else ""
        told = _text(about if about.strip(b"\0") else b"")
        return NeighbourWord(
            self.at_ns, kind, claimed, held, told, self.sender, self.vlan, self.own, self.aside, overrides
        )


def word_of(frame: bytes, at_ns: int, *, vlan: int = 0, own: bool = False, aside: bool = False) -> NeighbourWord | None:
    """What an Ethernet frame says of a neighbour; None where it says nothing or is not whole. Time in ns (epoch)."""
    if len(frame) < 14:
        return None
    at, ethertype = 14, int.from_bytes(frame[12:14], "big")
    if ethertype in _VLANS:
        at, vlan, ethertype = 18, int.from_bytes(frame[14:16], "big") & 0xFFF, int.from_bytes(frame[16:18], "big")
    met = _Met(at_ns, frame[6:12].hex(":"), vlan, own, aside, bool(frame[0] & 1))
    if ethertype == _ARP:
        return _arp(frame[at:], met)
    return _discovery(frame[at:], met) if ethertype == _IPV6 else None


def gateways(link: str) -> frozenset[str]:
    """The gateways of this thread's routes over a link."""
    with _PROC.joinpath("route").open(encoding="ascii") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    found = {_text(bytes.fromhex(row[2])[::_ORDER]) for row in rows if row[0] == link and int(row[2], 16)}
    with contextlib.suppress(FileNotFoundError), _PROC.joinpath("ipv6_route").open(encoding="ascii") as file:
        rows = [line.split() for line in file]
        found |= {_text(bytes.fromhex(row[4])) for row in rows if row[9] == link and int(row[4], 16)}
    return frozenset(found)


def assembled() -> list[Instruction]:
    """The filter as classic BPF: ARP of IPv4 over Ethernet; neighbour discovery, also behind one header of options."""
    half, octet, word = 0x28, 0x30, 0x20
    equal, least, more = 0x15, 0x35, 0x25
    kind = [("kind", least, _RS, "most", "drop"), ("most", more, _NA, "drop", "keep")]
    lines: list[tuple[str, int, int, str, str]] = [
        ("", half, 12, "", ""),
        ("", equal, _ARP, "arp", ""),
        ("", equal, _IPV6, "ip", "drop"),
        ("arp", word, 14, "", ""),
        ("", equal, 0x00010800, "", "drop"),
        ("", half, 18, "", ""),
        ("", equal, 0x0604, "keep", "drop"),
        ("ip", octet, 21, "", ""),
        ("", equal, 255, "", "drop"),
        ("", octet, 20, "", ""),
        ("", equal, _ICMPV6, "plain", ""),
        ("", equal, _OPTIONS[0], "behind", ""),
        ("", equal, _OPTIONS[1], "behind", "drop"),
        ("behind", octet, 54, "", ""),
        ("", equal, _ICMPV6, "", "drop"),
        ("", octet, 55, "", ""),
        ("", 0x64, 3, "", ""),  # times eight
        ("", 0x04, 62, "", ""),
        ("", 0x07, 0, "", ""),  # to X
        ("", 0x50, 0, "", ""),  # the octet at X
        ("", 0x05, 1, "", ""),  # over the next
        ("plain", octet, 54, "", ""),
        *kind,
        ("keep", 0x06, _SNAP, "", ""),
        ("drop", 0x06, 0, "", ""),
    ]
    places = {name: index for index, (name, *_) in enumerate(lines) if name}

    def over(index: int, label: str) -> int:
        return places[label] - index - 1 if label else 0

    return [(code, over(i, yes), over(i, no), value) for i, (_, code, value, yes, no) in enumerate(lines)]


def _probe(address: str, link: str, own: bytes) -> bytes:
    """ARP from nobody to one holder: who has this address?"""
    question = b"\x00\x01" + own + _NONE4 + bytes(6) + socket.inet_pton(socket.AF_INET, address)
    return _octets(link) + own + _ARP.to_bytes(2, "big") + _ETHERNET_IPV4 + question


def _solicitation(address: str, link: str, own: bytes, sender: bytes) -> bytes:
    """A neighbour solicitation to one holder, as an unreachability probe (RFC 4861, 7.3.3); empty without a sender."""
    if not sender:
        return b""
    target = socket.inet_pton(socket.AF_INET6, address)
    body = bytes([_NS, 0, 0, 0, 0, 0, 0, 0]) + target + bytes([_SOURCE_LINK, 1]) + own
    total: int = sum(
        struct.unpack(f">{20 + len(body) // 2}H", sender + target + struct.pack(">II", len(body), _ICMPV6) + body)
    )
    total = (total & 0xFFFF) + (total >> 16)
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    head = struct.pack(">IHBB", 0x60000000, len(body), _ICMPV6, 255) + sender + target
    body = body[:2] + total.to_bytes(2, "big") + body[4:]
    return _octets(link) + own + _IPV6.to_bytes(2, "big") + head + body


def _link_local(link: str) -> bytes:
    """This host's own address there for talk between neighbours; empty when it has none."""
    with contextlib.suppress(FileNotFoundError), _PROC.joinpath("if_inet6").open(encoding="ascii") as file:
        for address, _, _, _, _, name in map(str.split, file):
            if name == link and address.startswith("fe80"):
                return bytes.fromhex(address)
    return b""


def _octets(link: str) -> bytes:
    return bytes.fromhex(link.replace(":", ""))


def _stamped(about: list[tuple[int, int, bytes]]) -> tuple[int, int]:
    """When the kernel met a frame (ns, epoch), and the tag that it took off; 0: none."""
    at_ns, vlan = time.time_ns(), 0
    for level, kind, data in about:
        if (level, kind) == (socket.SOL_SOCKET, _STAMPS):
            seconds, nanoseconds = struct.unpack("qq", data)
            at_ns = seconds * 1_000_000_000 + nanoseconds
        elif (level, kind) == (_SOL_PACKET, _AUXDATA):
            status, _, _, _, _, tag, _ = struct.unpack("IIIHHHH", data)
            vlan = tag & 0xFFF if status & _VLAN_VALID else 0
    return at_ns, vlan


def _arp(data: bytes, met: _Met) -> NeighbourWord | None:
    if len(data) < 28 or data[:6] != _ETHERNET_IPV4:
        return None
    operation, link, address, target = data[7], data[8:14], data[14:18], data[24:28]
    if data[6] or operation not in (1, 2):
        return None
    if operation == 1 and address == _NONE4:
        return met.word(ASK, b"", b"", target)  # a probe: nobody is claimed
    if address == target or (operation == 2 and target == _NONE4 and met.to_all):
        return met.word(ANNOUNCE, address, link)
    return met.word(ASK if operation == 1 else ANSWER, address, link, target)


def _discovery(data: bytes, met: _Met) -> NeighbourWord | None:
    if len(data) < 48 or data[7] != 255:
        return None
    following, source, destination, body = data[6], data[8:24], data[24:40], data[40:]
    if following in _OPTIONS:
        following, body = body[0], body[8 + 8 * body[1] :]
    first = _FIRST_OPTION.get(body[0]) if body else None
    if following != _ICMPV6 or first is None or len(body) < first or body[1]:
        return None
    kind, target = body[0], body[8:24]
    link = _option(body[first:], _TARGET_LINK if kind == _NA else _SOURCE_LINK)
    if kind == _NA:
        everybody, overrides = destination[0] == 0xFF, bool(body[4] & _OVERRIDE)
        if everybody:
            return met.word(ANNOUNCE, target, link, overrides=overrides)
        return met.word(ANSWER, target, link, destination, overrides=overrides)
    if kind == _RA:
        return met.word(ROUTER, source, link)
    source = b"" if source == _NONE6 else source
    return met.word(ASK, source, link, target if kind == _NS else b"") if kind == _NS or source else None


def _option(data: bytes, wanted: int) -> bytes:
    """The link address of an option; empty where there is none, or no further."""
    while len(data) >= 8 and data[1]:
        if data[0] == wanted:
            return data[2:8] if data[1] == 1 else b""
        data = data[8 * data[1] :]
    return b""


def _text(address: bytes) -> str:
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, address) if address else ""
