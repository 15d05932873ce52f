"""Benign traffic that resembles an attack in one feature; no detector may raise it above `info`.

Called by the replay suite by name (`rules/detections/*/rule.yaml`). Seeded, as `loom.capture.synthetic` is.
"""

import random
from collections.abc import Callable

from loomidi.loom.capture import synthetic
from loomidi.loom.capture.synthetic import (
    ACK,
    CLIENT,
    OUTSIDE,
    PSH,
    RST,
    SECOND,
    SERVER,
    START_NS,
    SYN,
    Packet,
    Scenario,
)
from tests.security.detections.neighbour_look_alikes import NEIGHBOUR_LOOK_ALIKES


def _benign(name: str, packets: list[Packet]) -> Scenario:
    packets.sort(key=lambda packet: packet[0])
    return Scenario(name, tuple(packets), "", (), packets[0][0], packets[-1][0])


def flash_crowd(clients: int = 800, rate: float = 400, seed: int = 30) -> Scenario:
    """Everybody comes at once: many new sources, one in ten SYNs is lost and sent again."""
    source = random.Random(seed)
    made: list[Packet] = []
    for index in range(clients):
        at = START_NS + int(index / rate * SECOND)
        client = (f"11.{index // 250}.{index % 250}.{source.randint(1, 254)}", 30000 + index)
        if source.random() < 0.1:
            made.append((at, synthetic.tcp(*client, SERVER, 443, SYN)))
            at += SECOND
        made += synthetic.connection(at, client, (SERVER, 443), [(500, source.randint(2000, 40000))])
    return _benign("flash_crowd", made)


def dead_service(clients: int = 900, rate: float = 30, seed: int = 50) -> Scenario:
    """A server that is down, and its users: nobody is answered, and everybody tries again, as TCP stacks do."""
    source = random.Random(seed)
    made: list[Packet] = []
    for index in range(clients):
        at = START_NS + int(index / rate * SECOND)
        client = (f"11.0.0.{source.randint(1, 90)}", 30000 + index)
        made += [(at + after * SECOND, synthetic.tcp(*client, SERVER, 443, SYN)) for after in (0, 1, 3, 7)]
    return _benign("dead_service", made)


def media_stream(packets: int = 9000, rate: float = 900, seed: int = 31) -> Scenario:
    """One-way video from one camera."""
    source = random.Random(seed)
    made = [
        (
            START_NS + int(i / rate * SECOND),
            synthetic.udp("198.51.100.7", 40000, CLIENT, 50004, bytes(source.randint(800, 1200))),
        )
        for i in range(packets)
    ]
    return _benign("media_stream", made)


def benign_dns(queries: int = 3000, rate: float = 300, seed: int = 32) -> Scenario:
    """A resolver asks and is answered."""
    source = random.Random(seed)
    made: list[Packet] = []
    for index in range(queries):
        at, port = START_NS + int(index / rate * SECOND), source.randint(1024, 65535)
        server = f"192.0.2.{source.randint(1, 30)}"
        made.append((at, synthetic.udp(CLIENT, port, server, 53, bytes(source.randint(25, 60)))))
        made.append((at + 8_000_000, synthetic.udp(server, 53, CLIENT, port, bytes(source.randint(80, 400)))))
    return _benign("benign_dns", made)


def benign_ping(hosts: int = 15, rounds: int = 20, seed: int = 33) -> Scenario:
    """A monitor pings its hosts once a second; one of them is down."""
    made: list[Packet] = []
    for turn in range(rounds):
        for host in range(hosts):
            at, target = START_NS + turn * SECOND + host * 10_000_000, f"10.0.0.{100 + host}"
            made.append((at, synthetic.icmp(CLIENT, target, 8, 0, bytes(56))))
            if host:
                made.append((at + 400_000, synthetic.icmp(target, CLIENT, 0, 0, bytes(56))))
    return _benign("benign_ping", made)


def midstream_downloads(flows: int = 12, packets: int = 3000, seed: int = 34) -> Scenario:
    """A capture of one direction only that starts amid downloads."""
    source = random.Random(seed)
    made = []
    for index in range(packets):
        flow = source.randrange(flows)
        frame = synthetic.tcp(
            f"203.0.113.{10 + flow}", 443, CLIENT, 40000 + flow, ACK | PSH * (index % 9 == 0), payload=bytes(1400)
        )
        made.append((START_NS + index * 400_000, frame))
    return _benign("midstream_downloads", made)


def gre_tunnel(packets: int = 5000, rate: float = 1000, seed: int = 35) -> Scenario:
    """A busy tunnel of which one direction is seen."""
    made = [
        (START_NS + int(index / rate * SECOND), synthetic.ip_packet(OUTSIDE, SERVER, 47, bytes(900)))
        for index in range(packets)
    ]
    return _benign("gre_tunnel", made)


def discovery_answers(devices: int = 12, rounds: int = 5, seed: int = 36) -> Scenario:
    """SSDP: a question to everybody, each device answers it several times from port 1900."""
    made: list[Packet] = []
    for turn in range(rounds):
        at = START_NS + turn * 2 * SECOND
        made.append((at, synthetic.udp(CLIENT, 50321, "239.255.255.250", 1900, bytes(130))))
        for device in range(devices):
            for answer in range(3):
                later = at + (device * 3 + answer) * 9_000_000
                made.append((later, synthetic.udp(f"10.0.0.{30 + device}", 1900, CLIENT, 50321, bytes(330))))
    return _benign("discovery_answers", made)


def passive_ftp(transfers: int = 40, seed: int = 37) -> Scenario:
    """Every file comes over its own port, and has content."""
    source = random.Random(seed)
    made: list[Packet] = []
    for index in range(transfers):
        server = (SERVER, source.randint(30000, 60000))
        made += synthetic.connection(START_NS + index * SECOND, (CLIENT, 40000 + index), server, [(1, 20000)])
    return _benign("passive_ftp", made)


def trace_route(hops: int = 20, seed: int = 38) -> Scenario:
    """Three probes a hop, each to the next port."""
    made: list[Packet] = []
    for probe in range(hops * 3):
        at = START_NS + probe * 50_000_000
        made.append((at, synthetic.udp(CLIENT, 43210, OUTSIDE, 33434 + probe, bytes(32))))
        made.append((at + 9_000_000, synthetic.icmp(f"198.51.100.{1 + probe // 3}", CLIENT, 11, 0, bytes(28))))
    return _benign("trace_route", made)


def crawler(hosts: int = 60, seed: int = 39) -> Scenario:
    """Many hosts on one port; one in ten is gone."""
    source = random.Random(seed)
    made: list[Packet] = []
    for index in range(hosts):
        at, site = START_NS + index * SECOND // 4, (f"198.51.100.{1 + index}", 443)
        if index % 10:
            made += synthetic.connection(at, (CLIENT, 40000 + index), site, [(400, source.randint(5000, 50000))])
        else:
            made.append((at, synthetic.tcp(CLIENT, 40000 + index, *site, SYN)))
            made.append((at + 300_000, synthetic.tcp(*site, CLIENT, 40000 + index, RST | ACK)))
    return _benign("crawler", made)


def ssh_sessions(sessions: int = 20, seed: int = 40) -> Scenario:
    """An administrator at work: sessions of all lengths."""
    source = random.Random(seed)
    made: list[Packet] = []
    for index in range(sessions):
        sizes = [(1600, 2400), *((60, source.randint(80, 4000)) for _ in range(source.randint(1, 80)))]
        at = START_NS + index * 25 * SECOND
        made += synthetic.connection(
            at, (CLIENT, 40000 + index), (SERVER, 22), sizes, think_s=source.uniform(0.05, 0.8)
        )
    return _benign("ssh_sessions", made)


def database_pool(connections: int = 200, seed: int = 41) -> Scenario:
    """An application that opens a connection for every request."""
    source = random.Random(seed)
    made: list[Packet] = []
    for index in range(connections):
        sizes = [(80, 90), *((120, source.randint(50, 9000)) for _ in range(source.randint(1, 12)))]
        at = START_NS + index * SECOND // 2
        made += synthetic.connection(at, (CLIENT, 30000 + index), (SERVER, 3306), sizes)
    return _benign("database_pool", made)


def browsing(visits: int = 60, seed: int = 42) -> Scenario:
    """The same site again and again, when the reader wants it."""
    source = random.Random(seed)
    made: list[Packet] = []
    at = START_NS
    for index in range(visits):
        at += int(source.lognormvariate(2.5, 1.0) * SECOND)
        made += synthetic.connection(at, (CLIENT, 40000 + index), (OUTSIDE, 443), [(500, source.randint(2000, 15000))])
    return _benign("browsing", made)


def time_sync(polls: int = 40, seed: int = 43) -> Scenario:
    """NTP every 64 s."""
    made: list[Packet] = []
    for poll in range(polls):
        at = START_NS + poll * 64 * SECOND
        made.append((at, synthetic.udp(CLIENT, 123, OUTSIDE, 123, bytes(48))))
        made.append((at + 20_000_000, synthetic.udp(OUTSIDE, 123, CLIENT, 123, bytes(48))))
    return _benign("time_sync", made)


def download(octets: int = 30_000_000, seed: int = 44) -> Scenario:
    """Much comes in, little goes out."""
    return _benign("download", list(synthetic.connection(START_NS, (CLIENT, 51000), (OUTSIDE, 443), [(600, octets)])))


def one_way_vpn(packets: int = 20000, rate: float = 4000, seed: int = 45) -> Scenario:
    """The inward half of a busy IPsec tunnel (port 4500) and of a QUIC download, as an ingress hook sees them."""
    made = []
    for index in range(packets):
        at = START_NS + int(index / rate * SECOND)
        source, port = (("198.51.100.7", 4500), 4500) if index % 2 else (("203.0.113.77", 443), 50100)
        made.append((at, synthetic.udp(*source, CLIENT, port, bytes(1300))))
    return _benign("one_way_vpn", made)


def ingress_health_checks(checks: int = 3000, rate: float = 200, seed: int = 46) -> Scenario:
    """A load balancer that opens and closes connections without a word, of which only its half is seen."""
    made: list[Packet] = []
    for index in range(checks):
        for step, flags in enumerate((SYN, ACK, synthetic.FIN | ACK)):
            at = START_NS + int(index / rate * SECOND) + step * 300_000
            made.append((at, synthetic.tcp("10.0.0.5", 20000 + index, SERVER, 8080, flags)))
    return _benign("ingress_health_checks", made)


def _held(name: str, clients: int, rounds: int, gap_s: float, size: int, seed: int) -> Scenario:
    """The clients' half of connections from one address, on each of them the same again and again, answered."""
    source = random.Random(seed)
    made: list[Packet] = []
    for index in range(clients):
        client = "198.51.100.7", 30000 + index
        at = START_NS + int(source.uniform(0, 20) * SECOND)
        made += [(at, synthetic.tcp(*client, SERVER, 80, SYN)), (at + 100_000, synthetic.tcp(*client, SERVER, 80, ACK))]
        for turn in range(rounds):
            now = at + 200_000 + int(turn * gap_s * SECOND)
            made.append((now, synthetic.tcp(*client, SERVER, 80, PSH | ACK, payload=bytes(size))))
            made.append((now + SECOND // 2, synthetic.tcp(*client, SERVER, 80, ACK)))  # of the answer
    return _benign(name, made)


def long_polls(clients: int = 80, seed: int = 47) -> Scenario:
    """An office behind one address, each of its pages waiting for news."""
    return _held("long_polls", clients, 8, 6.0, 240, seed)


def web_sockets(clients: int = 80, seed: int = 48) -> Scenario:
    """An office behind one address, each of its pages with a heartbeat."""
    return _held("web_sockets", clients, 20, 3.0, 8, seed)


def event_streams(clients: int = 80, seed: int = 49) -> Scenario:
    """An office behind one address, each of its pages told a little every few seconds: asked once, heard for long."""
    source = random.Random(seed)
    made: list[Packet] = []
    for index in range(clients):
        client = "198.51.100.7", 30000 + index
        at = START_NS + int(source.uniform(0, 20) * SECOND)
        made += [(at, synthetic.tcp(*client, SERVER, 80, SYN)), (at + 100_000, synthetic.tcp(*client, SERVER, 80, ACK))]
        made.append((at + 200_000, synthetic.tcp(*client, SERVER, 80, PSH | ACK, payload=bytes(300))))
        for turn in range(1, 20):
            made.append((at + turn * 3 * SECOND, synthetic.tcp(*client, SERVER, 80, ACK)))
    return _benign("event_streams", made)


def scripted_commands(commands: int = 12, seed: int = 50) -> Scenario:
    """A script that runs a command on a server each few seconds: as alike as guesses, and done in a moment."""
    source = random.Random(seed)
    made: list[Packet] = []
    for index in range(commands):
        sizes = [(1500, 2200), (400, 60), (120 + source.randint(0, 9), source.randint(40, 900))]
        at = START_NS + index * 6 * SECOND
        made += synthetic.connection(at, (CLIENT, 40000 + index), (SERVER, 22), sizes, think_s=0.1)
    return _benign("scripted_commands", made)


def login_checks(checks: int = 20, seed: int = 51) -> Scenario:
    """A monitor that logs in each half minute and looks around for four seconds."""
    made: list[Packet] = []
    for index in range(checks):
        at = START_NS + index * 30 * SECOND + random.Random(seed + index).randrange(SECOND)
        sizes = [(1500, 2200), (90, 60), (90, 60)]
        made += synthetic.connection(at, (CLIENT, 41000 + index), (SERVER, 22), sizes, think_s=1.4)
    return _benign("login_checks", made)


LOOK_ALIKES: dict[str, Callable[..., Scenario]] = {
    "benign_http": synthetic.benign_http,
    **{
        builder.__name__: builder
        for builder in (
            flash_crowd, media_stream, benign_dns, benign_ping, midstream_downloads, gre_tunnel, discovery_answers,
            dead_service, passive_ftp, trace_route, crawler, ssh_sessions, database_pool, browsing, time_sync, download,
            one_way_vpn, ingress_health_checks, long_polls, web_sockets,
            event_streams, scripted_commands, login_checks, *NEIGHBOUR_LOOK_ALIKES,
        )
    },
}  # fmt: skip
