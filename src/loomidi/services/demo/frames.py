"""Frames, octet for octet: what the demo's generators send and what the twin is fed.

Called by `traffic` and `replay`. In: addresses as text, ports, flags. Out: Ethernet frames with valid checksums, so
that the attacked service really has to deal with what gets through. Pure; leaves sending and pacing to others.
"""

import ipaddress
import struct
from collections.abc import Iterator

from loomidi.services.demo.testbed import ATTACKER_MAC, SHIELD_MAC

TCP, UDP = 6, 17
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
_ETHERNET = bytes.fromhex(SHIELD_MAC.replace(":", "")) + bytes.fromhex(ATTACKER_MAC.replace(":", ""))


def tcp(source: str, destination: str, ports: tuple[int, int], flags: int = SYN, payload: bytes = b"") -> bytes:
    """One TCP segment; `ports` are (source, destination)."""
    sequence = (ports[0] * 2654435761) & 0xFFFFFFFF
    body = struct.pack("!HHIIBBHHH", *ports, sequence, 1 if flags & ACK else 0, 5 << 4, flags, 64240, 0, 0) + payload
    return _wrapped(source, destination, TCP, body, checksum_at=16)


def udp(source: str, destination: str, ports: tuple[int, int], payload: bytes = b"") -> bytes:
    """One UDP datagram; `ports` are (source, destination)."""
    body = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    return _wrapped(source, destination, UDP, body, checksum_at=6)


def _wrapped(source: str, destination: str, protocol: int, body: bytes, checksum_at: int) -> bytes:
    """Ethernet and IP around a transport segment whose checksum is put in place."""
    here, there = ipaddress.ip_address(source).packed, ipaddress.ip_address(destination).packed
    pseudo = here + there + struct.pack("!II", len(body), protocol)
    check = struct.pack("!H", _checksum(pseudo + body) or 0xFFFF)
    body = body[:checksum_at] + check + body[checksum_at + 2 :]
    if len(here) == 16:
        header = struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + here + there
        return _ETHERNET + b"\x86\xdd" + header + body
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, 64, protocol, 0) + here + there
    header = header[:10] + struct.pack("!H", _checksum(header)) + header[12:]
    return _ETHERNET + b"\x08\x00" + header + body


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def syn_flood(source: str, target: str, port: int, count: int = 512) -> list[bytes]:
    """SYNs from one source, its port changing."""
    return [tcp(source, target, (1024 + i * 37 % 60000, port)) for i in range(count)]


def spoofed_syn_flood(sources: Iterator[str], target: str, port: int, count: int = 4096) -> list[bytes]:
    """SYNs that each claim another source."""
    return [tcp(next(sources), target, (1024 + i * 37 % 60000, port)) for i in range(count)]


def udp_flood(source: str, target: str, port: int, count: int = 512) -> list[bytes]:
    """Datagrams of 512 octets from one source to one port."""
    return [udp(source, target, (1024 + i * 37 % 60000, port), b"U" * 512) for i in range(count)]


def amplification(reflectors: list[str], target: str, count: int = 512) -> list[bytes]:
    """Large answers from DNS servers (port 53) to questions that the target never asked."""
    answer = b"\x12\x34\x81\x80" + b"\0\1\0\x10\0\0\0\0" + b"A" * 1300
    return [udp(reflectors[i % len(reflectors)], target, (53, 40000 + i % 64), answer) for i in range(count)]


def vertical_scan(source: str, target: str, ports: range = range(1, 1025)) -> list[bytes]:
    """One SYN to every port of one host."""
    return [tcp(source, target, (54321, port)) for port in ports]


def horizontal_scan(source: str, network: str, port: int = 22) -> list[bytes]:
    """One SYN to the same port of every host of a network."""
    return [tcp(source, str(host), (54322, port)) for host in ipaddress.ip_network(network).hosts()]
