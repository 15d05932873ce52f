"""Captures made from nothing: seeded attacks and benign traffic whose truth is known.

Called by the demonstration (where no real network can be built), the benches and the tests. Out: `Scenario`, packets
with their times and what they are, and `write_capture` for a pcap file with nanosecond times. Plain `struct` packing,
no library. IP header checksums are right, transport checksums are 0: nothing here is meant to be sent.
"""

import dataclasses
import ipaddress
import os
import random
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

START_NS = 1_700_000_000_000_000_000  # a Tuesday in November 2023
SECOND = 1_000_000_000
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
ATTACKER, CLIENT, SERVER, OUTSIDE = "198.51.100.66", "10.0.0.20", "10.0.0.80", "203.0.113.9"
_ETHERNET = bytes.fromhex("020000000002020000000001")
Packet = tuple[int, bytes]  # ns since the epoch, Ethernet frame


@dataclasses.dataclass(frozen=True, slots=True)
class Scenario:
    """Packets in order of time, and the truth about them."""

    name: str
    packets: tuple[Packet, ...]
    pattern: str  # of origami.online.PATTERNS; empty: benign
    actors: tuple[str, ...]  # addresses that a finding must name
    first_ns: int
    last_ns: int


def write_capture(path: str | os.PathLike[str], packets: Iterable[Packet], snaplen: int = 65535) -> int:
    """Write a pcap file (nanosecond times, Ethernet), frames cut at `snaplen`. Returns the number of packets."""
    count = 0
    with Path(path).open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, snaplen, 1))
        for at_ns, frame in packets:
            kept = frame[:snaplen]
            file.write(struct.pack("<IIII", at_ns // SECOND, at_ns % SECOND, len(kept), len(frame)) + kept)
            count += 1
    return count


def mixed(*scenarios: Scenario) -> tuple[Packet, ...]:
    """The packets of several scenarios in order of time."""
    return tuple(sorted((packet for scenario in scenarios for packet in scenario.packets), key=lambda p: p[0]))


def ip_packet(source: str, destination: str, protocol: int, body: bytes, fragment: int = 0) -> bytes:
    """An Ethernet frame with IPv4 or IPv6. `fragment`: offset in octets | 1 when more follow (IPv4 only)."""
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    if len(ends) == 32:
        return _ETHERNET + b"\x86\xdd" + struct.pack(">IHBB", 0x60000000, len(body), protocol, 64) + ends + body
    place = (fragment >> 3) | ((fragment & 1) << 13)
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, place, 64, protocol, 0) + ends
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return _ETHERNET + b"\x08\x00" + head[:10] + struct.pack(">H", total) + head[12:] + body


def tcp(source: str, port: int, destination: str, to_port: int, flags: int, *, payload: bytes = b"") -> bytes:
    """A TCP segment without options."""
    head = struct.pack(">HHIIBBHHH", port, to_port, 1, 1 if flags & ACK else 0, 0x50, flags, 64240, 0, 0)
    return ip_packet(source, destination, 6, head + payload)


def udp(source: str, port: int, destination: str, to_port: int, payload: bytes = b"") -> bytes:
    """A UDP datagram."""
    return ip_packet(source, destination, 17, struct.pack(">HHHH", port, to_port, 8 + len(payload), 0) + payload)


def icmp(source: str, destination: str, kind: int, code: int = 0, payload: bytes = b"") -> bytes:
    """An ICMP message."""
    return ip_packet(source, destination, 1, struct.pack(">BBHHH", kind, code, 0, 1, 1) + payload)


def arp(link: int, address: str, to: int = 0, told: str = "", *, asks: bool = False) -> bytes:
    """ARP: `address` is at `link`; told to one link address (0: to all), or said in a question for `told`."""
    own, target = link_address(link), link_address(to) if to else b"\xff" * 6
    addresses = [ipaddress.ip_address(one).packed for one in (address, told or address)]
    body = own + addresses[0] + (bytes(6) if asks else target) + addresses[1]
    return target + own + b"\x08\x06" + struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1 if asks else 2) + body


def advertisement(link: int, address: str, told: str = "ff02::1", to: int = 0, *, flags: int = 0x20) -> bytes:
    """A neighbour advertisement of RFC 4861 that `address` is at `link`, without a checksum.

    `told`: to whom, at link address `to` where that is one host. `flags`: 0x80 R, 0x40 S, 0x20 O.
    """
    own = link_address(link)
    body = struct.pack(">BBHI", 136, 0, 0, flags << 24) + ipaddress.ip_address(address).packed + b"\x02\x01" + own
    frame = bytearray(ip_packet(f"fe80::{link & 0xFFFF:x}", told, 58, body))
    target = ipaddress.ip_address(told)
    frame[:6] = b"\x33\x33" + target.packed[-4:] if target.is_multicast else link_address(to)
    frame[6:12], frame[21] = own, 255
    return bytes(frame)


def link_address(link: int) -> bytes:
    """Six octets; a number below 256 is the last of a locally administered one."""
    return (link if link > 0xFF else 0x02_00_00_00_00_00 | link).to_bytes(6, "big")


def connection(
    at_ns: int,
    client: tuple[str, int],
    server: tuple[str, int],
    sizes: Iterable[tuple[int, int]],
    think_s: float = 0.001,
) -> Iterator[Packet]:
    """A whole TCP connection: handshake, then for each (asked, answered) octets a question and its answer, then FIN."""
    step = 200_000

    def out(flags: int, size: int = 0) -> Packet:
        return at_ns, tcp(*client, *server, flags, payload=bytes(size))

    def back(flags: int, size: int = 0) -> Packet:
        return at_ns, tcp(*server, *client, flags, payload=bytes(size))

    for packet, flags in ((out, SYN), (back, SYN | ACK), (out, ACK)):
        yield packet(flags)
        at_ns += step
    for asked, answered in sizes:
        for side, other, octets in ((out, back, asked), (back, out, answered)):
            for size in [1400] * (octets // 1400) + [octets % 1400] * (octets % 1400 > 0):
                yield side(PSH | ACK, size)
                at_ns += step // 10
            if octets:
                yield other(ACK)
                at_ns += step
        at_ns += int(think_s * SECOND)
    for packet, flags in ((out, FIN | ACK), (back, FIN | ACK), (out, ACK)):
        yield packet(flags)
        at_ns += step


def _public(random_: random.Random) -> str:
    """An address that is neither private nor multicast."""
    return f"{random_.randint(11, 99)}.{random_.randint(0, 255)}.{random_.randint(0, 255)}.{random_.randint(1, 254)}"


def _scenario(name: str, packets: Iterable[Packet], pattern: str = "", actors: tuple[str, ...] = ()) -> Scenario:
    ordered = tuple(sorted(packets, key=lambda packet: packet[0]))
    return Scenario(name, ordered, pattern, actors, ordered[0][0], ordered[-1][0])


def _times(count: int, rate: float, random_: random.Random) -> list[int]:
    """Start times at a mean rate per second, irregular."""
    at, times = float(START_NS), []
    for _ in range(count):
        at += random_.expovariate(rate) * SECOND
        times.append(int(at))
    return times


def syn_flood(packets: int = 4000, sources: int = 3000, rate: float = 2000, seed: int = 1) -> Scenario:
    """SYNs from forged sources (or from one, with `sources=1`) at one port; the server's backlog answers some."""
    random_ = random.Random(seed)
    pool = [ATTACKER] if sources == 1 else [_public(random_) for _ in range(sources)]
    made: list[Packet] = []
    for at in _times(packets, rate, random_):
        source = random_.choice(pool), random_.randint(1024, 65535)
        made.append((at, tcp(*source, SERVER, 443, SYN)))
        if random_.random() < 0.1:
            made.append((at + 80_000, tcp(SERVER, 443, *source, SYN | ACK)))
    return _scenario("syn_flood", made, "syn_flood", (SERVER,) if sources > 1 else (ATTACKER, SERVER))


def udp_flood(packets: int = 20000, sources: int = 1, rate: float = 10000, seed: int = 2) -> Scenario:
    """One-way UDP at random ports."""
    random_ = random.Random(seed)
    pool = [ATTACKER] if sources == 1 else [_public(random_) for _ in range(sources)]
    made = [
        (at, udp(random_.choice(pool), random_.randint(1024, 65535), SERVER, random_.randint(1, 65535), bytes(512)))
        for at in _times(packets, rate, random_)
    ]
    return _scenario("udp_flood", made, "udp_flood", (SERVER,) if sources > 1 else (ATTACKER, SERVER))


def icmp_flood(packets: int = 5000, sources: int = 1, rate: float = 2500, seed: int = 3) -> Scenario:
    """Large echo requests."""
    random_ = random.Random(seed)
    pool = [ATTACKER] if sources == 1 else [_public(random_) for _ in range(sources)]
    made = [(at, icmp(random_.choice(pool), SERVER, 8, 0, bytes(1200))) for at in _times(packets, rate, random_)]
    return _scenario("icmp_flood", made, "icmp_flood", (SERVER,))


def tcp_flag_flood(
    packets: int = 5000, sources: int = 2000, rate: float = 2500, flags: int = 16, seed: int = 4
) -> Scenario:
    """Segments of no connection with the given flags."""
    random_ = random.Random(seed)
    pool = [_public(random_) for _ in range(sources)]
    made = [
        (at, tcp(random_.choice(pool), random_.randint(1024, 65535), SERVER, 80, flags))
        for at in _times(packets, rate, random_)
    ]
    return _scenario("tcp_flag_flood", made, "tcp_flag_flood", (SERVER,))


def ip_flood(
    packets: int = 4000, sources: int = 2000, rate: float = 2000, protocol: int = 47, seed: int = 5
) -> Scenario:
    """Packets of a protocol without ports from forged sources."""
    random_ = random.Random(seed)
    pool = [_public(random_) for _ in range(sources)]
    made = [
        (at, ip_packet(random_.choice(pool), SERVER, protocol, bytes(600))) for at in _times(packets, rate, random_)
    ]
    return _scenario("ip_flood", made, "ip_flood", (SERVER,))


def amplification(
    packets: int = 4000, reflectors: int = 300, rate: float = 2000, port: int = 123, octets: int = 440, *, seed: int = 6
) -> Scenario:
    """Answers of reflectors; with more than 1472 octets each in fragments, of which only the first has ports."""
    random_ = random.Random(seed)
    pool = [_public(random_) for _ in range(reflectors)]
    made: list[Packet] = []
    for at in _times(packets, rate, random_):
        source, to_port = random_.choice(pool), random_.randint(1024, 65535)
        whole = struct.pack(">HHHH", port, to_port, 8 + octets, 0) + bytes(octets)
        for offset in range(0, len(whole), 1480):
            part = whole[offset : offset + 1480]
            more = offset + 1480 < len(whole)
            made.append((at + offset, ip_packet(source, SERVER, 17, part, offset | more)))
    return _scenario("amplification", made, "amplification", (SERVER,))


def syn_ack_reflection(packets: int = 3000, reflectors: int = 400, rate: float = 1500, seed: int = 7) -> Scenario:
    """Web servers answer SYNs that were sent in the name of the target."""
    random_ = random.Random(seed)
    pool = [_public(random_) for _ in range(reflectors)]
    made = [
        (at, tcp(random_.choice(pool), random_.choice((80, 443)), SERVER, random_.randint(1024, 65535), SYN | ACK))
        for at in _times(packets, rate, random_)
    ]
    return _scenario("syn_ack_reflection", made, "amplification", (SERVER,))


def middlebox_reflection(packets: int = 3000, reflectors: int = 300, rate: float = 1500, seed: int = 13) -> Scenario:
    """Middleboxes answer forged requests with a blocking page."""
    random_ = random.Random(seed)
    pool = [_public(random_) for _ in range(reflectors)]
    made = [
        (at, tcp(random_.choice(pool), 80, SERVER, random_.randint(1024, 65535), PSH | ACK, payload=bytes(1100)))
        for at in _times(packets, rate, random_)
    ]
    return _scenario("middlebox_reflection", made, "amplification", (SERVER,))


def vertical_scan(ports: int = 200, rate: float = 100, open_share: float = 0.02, seed: int = 8) -> Scenario:
    """A half-open scan of one host: closed ports answer with RST, open ones with SYN-ACK."""
    random_ = random.Random(seed)
    made: list[Packet] = []
    for at, port in zip(_times(ports, rate, random_), random_.sample(range(1, 10000), ports), strict=True):
        source = ATTACKER, random_.randint(40000, 60000)
        answer = SYN | ACK if random_.random() < open_share else RST | ACK
        made += [(at, tcp(*source, SERVER, port, SYN)), (at + 300_000, tcp(SERVER, port, *source, answer))]
        if answer & SYN:
            made.append((at + 600_000, tcp(*source, SERVER, port, RST)))
    return _scenario("vertical_scan", made, "vertical_scan", (ATTACKER, SERVER))


def horizontal_scan(hosts: int = 120, rate: float = 60, port: int = 445, seed: int = 9) -> Scenario:
    """One port on many hosts; most are not there."""
    random_ = random.Random(seed)
    made: list[Packet] = []
    for index, at in enumerate(_times(hosts, rate, random_)):
        source, target = (ATTACKER, random_.randint(40000, 60000)), f"10.0.{1 + index // 250}.{1 + index % 250}"
        made.append((at, tcp(*source, target, port, SYN)))
        if random_.random() < 0.1:
            made.append((at + 300_000, tcp(target, port, *source, RST | ACK)))
    return _scenario("horizontal_scan", made, "horizontal_scan", (ATTACKER,))


def brute_force(attempts: int = 60, rate: float = 2, port: int = 22, answered: int = 2300, seed: int = 10) -> Scenario:
    """Password guesses: short conversations whose answers are all of about one size."""
    random_ = random.Random(seed)
    made: list[Packet] = []
    for index, at in enumerate(_times(attempts, rate, random_)):
        sizes = [(21, 41), (1500, answered - 141), (100 + random_.randint(0, 12), 60)]
        made += connection(at, (ATTACKER, 40000 + index), (SERVER, port), sizes, think_s=0.2)
    return _scenario("brute_force", made, "brute_force", (ATTACKER, SERVER))


def slow_requests(connections: int = 60, pieces: int = 20, port: int = 80, seed: int = 13) -> Scenario:
    """Slow headers: many connections, a line each second on each of them, none finished."""
    random_ = random.Random(seed)
    made: list[Packet] = []
    for index, opened in enumerate(_times(connections, 30, random_)):
        client, server = (ATTACKER, 40000 + index), (SERVER, port)
        made += [(opened, tcp(*client, *server, SYN)), (opened + 100_000, tcp(*server, *client, SYN | ACK))]
        made.append((opened + 200_000, tcp(*client, *server, ACK)))
        for piece in range(pieces):
            at = opened + 400_000 + int(piece * random_.uniform(0.98, 1.02) * SECOND)
            made.append((at, tcp(*client, *server, PSH | ACK, payload=bytes(random_.randint(12, 40)))))
            made.append((at + 100_000, tcp(*server, *client, ACK)))
    return _scenario("slow_requests", made, "slow_requests", (ATTACKER, SERVER))


def beaconing(calls: int = 40, period: float = 30, jitter: float = 0.1, seed: int = 11) -> Scenario:
    """An implant that asks its server for orders, with jitter as a share of the period."""
    random_ = random.Random(seed)
    made: list[Packet] = []
    for index in range(calls):
        at = START_NS + int((index + random_.uniform(-jitter, jitter)) * period * SECOND)
        made += connection(at, (CLIENT, 50000 + index), (OUTSIDE, 443), [(420, 180)])
    return _scenario("beaconing", made, "beaconing", (CLIENT, OUTSIDE))


def exfiltration(octets: int = 30_000_000, seed: int = 12) -> Scenario:
    """An upload to one outside host, beside a little browsing."""
    random_ = random.Random(seed)
    made = list(connection(START_NS, (CLIENT, 51000), (OUTSIDE, 443), [(octets, 900)]))
    for index, at in enumerate(_times(20, 1, random_)):
        made += connection(at, (CLIENT, 52000 + index), ("192.0.2.10", 443), [(400, 20000)])
    return _scenario("exfiltration", made, "exfiltration", (CLIENT, OUTSIDE))


def arp_spoofing(seconds: int = 12, every_s: float = 1.0, gateway: str = "10.0.0.1") -> Scenario:
    """At the victim's port: its gateway is known, then a third answers in its name again and again, unasked."""
    known = START_NS - 20 * SECOND
    talk: list[Packet] = [
        (known, arp(0x20, CLIENT, 0, gateway, asks=True)),
        (known + 300_000, arp(1, gateway, 0x20, CLIENT)),
    ]
    talk += [(known + 5 * SECOND, arp(0x66, "10.0.0.66", 0, CLIENT, asks=True))]
    times = (START_NS + int(index * every_s * SECOND) for index in range(int(seconds / every_s)))
    made = [(at, arp(0x66, gateway, 0x20, CLIENT)) for at in times]
    made.append((START_NS + seconds * SECOND // 2, arp(1, gateway, 0x20, CLIENT, asks=True)))  # it asks for itself
    made.sort()
    return dataclasses.replace(
        _scenario("arp_spoofing", made, "neighbour_spoofing", (gateway,)), packets=(*talk, *made)
    )


def benign_http(connections: int = 300, rate: float = 60, clients: int = 40, seed: int = 20) -> Scenario:
    """A web server at work: every connection is completed and answered."""
    random_ = random.Random(seed)
    made: list[Packet] = []
    for index, at in enumerate(_times(connections, rate, random_)):
        client = f"10.1.0.{1 + random_.randrange(clients)}", 20000 + index % 40000
        sizes = [(random_.randint(150, 900), random_.randint(300, 30000)) for _ in range(random_.randint(1, 4))]
        made += connection(at, client, (SERVER, 80), sizes, think_s=random_.uniform(0.001, 0.3))
    return _scenario("benign_http", made)


SCENARIOS: dict[str, Callable[..., Scenario]] = {
    builder.__name__: builder
    for builder in (
        syn_flood, udp_flood, icmp_flood, tcp_flag_flood, ip_flood, amplification, syn_ack_reflection,
        middlebox_reflection, vertical_scan, horizontal_scan, brute_force, slow_requests, beaconing, exfiltration,
        arp_spoofing, benign_http,
    )
}  # fmt: skip
"""Builders by name, as `rules/detections/*/rule.yaml` names them."""
