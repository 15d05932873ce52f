"""The shield driver: exact matches only, what was there before comes back, and nobody else's entry is touched."""

import pytest

from loomidi.contracts import FoldKind, Match
from loomidi.contracts.ports import Deny
from loomidi.ionic.act import ShieldDriver
from loomidi.loom.capture.fake import FakeShield, Packet
from tests.unit.ionic.acting import SIGNER, a_bench
from tests.unit.ionic.making import SERVICE, SOURCE, a_clock, a_fold, a_plan

FLOW = Match(SOURCE, "10.0.0.2", 40000, 80, 6)


def a_driver() -> ShieldDriver:
    return ShieldDriver(FakeShield(clock=a_clock()), SIGNER, clock=a_clock())


@pytest.mark.parametrize("match", [Match(SOURCE), Match("203.0.113.0/24"), Match("2001:db8::7"), FLOW])
def test_a_source_a_network_or_a_full_tuple_can_be_done(match: Match) -> None:
    assert a_driver().check(a_fold(match=match)) is None


@pytest.mark.parametrize(
    "match",
    [
        Match(destination="10.0.0.2"),
        Match(SOURCE, destination="10.0.0.2"),
        Match(SOURCE, destination_port=80),
        Match("203.0.113.0/24", "10.0.0.2", 1, 2, 6),
        Match("0.0.0.0/0"),
        Match("somewhere"),
        Match(),
    ],
)
def test_a_match_that_would_have_to_be_widened_is_refused(match: Match) -> None:
    assert a_driver().check(a_fold(match=match))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": FoldKind.ISOLATE_POD, "action": "isolate"},
        {"kind": FoldKind.SCALE_OUT, "action": "scale", "target": SERVICE},
        {"action": "count"},
        {"action": "rate", "rate_pps": 0},
        {"ttl_s": 0.0},
    ],
)
def test_what_is_no_matter_of_packets_is_refused(changes: dict[str, object]) -> None:
    assert a_driver().check(a_fold(**changes))


def test_an_entry_set_by_hand_comes_back_with_the_time_it_has_left() -> None:
    bench = a_bench()
    bench.shield.deny(Deny(Match(SOURCE), "rate", 3600.0, rate_pps=7, burst=7))
    bench.carry_out(a_plan())
    bench.clock.sleep(100)
    bench.engine.undo(a_plan().id)
    state = bench.shield.entry(Match(SOURCE))
    assert state is not None
    assert (state.deny.action, state.deny.rate_pps, state.deny.rule_id) == ("rate", 7, 0)
    assert state.expires_ns - bench.clock.now_ns() == 3500 * 10**9


def test_an_entry_whose_own_time_is_over_does_not_come_back() -> None:
    bench = a_bench()
    bench.shield.deny(Deny(Match(SOURCE), "rate", 50.0, rate_pps=7))
    bench.carry_out(a_plan())
    bench.clock.sleep(100)
    bench.engine.undo(a_plan().id)
    assert bench.shield.entries() == []


def test_escalation_replaces_the_rate_and_undoing_the_rate_leaves_the_drop() -> None:
    bench = a_bench()
    bench.carry_out(a_plan("rate"))
    bench.carry_out(a_plan("drop"))
    bench.engine.undo(a_plan("rate").id)
    assert not bench.shield.packet(Packet(SOURCE))
    assert bench.engine.undo(a_plan("drop").id).detail["restored"] is False
    assert bench.shield.packet(Packet(SOURCE))


def test_undoing_the_drop_brings_the_rate_back_while_the_rate_is_at_work() -> None:
    bench = a_bench()
    bench.carry_out(a_plan("rate"))
    bench.carry_out(a_plan("drop"))
    assert bench.engine.undo(a_plan("drop").id).detail["restored"] is True
    assert bench.shield.entries()[0].deny.action == "rate"


def test_an_entry_that_somebody_has_put_there_since_is_left_alone() -> None:
    bench = a_bench()
    bench.carry_out(a_plan())
    bench.shield.deny(Deny(Match(SOURCE), "count", 60.0, rule_id=99))
    assert bench.engine.undo(a_plan().id).detail["found"] == "rule 99"
    assert bench.shield.entries()[0].deny.rule_id == 99


def test_an_entry_is_found_however_its_address_is_written() -> None:
    class Reads:
        """A shield without look-up, which writes addresses in full."""

        name, rung = "reads", "fake"

        def __init__(self) -> None:
            self._inner = FakeShield(clock=a_clock())
            self._inner.deny(Deny(Match("2001:db8::7"), "drop", 60.0))

        def entries(self) -> object:
            return self._inner.entries()

    driver = ShieldDriver(Reads(), SIGNER, clock=a_clock())  # type: ignore[arg-type]
    inverse = driver.inverse(a_fold(match=Match("2001:0db8:0:0:0:0:0:7/128")))
    assert inverse["before"]["action"] == "drop"
