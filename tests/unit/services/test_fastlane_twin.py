"""The fast lane over the user-space twin: real frames, the kernel's own code, a clock moved by hand."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator

import pytest

from loomidi.contracts import Match, Mode
from loomidi.ionic.act import MemoryReceipts
from loomidi.kit.clock import ManualClock
from loomidi.loom.capture.own_limits import Watched
from loomidi.loom.capture.twin import TwinSettings, TwinShield
from loomidi.loom.capture.verdicts import Limits
from loomidi.services.demo import frames
from loomidi.services.fast.settings import FastLaneSettings
from loomidi.services.fast.waking import waking
from loomidi.services.fastlane import Decision, FastLane

WEB, WEB6 = "198.51.100.10", "2001:db8:2::10"
ATTACKER, CLIENT, GATEWAY = "203.0.113.11", "192.0.2.11", "192.0.2.1"
START_NS = 1_700_000_000_000_000_000
MADE: dict[str, tuple[str, Callable[[], list[bytes]]]] = {
    "syn_flood": (ATTACKER, lambda: frames.syn_flood(ATTACKER, WEB, 80)),
    "syn_flood over IPv6": ("2001:db8:66::66", lambda: frames.syn_flood("2001:db8:66::66", WEB6, 80)),
    "udp_flood": (ATTACKER, lambda: frames.udp_flood(ATTACKER, WEB, 80)),
    "amplification": (ATTACKER, lambda: frames.amplification([ATTACKER], WEB)),
    "vertical_scan": (ATTACKER, lambda: frames.vertical_scan(ATTACKER, WEB)),
    "horizontal_scan": (ATTACKER, lambda: frames.horizontal_scan(ATTACKER, "198.51.100.0/24")),
}


class Wire:
    """A twin, a lane over it, and frames that come at an even pace."""

    def __init__(self, mode: Mode = Mode.AUTONOMOUS) -> None:
        self.clock = ManualClock(START_NS)
        self.shield = TwinShield(settings=TwinSettings(watch=waking()))
        self.shield.move_to(START_NS)
        self.told: list[Decision] = []
        settings = FastLaneSettings(mode=mode, protected=(GATEWAY,))
        store = MemoryReceipts(clock=self.clock)
        self.lane = FastLane(self.shield, store, settings, observers=[self.told.append], clock=self.clock)

    def send(self, given: list[bytes], count: int = 2000, pps: int = 20_000) -> int:
        """How many passed."""
        passed = 0
        for frame in itertools.islice(itertools.cycle(given), count):
            self.clock.move(1_000_000_000 // pps)
            passed += self.shield.process(frame, self.clock.now_ns()) == "pass"
            self.lane.turn()
            self.lane.flush()  # the twin is for one thread
        return passed

    def talk(self, port: int) -> int:
        """How many of the four frames of one benign conversation passed."""
        kinds = (frames.SYN, frames.ACK, frames.ACK | frames.PSH, frames.ACK | frames.FIN)
        return self.send([frames.tcp(CLIENT, WEB, (port, 80), kind, b"hi" * (kind > 16)) for kind in kinds], 4, 1000)


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.lane.close()
    wire.shield.close()


@pytest.mark.parametrize("name", MADE)
def test_each_attack_is_stopped_while_it_lasts(wire: Wire, name: str) -> None:
    source, make = MADE[name]
    passed = wire.send(make(), 3000)
    (decision,) = [d for d in wire.told if d.outcome == "applied"]
    assert decision.finding is not None
    assert (decision.finding.pattern, decision.target) == (name.split()[0], f"host/{source}")
    assert passed < 2000


def test_who_only_talks_is_never_touched(wire: Wire) -> None:
    passed = sum(wire.talk(20_000 + number) for number in range(100))
    assert passed == 400
    assert wire.told == []


def test_clients_go_on_while_a_flood_is_blocked(wire: Wire) -> None:
    wire.send(frames.syn_flood(ATTACKER, WEB, 80), 500)
    assert [d.target for d in wire.told if d.outcome == "applied"] == [f"host/{ATTACKER}"]
    assert sum(wire.talk(20_000 + number) for number in range(20)) == 80


def test_a_flood_in_the_name_of_the_protected_changes_nothing(wire: Wire) -> None:
    assert wire.send(frames.syn_flood(GATEWAY, WEB, 80), 1000) == 1000
    assert [d.outcome for d in wire.told] == ["refused"]
    assert wire.shield.entry(Match(source=GATEWAY)) is None


def test_shadow_drops_nothing() -> None:
    wire = Wire(Mode.SHADOW)
    assert wire.send(frames.syn_flood(ATTACKER, WEB, 80), 1000) == 1000
    wire.lane.close()
    assert [d.outcome for d in wire.told] == ["would"]
    assert wire.shield.entries() == []


def test_every_frame_is_counted_once(wire: Wire) -> None:
    wire.send(frames.syn_flood(ATTACKER, WEB, 80), 1500)
    counters = wire.shield.counters()
    assert sum(packets for packets, _ in counters.values()) == 1500
    entry = wire.shield.entry(Match(source=ATTACKER))
    assert entry is not None
    assert entry.dropped == sum(packets for reason, (packets, _) in counters.items() if reason.startswith("drop_"))


def test_an_entry_that_nobody_renews_ends_on_time(wire: Wire) -> None:
    wire.lane.settings = dataclasses.replace(wire.lane.settings, longest_ttl_s=2.0)
    wire.send(frames.syn_flood(ATTACKER, WEB, 80), 500)
    frame = frames.tcp(ATTACKER, WEB, (1, 80))
    assert "drop" in {wire.shield.process(frame, wire.clock.now_ns()) for _ in range(20)}
    wire.clock.sleep(2.1)  # no lane looks
    assert {wire.shield.process(frame, wire.clock.now_ns()) for _ in range(20)} == {"pass"}


def test_a_tuned_service_is_defended_at_its_own_threshold_within_one_drain(wire: Wire) -> None:
    wire.shield.limit(Watched("service", WEB, 80, 6), Limits(packets=5000, syns=20), 60)
    wire.talk(5000)
    wire.clock.move(2_000_000_000)
    wire.talk(5001)  # the drain after which the lane goes by it
    wire.send(frames.syn_flood(ATTACKER, WEB, 80), 100, pps=60)  # by whom, the next drain says: a client was there
    assert [d.finding.evidence[0].threshold for d in wire.told if d.outcome == "applied"][:1] == [20.0]
