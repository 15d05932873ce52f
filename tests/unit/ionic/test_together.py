"""Many plans, their receipts by one wait for the disk: for each of them all holds that holds for one."""

from collections.abc import Sequence
from typing import Any

import pytest

from loomidi.contracts import EnvironmentLacks, LoomidiError, Plan, Receipt, Step
from loomidi.contracts.ports import Line
from loomidi.ionic.act import Engine, MemoryReceipts
from loomidi.ionic.errors import ApprovalInvalid, PlanHeld
from tests.unit.ionic.acting import SIGNER, a_bench, approved, plan_for
from tests.unit.ionic.making import NOW_NS, SOURCE, a_clock
from tests.unit.ionic.test_engine import Breaks

PLANS = [plan_for(f"198.51.100.{last}") for last in range(1, 6)]


class Writes(MemoryReceipts):
    """Counts the writes; full from the `full`-th on."""

    def __init__(self, full: int = 99) -> None:
        super().__init__(clock=a_clock())
        self.full, self.writes = full, list[tuple[str, ...]]()

    def append_all(self, lines: Sequence[Line], *, ended_stays: bool = False) -> list[Receipt | None]:
        if len(self.writes) >= self.full:
            raise EnvironmentLacks("no space left on device")
        self.writes.append(tuple(line.step.value for line in lines))
        return super().append_all(lines, ended_stays=ended_stays)


def engine_over(store: Writes) -> tuple[Engine, Breaks]:
    driver = Breaks("", LoomidiError("broken"))
    return Engine(store, [driver], SIGNER, clock=a_clock()), driver


def all_of(plans: Sequence[Plan]) -> list[tuple[Plan, Any]]:
    return [(plan, approved(plan)) for plan in plans]


def test_a_life_of_many_is_four_writes() -> None:
    store = Writes()
    engine, driver = engine_over(store)
    assert {one.step for one in engine.carry_out_all(all_of(PLANS)) if isinstance(one, Receipt)} == {Step.VERIFIED}
    engine.undo_all([plan.id for plan in PLANS])
    assert store.writes == [(step,) * 5 for step in ("intent", "applied", "verified", "undone")]
    assert (driver.standing, store.verify_chain().broken_at) == (set(), None)


def test_every_inverse_is_on_record_before_the_first_effect() -> None:
    bench = a_bench(lambda name: seen.append(sum(map(len, map(bench.steps, PLANS)))) if name == "approved" else None)
    seen: list[int] = []
    looks: list[tuple[list[str], int]] = []
    write = bench.shield.deny
    bench.shield.deny = lambda deny: (  # type: ignore[method-assign]
        looks.append(([one for plan in PLANS for one in bench.steps(plan)], len(bench.blocked()))),
        write(deny),
    )[1]
    bench.engine.carry_out_all(all_of(PLANS))
    assert looks == [(["intent"] * 5, number) for number in range(5)]
    assert seen == [0] * 5


def test_plans_on_one_target_go_one_after_the_other() -> None:
    bench = a_bench()
    rate, drop = plan_for(SOURCE, "rate"), plan_for(SOURCE, "drop")
    bench.engine.carry_out_all(all_of([rate, drop]))
    assert bench.store.of(drop.id)[0].inverse["before"]["action"] == "rate"
    bench.engine.undo(drop.id)
    assert [state.deny.action for state in bench.shield.entries()] == ["rate"]


def test_taken_back_together_none_brings_anothers_entry_back() -> None:
    bench = a_bench()
    rate, drop = plan_for(SOURCE, "rate"), plan_for(SOURCE, "drop")
    bench.engine.carry_out_all(all_of([rate, drop]))
    bench.engine.undo_all([rate.id, drop.id])
    assert bench.shield.entries() == []


def test_one_without_leave_does_not_keep_the_others_from_it() -> None:
    bench = a_bench()
    approvals = [approved(plan) for plan in (PLANS[1], *PLANS[1:])]
    first, *rest = bench.engine.carry_out_all(list(zip(PLANS, approvals, strict=True)))
    assert isinstance(first, ApprovalInvalid)
    assert [one.step for one in rest if isinstance(one, Receipt)] == [Step.VERIFIED] * 4
    assert (bench.steps(PLANS[0]), bench.engine.refused) == ([], {"approval": 1})


def test_the_same_plan_twice_is_carried_out_once() -> None:
    bench = a_bench()
    first, second = bench.engine.carry_out_all(all_of([PLANS[0], PLANS[0]]))
    assert first == second
    assert bench.steps(PLANS[0]) == ["intent", "applied", "verified"]


@pytest.mark.parametrize("full", [0, 1, 2])
def test_a_full_disk_leaves_nothing_in_force_that_is_not_on_record(full: int) -> None:
    store = Writes(full)
    engine, driver = engine_over(store)
    answers = engine.carry_out_all(all_of(PLANS))
    assert all(isinstance(one, EnvironmentLacks) for one in answers)
    assert driver.standing == set()
    store.full = 99
    engine.recover()
    assert list(store.open_plans()) == []


def test_a_lease_that_somebody_holds_does_not_keep_the_others_from_theirs() -> None:
    store = Writes()
    engine, driver = engine_over(store)
    lines = [Line(plan.id, Step.INTENT, driver.name, {}, {}) for plan in PLANS]
    store.append(PLANS[2].id, Step.INTENT, driver.name, {}, {})
    found = engine._books.begin(lines)
    assert [isinstance(one, PlanHeld) for one in found] == [False, False, True, False, False]


def test_a_clock_that_is_set_back_lends_no_time() -> None:
    bench = a_bench()
    bench.carry_out(PLANS[0])
    passed = bench.clock.now_ns
    bench.clock.now_ns = lambda: passed() - 7200 * 10**9  # type: ignore[method-assign]
    bench.clock.monotonic_ns = lambda: passed()  # type: ignore[method-assign]
    bench.clock.sleep(300)
    assert [one.step for one in bench.engine.expire_due()] == [Step.EXPIRED]
    assert passed() == NOW_NS + 300 * 10**9
