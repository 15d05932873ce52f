"""Small captures of every form and link type: what the fuzzer starts from and the readers are tested with.

Called by tests, and by hand to fill a folder (`python -m tests.integration.captures.seeds FOLDER`).
"""

import gzip
import struct
import sys
from pathlib import Path

from tests.integration.captures.rewriting import block, enhanced, interface, pcap, section
from tests.unit.loom.flows import frames as f

START = 1_700_000_000_000_000_000
FRAMES = [f.segment(f.SYN), f.segment(f.SYN | f.ACK, back=True), f.segment(f.ACK), f.segment(f.PSH | f.ACK, b"hello")]
PACKETS = [(START + 1_000_000 * number, frame) for number, frame in enumerate(FRAMES)]
IP = [frame[14:] for frame in FRAMES]

LINKS: dict[str, tuple[int, bytes]] = {
    "null": (0, b"\x02\0\0\0"),
    "null-big": (0, b"\0\0\0\x02"),
    "loop": (108, b"\0\0\0\x02"),
    "raw": (101, b""),
    "raw-bsd": (12, b""),
    "raw-openbsd": (14, b""),
    "ipv4": (228, b""),
    "ppp": (9, b"\x00\x21"),
    "ppp-framed": (9, b"\xff\x03\x00\x21"),
    "ppp-short": (9, b"\x21"),
    "ppp-hdlc": (50, b"\xff\x03\x00\x21"),
    "pppoe": (51, b"\x11\0\0\x01\0\x40\x00\x21"),
    "c-hdlc": (104, b"\x0f\0\x08\0"),
    "sll": (113, b"\0\0\0\x01\0\x06\x02\0\0\0\0\x01\0\0\x08\0"),
    "sll2": (276, b"\x08\0\0\0\0\0\0\x01\0\x01\0\x06\x02\0\0\0\0\x01\0\0"),
    "wifi": (105, b"\x08\x01" + b"\0" * 22 + b"\xaa\xaa\x03\0\0\0\x08\0"),
    "wifi-qos": (105, b"\x88\x01" + b"\0" * 24 + b"\xaa\xaa\x03\0\0\0\x08\0"),
    "radiotap": (127, b"\0\0\x08\0\0\0\0\0" + b"\x08\x01" + b"\0" * 22 + b"\xaa\xaa\x03\0\0\0\x08\0"),
}
"""Name -> link type and what stands before the IP packet."""


def linked(name: str) -> bytes:
    """A pcap of the four packets behind another link header."""
    link, head = LINKS[name]
    return pcap([(at, head + packet) for (at, _), packet in zip(PACKETS, IP, strict=True)], link=link)


def modified() -> bytes:
    """Kuznetsov's variant: eight more octets in each record header."""
    out = struct.pack("<IHHiIII", 0xA1B2CD34, 2, 4, 0, 0, 65535, 1)
    for at, frame in PACKETS:
        out += struct.pack("<IIIIIHBB", at // 10**9, at % 10**9 // 1000, len(frame), len(frame), 1, 8, 0, 0) + frame
    return out


def pcapng(order: str = "<") -> bytes:
    """Two interfaces of different link type and clock, one packet each; then two more in a second section."""
    ticks = START // 1000
    first = section(order) + interface(order=order) + interface(101, options=[(9, b"\x09")], order=order)
    first += enhanced(FRAMES[0], ticks, order=order) + enhanced(IP[1], START + 1_000_000, 1, order)
    other = section(order) + block(5, b"\0" * 12, order)  # statistics of an interface: stepped over
    other += interface(options=[(9, b"\x94"), (14, struct.pack(order + "q", 1_700_000_000))], order=order)
    other += enhanced(FRAMES[2], 2 * 2**20 // 1000, order=order)
    simple = block(3, struct.pack(order + "I", len(FRAMES[3])) + FRAMES[3], order)
    return first + other + simple


def tunnels() -> bytes:
    """VXLAN and Geneve around the same conversation."""
    out = [f.ethernet(f.ip("192.0.2.1", "192.0.2.2", 17, f.vxlan(frame, 42))) for frame in FRAMES]
    out += [f.ethernet(f.ip("192.0.2.1", "192.0.2.2", 17, f.geneve(frame, 43, b"\0" * 8))) for frame in FRAMES]
    return pcap([(START + number, frame) for number, frame in enumerate(out)])


def odd() -> bytes:
    """Tags, MPLS, fragments, extension headers, ICMP, padding, ARP, cut packets."""
    inner = f.ip(f.CLIENT, f.SERVER, 17, f.udp(1, 2, b"x" * 30))
    six = f.ip(f.CLIENT6, f.SERVER6, 0, b"\x3c\0" + b"\0" * 6 + b"\x11\0" + b"\0" * 6 + f.udp(1, 2, b"y"))
    out = [
        f.ethernet(inner, tags=(5,)),
        f.ethernet(inner, tags=(5, 6)),
        f.ethernet(inner, tags=(5, 6, 7)),
        f.ethernet(b"\0\x01\x01\x40" + inner, kind=0x8847),
        f.ethernet(f.ip(f.CLIENT, f.SERVER, 17, f.udp(1, 2, b"z" * 8), fragment=0x2000)),
        f.ethernet(f.ip(f.CLIENT, f.SERVER, 17, b"z" * 24, fragment=3)),
        f.ethernet(six),
        f.ethernet(f.ip(f.CLIENT6, f.SERVER6, 44, b"\x11\0\0\x01\0\0\0\x07" + f.udp(1, 2))),
        f.ethernet(f.ip(f.CLIENT, f.SERVER, 1, f.icmp(8))),
        f.ethernet(f.ip(f.CLIENT6, f.SERVER6, 58, f.icmp(128))),
        f.ethernet(b"\0\x01\x08\0\x06\x04\0\x01" + b"\0" * 20, kind=0x0806),
        f.segment(f.SYN)[:30],
        f.segment(f.SYN)[:38],
        b"",
    ]
    return pcap([(START + number * 10**9, frame) for number, frame in enumerate(out)])


def all_of_them() -> dict[str, bytes]:
    """Name -> octets."""
    seeds = {f"link-{name}": linked(name) for name in LINKS}
    seeds |= {
        "us": pcap(PACKETS),
        "ns": pcap(PACKETS, nanoseconds=True),
        "big": pcap(PACKETS, order=">"),
        "big-ns": pcap(PACKETS, order=">", nanoseconds=True),
        "modified": modified(),
        "ng": pcapng(),
        "ng-big": pcapng(">"),
        "tunnels": tunnels(),
        "odd": odd(),
    }
    return seeds | {"gz": gzip.compress(seeds["us"]), "gz-ng": gzip.compress(seeds["ng"])}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, octets in all_of_them().items():
        (folder / name).write_bytes(octets)
