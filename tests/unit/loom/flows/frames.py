"""Frames made by hand, for tests: Ethernet, IPv4, IPv6, TCP, UDP, ICMP, tags, tunnels.

In: the few fields a test is about. Out: bytes. Checksums are 0: a meter must not care.
"""

import ipaddress
import struct

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 1, 2, 4, 8, 16, 32, 64, 128

CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
CLIENT6, SERVER6 = "2001:db8::1", "2001:db8::2"


def ethernet(packet: bytes, *, tags: tuple[int, ...] = (), kind: int | None = None, padded: bool = False) -> bytes:
    """With VLAN tags, outermost first; `padded` to the 60 octets that Ethernet needs."""
    ether = kind if kind is not None else (0x86DD if packet and packet[0] >> 4 == 6 else 0x0800)
    head = b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01"
    for number, tag in enumerate(tags):
        head += struct.pack("!HH", 0x88A8 if number == 0 and len(tags) > 1 else 0x8100, tag)
    frame = head + struct.pack("!H", ether) + packet
    return frame.ljust(60, b"\0") if padded else frame


def ip(
    source: str, destination: str, protocol: int, payload: bytes, *, fragment: int = 0, total: int | None = None
) -> bytes:
    """IPv4 or IPv6, by the address. `fragment`: the 16 bits of flags and offset of IPv4."""
    one, other = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    if one.version == 6:
        octets = len(payload) if total is None else total
        return struct.pack("!IHBB", 6 << 28, octets, protocol, 64) + one.packed + other.packed + payload
    octets = 20 + len(payload) if total is None else total
    return struct.pack("!BBHHHBBH", 0x45, 0, octets, 7, fragment, 64, protocol, 0) + one.packed + other.packed + payload


def tcp(source_port: int, destination_port: int, flags: int, data: bytes = b"", *, window: int = 1000) -> bytes:
    """A segment without options."""
    return struct.pack("!HHIIBBHHH", source_port, destination_port, 1, 1, 5 << 4, flags, window, 0, 0) + data


def udp(source_port: int, destination_port: int, data: bytes = b"") -> bytes:
    """A datagram."""
    return struct.pack("!HHHH", source_port, destination_port, 8 + len(data), 0) + data


def icmp(kind: int, code: int = 0, data: bytes = b"") -> bytes:
    """ICMP or ICMPv6, by the protocol given to `ip`."""
    return struct.pack("!BBHHH", kind, code, 0, 1, 1) + data


def vxlan(inner: bytes, vni: int) -> bytes:
    """VXLAN in UDP."""
    return udp(55555, 4789, struct.pack("!II", 0x08 << 24, vni << 8) + inner)


def geneve(inner: bytes, vni: int, options: bytes = b"") -> bytes:
    """Geneve in UDP; options in multiples of four octets."""
    return udp(55555, 6081, struct.pack("!BBHI", len(options) // 4, 0, 0x6558, vni << 8) + options + inner)


def segment(flags: int, data: bytes = b"", *, back: bool = False, ports: tuple[int, int] = (40000, 80)) -> bytes:
    """One TCP frame between CLIENT and SERVER; `back`: from the server."""
    client, server = ports
    if back:
        return ethernet(ip(SERVER, CLIENT, 6, tcp(server, client, flags, data, window=2000)))
    return ethernet(ip(CLIENT, SERVER, 6, tcp(client, server, flags, data)))


def datagram(data: bytes = b"", *, back: bool = False, ports: tuple[int, int] = (40000, 53)) -> bytes:
    """One UDP frame between CLIENT and SERVER."""
    client, server = ports
    if back:
        return ethernet(ip(SERVER, CLIENT, 17, udp(server, client, data)))
    return ethernet(ip(CLIENT, SERVER, 17, udp(client, server, data)))
