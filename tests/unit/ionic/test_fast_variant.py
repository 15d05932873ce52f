"""The fast lane's variant: the entry first, the receipt right after, and adopted when a crash came between."""

import threading
from typing import Any

import pytest

from loomidi.contracts import Match, Receipt, Step
from loomidi.contracts.ports import Deny
from loomidi.ionic.act import Engine, ShieldDriver
from loomidi.ionic.errors import ApprovalInvalid, NotActing
from tests.unit.ionic.acting import SIGNER, Bench, a_bench, approved, plan_for
from tests.unit.ionic.making import SOURCE, a_plan


def restarted(bench: Bench) -> Engine:
    """A new process on the same data plane and the same store."""
    driver = ShieldDriver(bench.shield, SIGNER, clock=bench.clock)
    return Engine(bench.store, [driver], SIGNER, clock=bench.clock)


def test_acting_does_not_wait_for_a_receipt_that_is_being_written() -> None:
    bench = a_bench()
    acted = bench.engine.act_first(a_plan(), approved(a_plan()))
    writing, go_on, append = threading.Event(), threading.Event(), bench.store.append

    def slow_disk(*given: Any) -> Receipt:
        writing.set()
        assert go_on.wait(30)
        return append(*given)

    bench.store.append = slow_disk  # type: ignore[method-assign]
    writer = threading.Thread(target=bench.engine.receipt_after, args=(acted,))
    writer.start()
    assert writing.wait(30)
    other = plan_for("192.0.2.5")
    bench.engine.act_first(other, approved(other))  # would never return if it waited
    assert bench.blocked() == [SOURCE, "192.0.2.5"]
    go_on.set()
    writer.join()


def test_nothing_is_written_before_the_entry_stands() -> None:
    bench = a_bench()
    bench.engine.act_first(a_plan(), approved(a_plan()))
    assert (bench.blocked(), bench.steps(a_plan())) == ([SOURCE], [])


def test_the_receipt_after_makes_it_a_plan_like_any_other() -> None:
    bench = a_bench()
    bench.engine.receipt_after(bench.engine.act_first(a_plan(), approved(a_plan())))
    assert bench.steps(a_plan()) == ["applied"]
    assert bench.engine.verify(a_plan().id).step is Step.VERIFIED
    assert bench.engine.undo(a_plan().id).step is Step.UNDONE
    assert bench.blocked() == []


def test_a_receipt_is_written_once() -> None:
    bench = a_bench()
    acted = bench.engine.act_first(a_plan(), approved(a_plan()))
    assert bench.engine.receipt_after(acted) == bench.engine.receipt_after(acted)
    assert bench.steps(a_plan()) == ["applied"]


def test_a_plan_at_work_is_not_acted_on_again() -> None:
    bench = a_bench()
    bench.engine.receipt_after(bench.engine.act_first(a_plan(), approved(a_plan())))
    with pytest.raises(NotActing, match="begun already"):
        bench.engine.act_first(a_plan(), approved(a_plan()))


def test_an_expired_approval_writes_no_entry() -> None:
    bench = a_bench()
    bench.clock.sleep(61)
    with pytest.raises(ApprovalInvalid):
        bench.engine.act_first(a_plan(), approved(a_plan()))
    assert bench.shield.entries() == []


def test_an_entry_whose_receipt_a_crash_has_lost_is_adopted() -> None:
    bench = a_bench()
    bench.engine.act_first(a_plan(), approved(a_plan()))
    engine = restarted(bench)
    receipts = engine.adopt(bench.shield)
    assert [(receipt.step, receipt.detail["adopted"]) for receipt in receipts] == [(Step.APPLIED, True)]
    assert engine.active() == {f"host/{SOURCE}": 1}
    assert engine.undo(receipts[0].plan_id).step is Step.UNDONE
    assert bench.blocked() == []


def test_an_adopted_entry_is_receipted_when_its_time_is_over() -> None:
    bench = a_bench()
    bench.engine.act_first(a_plan(), approved(a_plan()))
    engine = restarted(bench)
    engine.adopt(bench.shield)
    bench.clock.sleep(300)
    assert [receipt.step for receipt in engine.expire_due()] == [Step.EXPIRED]
    assert list(bench.store.open_plans()) == []


def test_adopting_twice_is_adopting_once_also_after_another_restart() -> None:
    bench = a_bench()
    bench.engine.act_first(a_plan(), approved(a_plan()))
    engine = restarted(bench)
    assert len(engine.adopt(bench.shield)) == 1
    assert engine.adopt(bench.shield) == []
    assert restarted(bench).adopt(bench.shield) == []


def test_entries_with_a_receipt_set_by_hand_or_dead_are_not_adopted() -> None:
    bench = a_bench()
    bench.engine.receipt_after(bench.engine.act_first(a_plan(), approved(a_plan())))
    bench.shield.deny(Deny(Match("192.0.2.77"), "drop", 600.0))
    brief = plan_for("192.0.2.78", "rate")
    bench.engine.act_first(brief, approved(brief))
    bench.clock.sleep(60)
    assert restarted(bench).adopt(bench.shield) == []


def test_recover_keeps_an_adopted_entry_until_its_time() -> None:
    bench = a_bench()
    bench.engine.act_first(a_plan(), approved(a_plan()))
    restarted(bench).adopt(bench.shield)
    assert [receipt.step for receipt in restarted(bench).recover()] == [Step.APPLIED]
    assert bench.blocked() == [SOURCE]
