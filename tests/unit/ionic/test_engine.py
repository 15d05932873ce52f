"""The engine: write ahead, act once, verify, take back; never in shadow mode."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from loomidi.contracts import Approval, FoldSpec, LoomidiError, Mode, Plan, Refused, Step
from loomidi.ionic.act import DryRunDriver, Engine, MemoryReceipts
from loomidi.ionic.errors import ApprovalInvalid, NotActing
from loomidi.loom.capture.fake import Packet
from tests.unit.ionic.acting import SIGNER, a_bench, approved, plan_for
from tests.unit.ionic.making import NOW_NS, SOURCE, a_clock, a_plan


class Breaks(DryRunDriver):
    """A driver that fails where it is told to, after its effect."""

    name = "breaks"

    def __init__(self, where: str, error: Exception) -> None:
        super().__init__(SIGNER, clock=a_clock())
        self.where, self.error, self.calls = where, error, list[str]()

    def _fail(self, where: str) -> None:
        self.calls.append(where)
        if where == self.where:
            raise self.error

    def inverse(self, fold: FoldSpec) -> Mapping[str, Any]:
        self._fail("inverse")
        return super().inverse(fold)

    def apply(self, plan: Plan, approval: Approval, token: int = 0) -> Mapping[str, Any]:
        result = super().apply(plan, approval, token)
        self._fail("apply")
        return result

    def verify(self, plan: Plan) -> Mapping[str, Any]:
        self._fail("verify")
        return super().verify(plan)

    def undo(self, inverse: Mapping[str, Any]) -> Mapping[str, Any]:
        self._fail("undo")
        return super().undo(inverse)


def breaking(where: str, error: Exception) -> tuple[Engine, Breaks, MemoryReceipts]:
    driver, store = Breaks(where, error), MemoryReceipts(clock=a_clock())
    return Engine(store, [driver], SIGNER, clock=a_clock()), driver, store


def test_a_plan_is_intended_applied_and_verified_in_this_order() -> None:
    bench = a_bench()
    assert bench.carry_out(a_plan()) == "verified"
    assert bench.steps(a_plan()) == ["intent", "applied", "verified"]
    assert bench.blocked() == [SOURCE]


def test_the_inverse_is_on_record_before_the_effect() -> None:
    seen: list[tuple[list[str], list[str]]] = []

    def look(name: str) -> None:
        if name in ("intent_stored", "applied_unrecorded"):
            seen.append((bench.steps(a_plan()), bench.blocked()))

    bench = a_bench(look)
    bench.carry_out(a_plan())
    assert seen == [(["intent"], []), (["intent"], [SOURCE])]
    assert bench.store.of(a_plan().id)[0].inverse["before"] is None


def test_the_block_drops_and_is_verified_by_its_counters() -> None:
    bench = a_bench()
    bench.carry_out(a_plan())
    assert [bench.shield.packet(Packet(SOURCE)) for _ in range(3)] == [False] * 3
    detail = bench.engine.verify(a_plan().id).detail
    assert (detail["hits"], detail["dropped"], detail["octets"]) == (3, 3, 180)


def test_undone_it_lets_packets_pass_again() -> None:
    bench = a_bench()
    bench.carry_out(a_plan())
    assert bench.engine.undo(a_plan().id).step is Step.UNDONE
    assert bench.shield.packet(Packet(SOURCE))
    assert bench.engine.active() == {}


def test_at_its_ttl_it_is_taken_back_and_receipted() -> None:
    bench = a_bench()
    bench.carry_out(a_plan())
    bench.clock.sleep(299)
    assert bench.engine.expire_due() == []
    bench.clock.sleep(1)
    assert [receipt.step for receipt in bench.engine.expire_due()] == [Step.EXPIRED]
    assert bench.shield.entries() == []


def test_the_same_plan_is_carried_out_once() -> None:
    bench = a_bench()
    first, second = (bench.engine.carry_out(a_plan(), approved(a_plan())) for _ in range(2))
    assert first == second
    assert bench.steps(a_plan()) == ["intent", "applied", "verified"]


def test_a_plan_that_is_over_is_not_begun_again() -> None:
    bench = a_bench()
    bench.carry_out(a_plan())
    bench.engine.undo(a_plan().id)
    assert bench.carry_out(a_plan()) == "undone"
    assert bench.blocked() == []


def test_shadow_is_put_on_record_and_reaches_no_apply() -> None:
    engine, driver, store = breaking("apply", AssertionError("shadow reached apply"))
    plan = a_plan(mode=Mode.SHADOW)
    assert engine.carry_out(plan, approved(plan)).step is Step.REFUSED
    assert driver.calls == []
    assert "nothing was touched" in store.of(plan.id)[0].detail["why"]
    assert len(store.of(plan.id)) == len([engine.carry_out(plan, approved(plan))])


def test_shadow_reaches_no_apply_in_the_fast_lane_either() -> None:
    bench, plan = a_bench(), a_plan(mode=Mode.SHADOW)
    with pytest.raises(NotActing, match="shadow"):
        bench.engine.act_first(plan, approved(plan))
    assert bench.shield.entries() == []


def test_a_forged_approval_leaves_no_trace_in_the_data_plane_or_the_store() -> None:
    bench = a_bench()
    forged = dataclasses.replace(approved(a_plan()), approver="root")
    with pytest.raises(ApprovalInvalid):
        bench.engine.carry_out(a_plan(), forged)
    assert (bench.steps(a_plan()), bench.shield.entries()) == ([], [])


def test_a_fold_that_no_driver_can_do_is_refused_with_the_reasons() -> None:
    bench, plan = a_bench(), plan_for("")
    with pytest.raises(Refused, match="shield:fake0: the shield matches by source"):
        bench.engine.carry_out(plan, approved(plan))


def test_the_first_driver_that_can_do_it_does_it() -> None:
    bench = a_bench(drivers=lambda shield: [shield, DryRunDriver(SIGNER, clock=a_clock())])
    assert bench.engine.carry_out(a_plan(), approved(a_plan())).driver == "shield:fake0"
    plan = plan_for("")
    assert bench.engine.carry_out(plan, approved(plan)).driver == "dry-run"


def test_an_apply_that_fails_after_its_effect_is_taken_back() -> None:
    engine, driver, store = breaking("apply", LoomidiError("the table is full"))
    receipt = engine.carry_out(a_plan(), approved(a_plan()))
    assert (receipt.step, receipt.detail["why"]) == (Step.UNDONE, "LoomidiError: the table is full")
    assert driver.standing == set()
    assert list(store.open_plans()) == []


def test_a_foreign_fault_is_taken_back_and_told() -> None:
    engine, driver, _ = breaking("apply", RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        engine.carry_out(a_plan(), approved(a_plan()))
    assert driver.standing == set()


def test_what_does_not_hold_is_taken_back() -> None:
    bench = a_bench(lambda name: bench.shield.disarm() if name == "applied_recorded" else None)
    assert bench.carry_out(a_plan()) == "undone"
    assert bench.shield.entries() == []


def test_an_undo_that_fails_stays_open_and_is_tried_again() -> None:
    engine, driver, store = breaking("undo", LoomidiError("busy"))
    engine.carry_out(a_plan(), approved(a_plan()))
    assert engine.undo(a_plan().id).step is Step.FAILED
    assert list(store.open_plans()) == [a_plan().id]
    driver.where = ""
    assert [receipt.step for receipt in engine.recover()] == [Step.UNDONE]
    assert driver.standing == set()


def test_an_inverse_that_cannot_be_computed_stops_before_the_effect() -> None:
    engine, driver, store = breaking("inverse", LoomidiError("cannot read the table"))
    with pytest.raises(LoomidiError, match="cannot read"):
        engine.carry_out(a_plan(), approved(a_plan()))
    assert (driver.calls, store.all()) == (["inverse"], [])


def test_active_plans_are_counted_by_target() -> None:
    bench = a_bench()
    for plan in (a_plan("rate"), a_plan("drop"), plan_for("198.51.100.1")):
        bench.carry_out(plan)
    assert bench.engine.active() == {f"host/{SOURCE}": 2, "host/198.51.100.1": 1}


def test_undoing_what_was_never_begun_says_so() -> None:
    with pytest.raises(NotActing, match="never begun"):
        a_bench().engine.undo("plan-unknown")


def test_verifying_what_is_over_says_so() -> None:
    bench = a_bench()
    bench.carry_out(a_plan())
    bench.engine.undo(a_plan().id)
    with pytest.raises(NotActing, match="not at work"):
        bench.engine.verify(a_plan().id)


def test_a_restarted_engine_knows_what_is_at_work() -> None:
    bench = a_bench()
    bench.carry_out(a_plan())
    again = Engine(bench.store, [], SIGNER, clock=bench.clock)
    assert again.active() == {f"host/{SOURCE}": 1}
    assert again.open_leases()[0].plan == a_plan()
    assert again.open_leases()[0].until_ns == NOW_NS + 300_000_000_000


def test_a_plan_of_a_driver_that_is_not_here_is_left_open() -> None:
    bench = a_bench()
    bench.carry_out(a_plan())
    Engine(bench.store, [], SIGNER, clock=bench.clock).recover()
    assert list(bench.store.open_plans()) == [a_plan().id]
