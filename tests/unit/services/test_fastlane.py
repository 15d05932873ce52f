"""The fast lane over the shield in memory: what is acted on, what never is, and what a restart finds."""

import dataclasses
from collections.abc import Iterator

import pytest

from loomidi.contracts import Match, Mode, Step
from loomidi.contracts.ports import Suspect
from loomidi.ionic.act import MemoryReceipts
from loomidi.ionic.decide import Limits
from loomidi.kit.clock import ManualClock
from loomidi.loom.capture.fake import FakeShield, Packet
from loomidi.services.fast.poising import poised
from loomidi.services.fast.settings import FastLaneSettings
from loomidi.services.fastlane import Decision, FastLane

ATTACKER, CLIENT, GATEWAY, WEB = "203.0.113.11", "192.0.2.11", "192.0.2.1", "198.51.100.10"
START_NS = 1_700_000_000_000_000_000
ACTING = FastLaneSettings(mode=Mode.AUTONOMOUS, protected=(GATEWAY, "192.0.2.12/32"))


def suspect(source: str = ATTACKER, **changes: object) -> Suspect:
    """A SYN flood as the kernel tells it: 200 SYNs of one source in 20 ms."""
    told = Suspect(
        kind="source",
        reasons=("syns",),
        at_ns=START_NS + 20_000_000,
        first_ns=START_NS,
        source=source,
        destination=WEB,
        source_port=1024,
        destination_port=80,
        protocol=6,
        packets=200,
        octets=8000,
        syns=200,
        ports=1,
        hosts=1,
    )
    return dataclasses.replace(told, **changes)


class Bench:
    """A lane with everything around it in memory, moved by hand."""

    def __init__(self, settings: FastLaneSettings = ACTING, store: MemoryReceipts | None = None) -> None:
        self.clock = ManualClock(START_NS + 20_000_000)
        self.shield = FakeShield(clock=self.clock)
        self.store = store or MemoryReceipts(clock=self.clock)
        self.told: list[Decision] = []
        self.lane = self.start(settings)

    def start(self, settings: FastLaneSettings) -> FastLane:
        return FastLane(self.shield, self.store, settings, observers=[self.told.append], clock=self.clock)

    def turn(self, *suspects: Suspect, seconds: float = 0.0) -> None:
        for each in suspects:
            self.shield.suspect(each)
        self.clock.sleep(seconds)
        self.lane.turn()
        while self.lane.busy:
            self.lane.turn()
        self.lane.flush()

    def send(self, source: str = ATTACKER, packets: int = 100) -> int:
        """How many passed."""
        return sum(self.shield.packet(Packet(source, WEB)) for _ in range(packets))

    def fresh(self) -> Suspect:
        """The same flood, again, just now."""
        now_ns = self.clock.now_ns() + 1
        return suspect(first_ns=now_ns - 20_000_000, at_ns=now_ns)

    def outcomes(self) -> list[str]:
        return [decision.outcome for decision in self.told]

    def steps(self) -> list[Step]:
        return [receipt.step for receipt in self.store.all()]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.lane.close()


def test_a_flood_is_slowed_first(bench: Bench) -> None:
    bench.turn(suspect())
    (entry,) = bench.shield.entries()
    assert (entry.deny.action, entry.deny.match) == ("rate", Match(source=ATTACKER))
    assert bench.outcomes() == ["applied"]
    assert bench.send(packets=100) < 100


def test_the_receipt_follows_the_act(bench: Bench) -> None:
    bench.turn(suspect())
    (receipt,) = bench.store.all()
    assert receipt.step is Step.APPLIED
    assert receipt.plan_id == bench.told[0].plan_id
    assert receipt.inverse["match"]["source"] == ATTACKER


def test_a_source_that_goes_on_is_dropped(bench: Bench) -> None:
    bench.turn(suspect())
    for _ in range(8):
        bench.send()
        bench.turn(seconds=0.3)
    (entry,) = bench.shield.entries()
    assert entry.deny.action == "drop"
    assert [d.action for d in bench.told if d.outcome == "applied"] == ["rate", "drop"]
    assert bench.send() == 0


def test_a_source_that_floods_in_bursts_is_dropped(bench: Bench) -> None:
    bench.turn(suspect())
    for turn in range(8):
        bench.send(packets=0 if turn % 3 else 100)
        bench.turn(seconds=0.3)
    assert [d.action for d in bench.told if d.outcome == "applied"] == ["rate", "drop"]


def test_a_source_that_comes_back_after_a_long_pause_is_slowed_anew(bench: Bench) -> None:
    bench.turn(suspect())
    for _ in range(3):
        bench.send()
        bench.turn(seconds=0.3)
        bench.turn(seconds=5.0)
    assert [entry.deny.action for entry in bench.shield.entries()] == ["rate"]


def test_a_source_that_stops_is_only_slowed(bench: Bench) -> None:
    bench.turn(suspect())
    bench.send()
    for _ in range(8):
        bench.turn(seconds=0.3)
    assert [entry.deny.action for entry in bench.shield.entries()] == ["rate"]


def test_who_was_dropped_before_is_dropped_at_once(bench: Bench) -> None:
    bench.turn(suspect())
    for _ in range(8):
        bench.send()
        bench.turn(seconds=0.3)
    bench.turn(seconds=400)
    bench.turn(seconds=10)
    bench.turn(bench.fresh())
    assert [d.action for d in bench.told if d.outcome == "applied"] == ["rate", "drop", "drop"]


def test_what_works_is_verified_by_its_counters(bench: Bench) -> None:
    bench.turn(suspect())
    bench.send()
    bench.turn(seconds=0.3)
    assert bench.steps() == [Step.APPLIED, Step.VERIFIED]


def test_an_entry_ends_by_itself_and_leaves_a_receipt(bench: Bench) -> None:
    bench.turn(suspect())
    bench.turn(seconds=61)
    bench.turn()
    assert bench.shield.entries() == []
    assert bench.steps()[-1] is Step.EXPIRED
    assert bench.outcomes() == ["applied", "expired"]
    assert bench.send() == 100


@pytest.mark.parametrize("source", [GATEWAY, "192.0.2.12", "::ffff:192.0.2.12"])
def test_the_protected_set_is_never_touched(bench: Bench, source: str) -> None:
    bench.turn(suspect(source))
    assert bench.shield.entries() == []
    assert bench.outcomes() == ["refused"]
    assert "protected" in bench.told[0].because
    assert bench.steps() == [Step.REFUSED]


def test_the_protected_set_reaches_the_shield(bench: Bench) -> None:
    assert bench.shield.protected() == ["192.0.2.1/32", "192.0.2.12/32"]


def test_a_refusal_is_not_repeated_at_every_window(bench: Bench) -> None:
    for _ in range(5):
        bench.turn(suspect(GATEWAY))
    assert bench.outcomes() == ["refused"]
    assert bench.lane.missed == 4


def test_a_known_peer_is_spared_a_flood_that_anybody_could_send(bench: Bench) -> None:
    for _ in range(3):
        bench.lane.known.add(CLIENT)
    bench.turn(suspect(CLIENT))
    assert bench.shield.entries() == []
    assert "a person decides" in bench.told[0].because


def test_a_known_peer_is_spared_a_scan_for_which_it_may_be_a_decoy(bench: Bench) -> None:
    for _ in range(3):
        bench.lane.known.add(CLIENT)
    bench.turn(suspect(CLIENT, packets=30, syns=30, ports=30))
    assert bench.told[0].finding is not None
    assert (bench.told[0].finding.pattern, bench.told[0].outcome) == ("vertical_scan", "refused")
    assert bench.shield.entries() == []


def test_shadow_touches_nothing_and_says_what_it_would_have_done() -> None:
    bench = Bench(FastLaneSettings())
    bench.turn(suspect())
    bench.lane.close()
    assert bench.shield.entries() == []
    assert bench.outcomes() == ["would"]
    (receipt,) = bench.store.all()
    assert (receipt.step, receipt.detail["plan"]["fold"]["action"]) == (Step.REFUSED, "rate")


def test_suggest_leaves_it_to_a_person() -> None:
    bench = Bench(FastLaneSettings(mode=Mode.SUGGEST))
    bench.turn(suspect())
    bench.lane.close()
    assert bench.shield.entries() == []
    assert "person" in bench.told[0].because


def test_caps_stop_the_lane_when_too_much_is_standing() -> None:
    bench = Bench(dataclasses.replace(ACTING, limits=Limits(max_active=2)))
    bench.turn(*(suspect(f"203.0.113.{host}") for host in range(11, 15)))
    bench.lane.close()
    assert bench.outcomes() == ["applied", "applied", "refused", "refused"]
    assert len(bench.shield.entries()) == 2


def test_a_full_table_is_a_failure_on_record() -> None:
    bench = Bench()
    bench.shield._capacity = 0
    bench.turn(suspect())
    bench.lane.close()
    assert bench.outcomes() == ["failed"]
    assert bench.steps() == [Step.FAILED]


def test_undo_takes_everything_back_and_leaves_the_target_alone(bench: Bench) -> None:
    bench.turn(suspect())
    for _ in range(8):
        bench.send()
        bench.turn(seconds=0.3)
    bench.lane.undo(f"host/{ATTACKER}")
    bench.turn()
    assert bench.shield.entries() == []
    assert bench.send() == 100
    bench.turn(suspect())
    assert bench.shield.entries() == []
    assert bench.steps()[-2:] == [Step.UNDONE, Step.UNDONE]


def test_a_pardoned_source_that_attacks_again_is_slowed_again(bench: Bench) -> None:
    bench.turn(suspect())
    bench.lane.undo(f"host/{ATTACKER}")
    bench.turn()
    bench.clock.sleep(6)
    bench.turn(bench.fresh())
    assert [entry.deny.action for entry in bench.shield.entries()] == ["rate"]


def test_old_news_of_a_pardoned_source_is_no_news(bench: Bench) -> None:
    bench.turn(suspect())
    bench.lane.undo(f"host/{ATTACKER}")
    bench.turn()
    bench.turn(suspect(), seconds=60)
    assert bench.shield.entries() == []


def test_usual_traffic_leads_to_nothing(bench: Bench) -> None:
    bench.turn(suspect(packets=600, syns=60, first_ns=START_NS - 2_000_000_000))
    assert bench.told == []
    assert bench.shield.entries() == []


def test_a_restart_takes_over_what_stands(bench: Bench) -> None:
    bench.turn(suspect())
    bench.lane.close()
    bench.lane = bench.start(ACTING)
    assert bench.outcomes() == ["applied", "adopted"]
    bench.turn(suspect())
    assert len(bench.shield.entries()) == 1
    bench.turn(seconds=61)
    bench.turn()
    assert bench.steps()[-1] is Step.EXPIRED


def test_an_entry_whose_receipt_was_lost_is_receipted_after_a_crash(bench: Bench) -> None:
    bench.turn(suspect())
    bench.lane.close()
    bench.store = MemoryReceipts(clock=bench.clock)  # the process died before its receipt reached the disk
    bench.lane = bench.start(ACTING)
    (receipt,) = bench.store.all()
    assert receipt.detail["adopted"] is True
    assert receipt.detail["target"] == f"host/{ATTACKER}"


def test_a_forged_flood_names_no_source_to_act_on(bench: Bench) -> None:
    bench.turn(suspect(kind="service", hosts=200))
    assert bench.shield.entries() == []
    assert bench.outcomes() == ["noted"]


def test_a_receipt_that_cannot_be_written_stops_nothing(bench: Bench) -> None:
    bench.store.append = lambda *given: (_ for _ in ()).throw(OSError("disk full"))  # type: ignore[method-assign]
    bench.turn(suspect())
    assert len(bench.shield.entries()) == 1
    assert bench.lane.figures()["receipts_failed"] == 1


def test_the_loop_stops_when_asked_and_puts_the_interpreter_back(bench: Bench) -> None:
    import gc

    turns = iter([False, False, True])
    bench.lane.run(lambda: next(turns))
    assert gc.isenabled()
    with poised():
        assert not gc.isenabled()
