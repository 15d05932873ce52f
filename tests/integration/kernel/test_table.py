"""XDP, tc and the user-space twin give the same verdict and count each packet once, in the same place."""

import dataclasses
from typing import Any

import pytest

from loomidi.contracts.ports import Deny
from loomidi.contracts.records import Match
from loomidi.loom.flows.settings import MeterSettings
from tests.integration.kernel.conftest import RUNGS, SECOND, START, frame

pytestmark = pytest.mark.kernel

EXACT = Match("10.0.0.1", "10.0.0.2", 40_000, 80, 6)
V6 = "2001:db8::1"


def drop(match: Match, ttl_s: float = 60) -> Deny:
    return Deny(match, "drop", ttl_s)


@dataclasses.dataclass(frozen=True)
class Case:
    """Entries and protected prefixes, one packet, what becomes of it."""

    says: str
    packet: bytes
    verdict: str
    reason: str
    denies: tuple[Deny, ...] = ()
    allows: tuple[str, ...] = ()
    at_ns: int = START


ARP = b"\xff" * 6 + b"\2" * 6 + b"\x08\x06" + b"\0" * 28
CASES = [
    Case("nothing denied passes", frame(), "pass", "accounted"),
    Case("an exact tuple drops", frame(), "drop", "drop_tuple", (drop(EXACT),)),
    Case("another port is another tuple", frame(ports=(40_001, 80)), "pass", "accounted", (drop(EXACT),)),
    Case(
        "a tuple is directional", frame("10.0.0.2", "10.0.0.1", ports=(80, 40_000)), "pass", "accounted", (drop(EXACT),)
    ),
    Case("a host drops", frame(), "drop", "drop_host", (drop(Match("10.0.0.1")),)),
    Case(
        "the target is not the source", frame("10.0.0.2", "10.0.0.1"), "pass", "accounted", (drop(Match("10.0.0.1")),)
    ),
    Case("a prefix drops", frame(), "drop", "drop_cidr", (drop(Match("10.0.0.0/8")),)),
    Case("beside a prefix passes", frame("11.0.0.1"), "pass", "accounted", (drop(Match("10.0.0.0/8")),)),
    Case("0.0.0.0/0 is all of IPv4", frame(), "drop", "drop_cidr", (drop(Match("0.0.0.0/0")),)),
    Case("0.0.0.0/0 is nothing of IPv6", frame(V6, V6), "pass", "accounted", (drop(Match("0.0.0.0/0")),)),
    Case("IPv6 host drops", frame(V6, "2001:db8::2"), "drop", "drop_host", (drop(Match(V6)),)),
    Case("IPv6 prefix drops", frame(V6, "2001:db8::2"), "drop", "drop_cidr", (drop(Match("2001:db8::/32")),)),
    Case(
        "an expired entry is none", frame(), "pass", "accounted", (drop(Match("10.0.0.1"), 1),), (), START + 2 * SECOND
    ),
    Case(
        "at its last ns an entry holds",
        frame(),
        "drop",
        "drop_host",
        (drop(Match("10.0.0.1"), 1),),
        (),
        START + SECOND - 1,
    ),
    Case("protected always passes", frame(), "pass", "accounted", (drop(Match("10.0.0.1")),), ("10.0.0.0/24",)),
    Case("others are not protected", frame(), "drop", "drop_host", (drop(Match("10.0.0.1")),), ("10.0.1.0/24",)),
    Case("protected IPv6 passes", frame(V6, V6), "pass", "accounted", (drop(Match(V6)),), ("2001:db8::/32",)),
    Case("count only counts", frame(), "pass", "accounted", (Deny(Match("10.0.0.1"), "count", 60),)),
    Case(
        "a tuple that counts does not hide a host that drops",
        frame(),
        "drop",
        "drop_host",
        (Deny(EXACT, "count", 60), drop(Match("10.0.0.1"))),
    ),
    Case(
        "an expired longer prefix does not hide a wider one",
        frame(),
        "drop",
        "drop_cidr",
        (drop(Match("10.0.0.0/24"), 1), drop(Match("10.0.0.0/8"), 60)),
        (),
        START + 2 * SECOND,
    ),
    Case("a VLAN tag changes nothing", frame(tags=(7,)), "drop", "drop_host", (drop(Match("10.0.0.1")),)),
    Case("QinQ changes nothing", frame(tags=(7, 8)), "drop", "drop_host", (drop(Match("10.0.0.1")),)),
    Case("three tags are too many", frame(tags=(7, 8, 9)), "pass", "unparsed_vlan"),
    Case("UDP tuple", frame(protocol=17), "drop", "drop_tuple", (drop(dataclasses.replace(EXACT, protocol=17)),)),
    Case("SCTP ports", frame(protocol=132), "drop", "drop_tuple", (drop(dataclasses.replace(EXACT, protocol=132)),)),
    Case(
        "ICMP has no ports",
        frame(protocol=1),
        "drop",
        "drop_tuple",
        (drop(Match("10.0.0.1", "10.0.0.2", 0, 0, 1)),),
    ),
    Case("ARP passes, unparsed", ARP, "pass", "unparsed_not_ip"),
    Case("a cut header passes, unparsed", frame(tags=(7,))[:34], "pass", "unparsed_short"),
    Case("a wrong IP version passes, unparsed", frame()[:14] + b"\x65" + frame()[15:], "pass", "unparsed_ip"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_one_packet(rung: Any, case: Case) -> None:
    for deny in case.denies:
        rung.shield.deny(deny)
    for prefix in case.allows:
        rung.shield.allow(prefix)
    assert rung.send(case.packet, case.at_ns) == case.verdict
    counted = {reason: count for reason, count in rung.shield.counters().items() if count[0]}
    assert counted == {case.reason: (1, len(case.packet))}


def test_hits_are_counted_in_the_entry(rung: Any) -> None:
    rung.shield.deny(Deny(Match("10.0.0.1"), "drop", 60, rule_id=9))
    for i in range(5):
        rung.send(frame(), START + i)
    entry = rung.shield.entry(Match("10.0.0.1"))
    assert (entry.hits, entry.dropped, entry.octets) == (5, 5, 5 * len(frame()))
    assert (entry.first_hit_ns, entry.last_hit_ns, entry.deny.rule_id) == (START, START + 4, 9)


def test_a_rate_lets_the_burst_and_then_the_rate_through(rung: Any) -> None:
    rung.shield.deny(Deny(Match("10.0.0.1"), "rate", 60, rate_pps=10, burst=5))
    at_once = [rung.send(frame(), START + i) for i in range(8)]
    assert at_once == ["pass"] * 5 + ["drop"] * 3
    later = [rung.send(frame(), START + SECOND + i) for i in range(8)]
    assert later == ["pass"] * 5 + ["drop"] * 3
    spaced = [rung.send(frame(), START + 2 * SECOND + i * SECOND // 10) for i in range(20)]
    assert spaced == ["pass"] * 20
    entry = rung.shield.entry(Match("10.0.0.1"))
    assert (entry.hits, entry.dropped) == (36, 6)


def test_replacing_an_entry_keeps_its_counters(rung: Any) -> None:
    rung.shield.deny(Deny(Match("10.0.0.1"), "rate", 60, rate_pps=1, burst=1))
    rung.send(frame())
    rung.shield.deny(drop(Match("10.0.0.1")))
    rung.send(frame())
    assert rung.shield.entry(Match("10.0.0.1")).hits == 2


def test_one_write_disarms_everything_and_new_entries_count(rung: Any) -> None:
    for match in (EXACT, Match("10.0.0.1"), Match("10.0.0.0/8")):
        rung.shield.deny(drop(match))
    rung.shield.disarm()
    assert rung.send(frame()) == "pass"
    assert not any(state.live for state in rung.shield.entries())
    rung.shield.deny(drop(Match("10.0.0.1")))
    assert rung.send(frame()) == "drop"


def test_removed_and_disallowed_are_gone(rung: Any) -> None:
    rung.shield.deny(drop(Match("10.0.0.0/8")))
    rung.shield.allow("10.0.0.1")
    assert rung.shield.protected() == ["10.0.0.1/32"]
    assert [rung.shield.disallow("10.0.0.1") for _ in range(2)] == [True, False]
    assert rung.send(frame()) == "drop"
    assert [rung.shield.remove(Match("10.0.0.0/8")) for _ in range(2)] == [True, False]
    assert rung.send(frame()) == "pass"


def test_a_scan_is_told_once_per_window(rung: Any) -> None:
    for port in range(60):
        rung.send(frame(ports=(40_000, 1000 + port), flags=0x02), START + port)
    told = [(s.kind, reason) for s in rung.shield.suspects(0) for reason in s.reasons]
    assert told == [("source", "ports"), ("source", "syns")]


def test_spoofed_sources_are_told_by_the_service(rung: Any) -> None:
    for i in range(250):
        rung.send(frame(f"172.16.{i % 250}.{i}", flags=0x02), START + i)
    told = {(s.kind, reason) for s in rung.shield.suspects(0) for reason in s.reasons}
    assert told == {("service", "syns"), ("service", "sources")}


def _vxlan(inner: bytes) -> bytes:
    outer = frame("192.0.2.1", "192.0.2.2", ports=(50_000, 4789), protocol=17, payload=8 + len(inner))
    return outer[: -8 - len(inner)] + b"\x08\0\0\0\0\0\x2a\0" + inner


@pytest.mark.parametrize("kind", ["twin", "xdp", "tc"])
def test_inside_a_tunnel_when_built_for_it(kind: str) -> None:
    rung = RUNGS[kind](inner=True, flows=MeterSettings(inner=True))
    try:
        rung.shield.deny(drop(Match("10.0.0.1")))
        assert [rung.send(_vxlan(frame(source))) for source in ("10.0.0.1", "10.0.0.9")] == ["drop", "pass"]
        rows = [
            row
            for batch in rung.shield.flush()
            for row in batch.select(["tunnel_type", "layer2_segment_id"]).to_pylist()
        ]
        assert rows == [{"tunnel_type": "vxlan", "layer2_segment_id": 42}]
    finally:
        rung.close()
