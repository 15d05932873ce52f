"""A later end for a plan at work: approved by itself, on record before and after, bounded, once by its id."""

import dataclasses

import pytest

from loomidi.contracts import Mode, Step
from loomidi.ionic.act import Engine
from loomidi.ionic.errors import ApprovalInvalid, NotActing
from tests.unit.ionic.acting import SIGNER, Bench, a_bench, approved, longer
from tests.unit.ionic.making import NOW_NS, a_plan


def at_work() -> Bench:
    bench = a_bench()
    bench.carry_out(a_plan())  # it lasts 300 s
    return bench


def test_it_is_on_record_before_and_after_its_end_moves() -> None:
    bench = at_work()
    receipt = bench.engine.extend(*longer(a_plan(), 600))
    assert (receipt.step, receipt.detail["until_ns"]) == (Step.EXTENDED, NOW_NS + 600_000_000_000)
    assert bench.steps(a_plan()) == ["intent", "applied", "verified", "extending", "extended"]
    assert bench.shield.entries()[0].expires_ns == NOW_NS + 600_000_000_000


def test_it_ends_at_the_later_end_also_after_a_restart() -> None:
    bench = at_work()
    bench.engine.extend(*longer(a_plan(), 600))
    again = Engine(bench.store, list(bench.engine._drivers.values()), SIGNER, clock=bench.clock)
    bench.clock.sleep(599)
    assert again.expire_due() == []
    bench.clock.sleep(1)
    assert [one.step for one in again.expire_due()] == [Step.EXPIRED]


def test_beyond_the_longest_life_it_is_refused_counted_and_on_record() -> None:
    bench = at_work()
    receipt = bench.engine.extend(*longer(a_plan(), 3601))
    assert (receipt.step, receipt.detail["reason"]) == (Step.REFUSED, "too-long")
    assert "3601 s in all, and 3600 s are the most" in receipt.detail["why"]
    assert bench.engine.refused == {"too-long": 1}
    assert bench.engine.open_leases()[0].until_ns == NOW_NS + 300_000_000_000


def test_the_longest_life_counts_from_the_first_effect_over_all_extensions() -> None:
    bench = at_work()
    bench.engine.extend(*longer(a_plan(), 3000))
    bench.clock.sleep(2000)
    now = bench.clock.now_ns()
    assert bench.engine.extend(*longer(a_plan(), 3700, now)).detail["reason"] == "too-long"
    assert bench.engine.extend(*longer(a_plan(), 3600, now)).step is Step.EXTENDED


@pytest.mark.parametrize("until_s", [600, 9999])
def test_the_same_extension_is_answered_once(until_s: float) -> None:
    bench = at_work()
    first, second = (bench.engine.extend(*longer(a_plan(), until_s)) for _ in range(2))
    assert first == second
    assert len([one for one in bench.steps(a_plan()) if one in ("extended", "refused")]) == 1


def test_an_end_that_is_not_later_is_refused() -> None:
    assert at_work().engine.extend(*longer(a_plan(), 300)).detail["reason"] == "not-later"


def test_what_is_over_or_was_never_begun_has_nothing_to_extend() -> None:
    bench = a_bench()
    with pytest.raises(NotActing, match="not at work"):
        bench.engine.extend(*longer(a_plan(), 600))
    bench.carry_out(a_plan())
    bench.engine.undo(a_plan().id)
    with pytest.raises(NotActing, match="not at work"):
        bench.engine.extend(*longer(a_plan(), 600))


def test_the_plans_own_approval_opens_no_extension() -> None:
    bench = at_work()
    extension, leave = longer(a_plan(), 600)
    for wrong in (approved(a_plan()), dataclasses.replace(leave, approver="ada"), longer(a_plan(), 700)[1]):
        with pytest.raises(ApprovalInvalid):
            bench.engine.extend(extension, wrong)
    assert bench.steps(a_plan()) == ["intent", "applied", "verified"]
    assert bench.engine.refused == {"approval": 3}


def test_in_mode_suggest_it_takes_a_person_again() -> None:
    bench, plan = a_bench(), a_plan(mode=Mode.SUGGEST)
    bench.engine.carry_out(plan, approved(plan, "ada"))
    with pytest.raises(ApprovalInvalid, match="person"):
        bench.engine.extend(*longer(plan, 600))


def test_an_extension_after_somebody_elses_act_is_refused_and_its_end_stays() -> None:
    bench = at_work()
    (driver,) = bench.engine._drivers.values()

    def slow(point: str) -> None:
        if point == "extending_stored":
            newer = a_plan("rate")
            driver.apply(newer, approved(newer))

    engine = Engine(bench.store, [driver], SIGNER, clock=bench.clock, fault=slow)
    assert engine.extend(*longer(a_plan(), 600)).detail["reason"] == "fenced"
    assert [state.deny.action for state in bench.shield.entries()] == ["rate"]
    assert engine.open_leases()[0].until_ns == NOW_NS + 300_000_000_000


def test_when_the_driver_cannot_the_lease_ends_as_before() -> None:
    bench = at_work()
    bench.shield.disarm()
    receipt = bench.engine.extend(*longer(a_plan(), 600))
    assert (receipt.step, receipt.detail["reason"]) == (Step.REFUSED, "driver")
    assert bench.blocked() == []


def test_a_crash_in_between_leaves_the_end_that_is_on_record() -> None:
    bench = at_work()

    def crash(point: str) -> None:
        if point == "extended_unrecorded":
            raise KeyboardInterrupt

    engine = Engine(bench.store, list(bench.engine._drivers.values()), SIGNER, clock=bench.clock, fault=crash)
    with pytest.raises(KeyboardInterrupt):
        engine.extend(*longer(a_plan(), 600))
    again = Engine(bench.store, list(bench.engine._drivers.values()), SIGNER, clock=bench.clock)
    assert [one.step for one in again.recover()] == [Step.VERIFIED]
    bench.clock.sleep(300)
    again.expire_due()
    assert bench.blocked() == []
