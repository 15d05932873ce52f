"""Killed at every point: after a restart each plan is applied and recorded, or undone. Nothing in between.

A child process carries a plan out (and takes it back) on files that outlive it, and ends without clean-up at the named
point, as by a power cut or a SIGKILL. The parent opens the same files and recovers.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from loomidi.contracts import Step
from loomidi.ionic.act import FAULTS, Engine, ShieldDriver, SqliteReceipts
from loomidi.ionic.documents import rule_id
from loomidi.loom.capture.fake import FakeShield
from tests.unit.ionic.acting import SIGNER
from tests.unit.ionic.making import a_clock, a_plan

ROOT = Path(__file__).resolve().parents[3]
KILLED = 99
CHILD = """
import os, sys
from pathlib import Path
from tests.unit.ionic.acting import a_bench, approved, longer
from tests.unit.ionic.making import a_plan
folder, point, lane = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
bench = a_bench(lambda name: os._exit(99) if name == point else None, folder=folder)
plan = a_plan()
if lane == "fast":
    bench.engine.receipt_after(bench.engine.act_first(plan, approved(plan)))
else:
    bench.engine.carry_out(plan, approved(plan))
    bench.engine.extend(*longer(plan, 400))
bench.engine.undo(plan.id)
"""


def crash(folder: Path, point: str, lane: str) -> int:
    child = [sys.executable, "-c", CHILD, str(folder), point, lane]
    return subprocess.run(child, cwd=ROOT, check=False, timeout=120).returncode


def recovered(folder: Path) -> tuple[SqliteReceipts, FakeShield]:
    clock = a_clock()
    store = SqliteReceipts(folder / "receipts.sqlite", clock=clock)
    shield = FakeShield(clock=clock, path=folder / "shield.json")
    engine = Engine(store, [ShieldDriver(shield, SIGNER, clock=clock)], SIGNER, clock=clock)
    engine.recover()
    engine.adopt(shield)
    return store, shield


def settled(store: SqliteReceipts, shield: FakeShield) -> bool:
    """Every entry of ours has an open plan, every open plan an entry and a receipt that says so."""
    ours = {state.deny.rule_id for state in shield.entries() if state.live}
    leased = {store.of(plan_id)[0].inverse["rule_id"] for plan_id in store.open_plans()}
    last = {store.of(plan_id)[-1].step for plan_id in store.open_plans()}
    return ours == leased and last <= {Step.APPLIED, Step.VERIFIED} and store.verify_chain().broken_at is None


@pytest.mark.parametrize("point", FAULTS)
def test_the_slow_lane_is_settled_after_a_crash_at(tmp_path: Path, point: str) -> None:
    assert crash(tmp_path, point, "slow") == KILLED
    store, shield = recovered(tmp_path)
    assert settled(store, shield)
    store.close()


@pytest.mark.parametrize("point", ["applied_unrecorded", "applied_recorded", "undone_unrecorded", "undone_recorded"])
def test_the_fast_lane_is_settled_after_a_crash_at(tmp_path: Path, point: str) -> None:
    assert crash(tmp_path, point, "fast") == KILLED
    store, shield = recovered(tmp_path)
    assert settled(store, shield)
    store.close()


def test_an_effect_that_was_not_recorded_is_taken_back_in_the_slow_lane(tmp_path: Path) -> None:
    crash(tmp_path, "applied_unrecorded", "slow")
    store, shield = recovered(tmp_path)
    assert shield.entries() == []
    assert [receipt.step for receipt in store.of(a_plan().id)] == [Step.INTENT, Step.UNDONE]
    store.close()


def test_an_effect_that_was_recorded_stands(tmp_path: Path) -> None:
    crash(tmp_path, "applied_recorded", "slow")
    store, shield = recovered(tmp_path)
    assert [state.deny.rule_id for state in shield.entries()] == [rule_id(a_plan().id)]
    assert [receipt.step for receipt in store.of(a_plan().id)] == [Step.INTENT, Step.APPLIED, Step.VERIFIED]
    store.close()


def test_a_crash_during_recovery_is_recovered_from(tmp_path: Path) -> None:
    crash(tmp_path, "applied_unrecorded", "slow")
    again = CHILD.replace("bench.engine.carry_out(plan, approved(plan))", "bench.engine.recover(); os._exit(0)")
    child = [sys.executable, "-c", again, str(tmp_path), "undone_unrecorded", "slow"]
    assert subprocess.run(child, cwd=ROOT, check=False, timeout=120).returncode == KILLED
    store, shield = recovered(tmp_path)
    assert settled(store, shield)
    assert list(store.open_plans()) == []
    store.close()
