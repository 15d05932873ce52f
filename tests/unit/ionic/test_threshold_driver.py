"""The threshold driver and its guards: tuning is a plan with an inverse, an end and limits of its own."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from loomidi.contracts import FoldKind, FoldSpec, Match, Mode, Plan, Severity, Step
from loomidi.ionic.act import Engine, MemoryReceipts, ThresholdDriver
from loomidi.ionic.decide import PlanRefused
from loomidi.ionic.documents import read_plan, rule_id
from loomidi.kit.clock import ManualClock
from loomidi.loom.capture.twin import TwinSettings, TwinShield
from loomidi.services.fast.waking import waking
from tests.unit.ionic.making import NOW_NS, SERVICE, a_decider, a_finding

GIVEN = {"packets": 600, "syns": 150, "window_ms": 1000}


def a_tuning(**changes: Any) -> FoldSpec:
    finding = a_tuning_finding()
    fold = FoldSpec(FoldKind.RECONFIGURE_NETWORK, SERVICE, "tune", ttl_s=60.0, because=finding.id, undo="put back")
    return dataclasses.replace(fold, **({"thresholds": GIVEN} | changes))


def a_tuning_finding() -> Any:
    return a_finding("threshold_off", severity=Severity.LOW, entities=(SERVICE,))


class Bench:
    """A twin, the driver, an engine and a decider on one clock."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW_NS)
        self.shield = TwinShield(settings=TwinSettings(watch=waking()))
        self.shield.move_to(NOW_NS)
        self.store = MemoryReceipts(clock=self.clock)
        self.engine = Engine(self.store, [ThresholdDriver(self.shield, clock=self.clock)], clock=self.clock)

    def plan(self, fold: FoldSpec, mode: Mode = Mode.GUARDED) -> tuple[Plan, Any]:
        decider = a_decider(mode, clock=self.clock)
        plan = decider.plan(a_tuning_finding(), fold)
        return plan, decider.decide(plan)

    def own(self) -> list[tuple[int, int]]:
        return [(own.limits.syns, own.rule_id) for own in self.shield.own_limits() if own.live]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.shield.close()


def test_a_change_is_applied_verified_and_taken_back_with_a_receipt_each(bench: Bench) -> None:
    plan, approval = bench.plan(a_tuning())
    assert bench.engine.carry_out(plan, approval).step is Step.VERIFIED
    assert bench.own() == [(150, rule_id(plan.id))]
    assert bench.engine.undo(plan.id).detail["undone"] is True
    assert bench.own() == []
    assert [r.step for r in bench.store.of(plan.id)] == [Step.INTENT, Step.APPLIED, Step.VERIFIED, Step.UNDONE]


def test_counters_that_are_not_named_keep_the_thresholds_of_all(bench: Bench) -> None:
    bench.engine.carry_out(*bench.plan(a_tuning()))
    (own,) = bench.shield.own_limits()
    assert (own.limits.packets, own.limits.octets) == (600, waking().service.octets)


def test_the_inverse_of_a_second_change_is_the_first(bench: Bench) -> None:
    first, approval = bench.plan(a_tuning())
    bench.engine.carry_out(first, approval)
    second, approval = bench.plan(a_tuning(thresholds=GIVEN | {"syns": 99}))
    bench.engine.carry_out(second, approval)
    assert bench.store.of(second.id)[0].inverse["before"]["limits"]["syns"] == 150
    assert bench.engine.undo(second.id).detail["restored"] is True
    assert bench.own() == [(150, rule_id(first.id))]


def test_at_its_end_the_kernel_forgets_it_and_the_receipt_says_so(bench: Bench) -> None:
    plan, approval = bench.plan(a_tuning())
    bench.engine.carry_out(plan, approval)
    bench.clock.move(61 * 10**9)
    bench.shield.move_to(bench.clock.now_ns())
    assert bench.own() == []
    assert [receipt.step for receipt in bench.engine.expire_due()] == [Step.EXPIRED]


def test_in_mode_shadow_nothing_changes_and_the_plan_is_on_record(bench: Bench) -> None:
    plan, approval = bench.plan(a_tuning(), Mode.SHADOW)
    receipt = bench.engine.carry_out(plan, approval)
    assert (receipt.step, bench.own()) == (Step.REFUSED, [])
    assert read_plan(receipt.detail["plan"]) == plan


@pytest.mark.parametrize(
    "changes",
    [
        {"thresholds": {}},
        {"thresholds": {"window_ms": 1000}},
        {"thresholds": {"syns": 150}},
        {"thresholds": GIVEN | {"syns": 0}},
        {"thresholds": GIVEN | {"syns": 10**9}},
        {"thresholds": GIVEN | {"surprise": 5}},
        {"target": "service/shop/cart:80/tcp"},
        {"target": "network/10.0.0.0/8"},
        {"match": Match(source="203.0.113.7")},
        {"kind": FoldKind.SCALE_OUT},
        {"ttl_s": 1e6},
        {"undo": ""},
    ],
)
def test_both_guards_refuse_what_leaves_their_limits(bench: Bench, changes: dict[str, Any]) -> None:
    with pytest.raises(PlanRefused):
        bench.plan(a_tuning(**changes))


def test_what_is_protected_is_not_tuned(bench: Bench) -> None:
    decider = a_decider(Mode.GUARDED, ("10.0.0.0/24",), clock=bench.clock)
    with pytest.raises(PlanRefused, match="protected"):
        decider.decide(decider.plan(a_tuning_finding(), a_tuning()))


def test_windows_of_another_length_are_refused_by_the_driver(bench: Bench) -> None:
    driver = ThresholdDriver(bench.shield, clock=bench.clock)
    assert driver.check(a_tuning()) is None
    assert "500 ms" in (driver.check(a_tuning(thresholds=GIVEN | {"window_ms": 500})) or "")
    bench.shield.watch(None)
    assert "no short-window counters" in (driver.check(a_tuning()) or "")
