"""What only flows show reaches a decision too: slow patterns, forged floods, who is known."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from loomidi.contracts import Evidence, Finding, Match, Mode, Severity
from loomidi.contracts.schemas import FLOWS
from loomidi.ionic.act import MemoryReceipts
from loomidi.kit.clock import ManualClock
from loomidi.loom.capture.fake import FakeShield
from loomidi.services.fast.knowing import Answered
from loomidi.services.fast.settings import FastLaneSettings
from loomidi.services.fastlane import Decision, FastLane

START_NS = 1_700_000_000_000_000_000
WEB, CLIENT = "198.51.100.10", "192.0.2.11"


class Draining(FakeShield):
    """A shield in memory that has flows to hand over."""

    batches: tuple[pa.RecordBatch, ...] = ()

    def drain(self) -> Iterator[pa.RecordBatch]:
        """Once."""
        yield from self.batches
        self.batches = ()


class Told:
    """Flow detectors that find what they were told to."""

    def __init__(self) -> None:
        self.found: list[Finding] = []

    def observe(self, batch: pa.RecordBatch) -> list[Finding]:
        """Nothing has ended yet."""
        return []

    def look(self) -> list[Finding]:
        """What is so far."""
        return self.found


class Bench:
    """A lane over them."""

    def __init__(self, mode: Mode = Mode.AUTONOMOUS) -> None:
        self.clock = ManualClock(START_NS)
        self.shield = Draining(clock=self.clock)
        self.flows, self.told = Told(), list[Decision]()
        store = MemoryReceipts(clock=self.clock)
        settings = FastLaneSettings(mode=mode, protected=("192.0.2.1",))
        observers = [self.told.append]
        self.lane = FastLane(self.shield, store, settings, flows=self.flows, observers=observers, clock=self.clock)

    def turn(self, seconds: float = 6.0) -> None:
        self.clock.sleep(seconds)
        self.lane.turn()
        while self.lane.busy:
            self.lane.turn()
        self.lane.flush()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.lane.close()


def finding(pattern: str, *entities: str, **changes: Any) -> Finding:
    made = Finding(
        id=f"finding-{pattern}",
        pattern=pattern,
        techniques=("T1071",),
        severity=Severity.HIGH,
        confidence=0.9,
        entities=entities,
        first_ns=START_NS,
        last_ns=START_NS + 1_000_000_000,
        evidence=(Evidence("syn_rate", 5000.0, 200.0, "packets/s", ""),),
        source="test",
    )
    return dataclasses.replace(made, **changes)


def flows(rows: list[dict[str, object]]) -> pa.RecordBatch:
    columns = []
    for field in FLOWS:
        empty = "" if pa.types.is_string(field.type) else [] if pa.types.is_list(field.type) else 0
        columns.append(pa.array([row.get(field.name, empty) for row in rows], field.type))
    return pa.RecordBatch.from_arrays(columns, schema=FLOWS)


def silent(source: str) -> dict[str, object]:
    where = {"destination_ip_address": WEB, "destination_transport_port": 80, "protocol_identifier": 6}
    return {"source_ip_address": source, "packet_delta_count": 1, "tcp_syn_total_count": 1, **where}


def talk(source: str) -> dict[str, object]:
    return silent(source) | {"tcp_fin_total_count": 1, "payload_octet_count": 100, "packet_delta_count": 6}


@pytest.mark.parametrize("pattern", ["beaconing", "exfiltration"])
def test_what_leaves_an_own_host_is_cut_at_the_far_end(bench: Bench, pattern: str) -> None:
    bench.flows.found = [finding(pattern, "host/192.0.2.50", "host/203.0.113.66")]
    bench.turn()
    assert [(d.outcome, d.target) for d in bench.told] == [("applied", "host/203.0.113.66")]
    assert bench.shield.entry(Match(source="203.0.113.66")) is not None


def test_what_is_judged_again_is_not_acted_on_again(bench: Bench) -> None:
    bench.flows.found = [finding("brute_force", "host/203.0.113.66", f"service/{WEB}:22/tcp")]
    for _ in range(4):
        bench.turn()
    assert [d.outcome for d in bench.told] == ["applied"]


def going_on(bench: Bench, pattern: str, seconds: float, outside: str = "host/203.0.113.66") -> list[str]:
    """A finding that is told, and told again with packets of so much later; the actions that came of it."""
    first = finding(pattern, outside, f"service/{WEB}:22/tcp", last_ns=bench.clock.now_ns() + 6_000_000_000)
    bench.flows.found = [first]
    bench.turn()
    bench.flows.found = [dataclasses.replace(first, last_ns=first.last_ns + round(seconds * 1e9))]
    bench.turn()
    return [decision.action for decision in bench.told if decision.outcome == "applied"]


@pytest.mark.parametrize("pattern", ["brute_force", "slow_requests"])
def test_who_goes_on_slowly_below_a_rate_that_stops_nothing_is_dropped(bench: Bench, pattern: str) -> None:
    assert going_on(bench, pattern, 4.0) == ["rate", "drop"]


def test_what_was_under_way_when_it_was_slowed_is_no_going_on(bench: Bench) -> None:
    assert going_on(bench, "brute_force", 2.0) == ["rate"]


def test_a_flood_that_keeps_to_its_rate_is_left_at_it(bench: Bench) -> None:
    assert going_on(bench, "udp_flood", 4.0) == ["rate"]


def test_who_is_protected_is_not_dropped_for_going_on(bench: Bench) -> None:
    assert going_on(bench, "brute_force", 4.0, "host/192.0.2.1") == []


def test_a_finding_that_goes_on_is_answered_again_and_one_that_stands_still_is_not() -> None:
    answered, first = Answered(8), finding("exfiltration", f"host/{CLIENT}")
    later = dataclasses.replace(first, last_ns=first.last_ns + 1)
    assert answered.grown([first]) == [first]
    assert answered.grown([first]) == []
    assert answered.grown([later]) == [later]


def test_a_forged_flood_is_slowed_where_nobody_known_lives(bench: Bench) -> None:
    for _ in range(3):
        bench.lane.known.add("198.18.200.7")
    forged = [silent(f"198.18.{number // 200}.{number % 200 + 1}") for number in range(0, 40_000, 10)]
    bench.lane.answer(finding("syn_flood", f"service/{WEB}:80/tcp"), START_NS)
    bench.shield.batches = (flows(forged),)
    bench.turn(1.5)
    slowed = [entry.deny for entry in bench.shield.entries()]
    assert slowed
    assert {deny.action for deny in slowed} == {"rate"}
    assert all(bench.shield._matching(packet("198.18.200.7")) is None for _ in slowed)
    assert bench.shield._matching(packet("198.18.9.9")) is not None


def test_who_finishes_conversations_becomes_known(bench: Bench) -> None:
    bench.shield.batches = (flows([talk(CLIENT)] * 3),)
    bench.turn()
    assert bench.lane.known.known() == [CLIENT]


def packet(source: str) -> Any:
    from loomidi.loom.capture.fake import Packet

    return Packet(source, WEB)
