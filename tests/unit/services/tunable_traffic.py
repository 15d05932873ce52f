"""Traffic for tuning: a quiet web service, a busy UDP service, and an attack that the fast lane does not see."""

import random

from loomidi.loom.capture import synthetic
from loomidi.loom.capture.synthetic import SECOND, SERVER, START_NS, SYN, Packet

FORWARDER, ATTACKER = "10.0.0.5", "198.51.100.66"
WEB, SYSLOG = f"service/{SERVER}:443/tcp", f"service/{SERVER}:514/udp"


def quiet_web(seconds: int, seed: int = 1, rate: int = 6) -> list[Packet]:
    """So many whole conversations a second, by 200 clients."""
    source, made = random.Random(seed), list[Packet]()
    for index in range(seconds * rate):
        at = START_NS + index * SECOND // rate + source.randint(0, SECOND // 10)
        client = (f"10.1.0.{source.randint(1, 200)}", 20_000 + index)
        made += synthetic.connection(at, client, (SERVER, 443), [(500, source.randint(1000, 4000))])
    return sorted(made, key=lambda packet: packet[0])


def slow_flood(after_s: int, seconds: int = 10, rate: int = 60, seed: int = 5) -> list[Packet]:
    """A SYN flood of one source below the rate that wakes the fast lane."""
    source = random.Random(seed)
    return [
        (
            START_NS + after_s * SECOND + index * SECOND // rate,
            synthetic.tcp(ATTACKER, source.randint(1024, 65535), SERVER, 443, SYN),
        )
        for index in range(seconds * rate)
    ]


def busy_syslog(seconds: int, rate: int = 6000, first_s: int = 0) -> list[Packet]:
    """A few forwarders of logs, together above the rate of a UDP flood, each below it."""
    return [
        (
            START_NS + first_s * SECOND + index * SECOND // rate,
            synthetic.udp(f"10.0.0.{5 + index % 3}", 40_000 + index % 48, SERVER, 514, bytes(64)),
        )
        for index in range(seconds * rate)
    ]


def together(*parts: list[Packet]) -> list[Packet]:
    """In order of time."""
    return sorted((packet for part in parts for packet in part), key=lambda packet: packet[0])
