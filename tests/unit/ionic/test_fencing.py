"""Two engines, one target: the one that began later wins, whatever is slow meanwhile."""

import subprocess
import sys
from pathlib import Path

import pytest

from loomidi.contracts import EnvironmentLacks, Plan, Step
from loomidi.ionic.act import Engine, Fence, ShieldDriver, SqliteReceipts
from loomidi.ionic.documents import rule_id
from loomidi.ionic.errors import Fenced
from loomidi.loom.capture.fake import FakeShield
from tests.unit.ionic.acting import SIGNER, Bench, a_bench, approved, plan_for
from tests.unit.ionic.making import SOURCE, a_clock

ROOT = Path(__file__).resolve().parents[3]
OLDER, NEWER = plan_for(SOURCE, "rate"), plan_for(SOURCE, "drop")
CHILD = """
import sys
from pathlib import Path
from loomidi.ionic.act import Engine, Fence, ShieldDriver, SqliteReceipts
from loomidi.loom.capture.fake import FakeShield
from tests.unit.ionic.acting import SIGNER, approved
from tests.unit.ionic.making import a_clock
from tests.unit.ionic.test_fencing import OLDER
folder, clock = Path(sys.argv[1]), a_clock()
def slow(point):
    if point == "intent_stored":
        print("begun", flush=True)
        sys.stdin.readline()
shield = FakeShield(clock=clock, path=folder / "shield.json")
driver = ShieldDriver(shield, SIGNER, clock=clock, fence=Fence(folder / "fence"))
engine = Engine(SqliteReceipts(folder / "receipts.sqlite", clock=clock), [driver], SIGNER, clock=clock, fault=slow)
print(engine.carry_out(OLDER, approved(OLDER)).step.value, dict(engine.refused), flush=True)
"""


def beside(bench: Bench) -> Engine:
    """Another engine over the same store and data plane, as a second agent has it."""
    (driver,) = bench.engine._drivers.values()
    return Engine(bench.store, [driver], SIGNER, clock=bench.clock)


def meanwhile(act: str, plan: Plan = NEWER) -> Bench:
    """The older plan is slow between its intent and its effect; meanwhile another engine acts."""
    others: list[Engine] = []

    def slow(point: str) -> None:
        if point == "intent_stored" and others:
            other = others.pop()
            other.recover() if act == "recover" else other.carry_out(plan, approved(plan))

    bench = a_bench(slow)
    others.append(beside(bench))
    return bench


def in_force(shield: FakeShield) -> list[int]:
    return [state.deny.rule_id for state in shield.entries() if state.live]


def test_the_older_token_is_refused_before_its_effect() -> None:
    bench = meanwhile("carry out")
    assert bench.carry_out(OLDER) == "undone"
    assert in_force(bench.shield) == [rule_id(NEWER.id)]
    assert bench.steps(OLDER) == ["intent", "refused", "undone"]
    assert bench.engine.refused == {"fenced": 1}


def test_its_receipt_says_by_which_token_it_was_refused() -> None:
    bench = meanwhile("carry out")
    bench.carry_out(OLDER)
    _, refused, _ = bench.store.of(OLDER.id)
    assert (refused.detail["reason"], refused.detail["token"], refused.detail["newest"]) == ("fenced", 1, 2)
    assert "acted there since" in refused.detail["why"]


def test_what_another_engine_has_taken_back_is_not_applied_afterwards() -> None:
    bench = meanwhile("recover")
    assert bench.carry_out(OLDER) == "undone"
    assert in_force(bench.shield) == []
    assert bench.steps(OLDER) == ["intent", "undone", "refused"]


def test_another_target_is_not_fenced() -> None:
    bench = meanwhile("carry out", plan_for("198.51.100.1"))
    assert bench.carry_out(OLDER) == "verified"
    assert len(in_force(bench.shield)) == 2


def test_tokens_are_on_record_with_the_intent_and_grow_over_restarts() -> None:
    bench = a_bench()
    bench.carry_out(OLDER)
    driver = ShieldDriver(bench.shield, SIGNER, clock=bench.clock)  # with a fence that has seen nothing
    again = Engine(bench.store, [driver], SIGNER, clock=bench.clock)
    again.carry_out(NEWER, approved(NEWER))
    assert [bench.store.of(plan.id)[0].inverse["token"] for plan in (OLDER, NEWER)] == [1, 2]


def test_an_end_that_two_engines_find_due_is_written_once() -> None:
    bench = a_bench()
    bench.carry_out(OLDER)
    other = beside(bench)
    bench.clock.sleep(3600)
    assert [one.step for one in (*bench.engine.expire_due(), *other.expire_due())] == [Step.EXPIRED] * 2
    assert bench.steps(OLDER) == ["intent", "applied", "verified", "expired"]


def test_an_undo_brings_back_no_entry_of_a_plan_that_another_engine_has_ended() -> None:
    bench = a_bench()
    bench.carry_out(OLDER)
    bench.carry_out(NEWER)
    beside(bench).undo(OLDER.id)
    bench.engine.undo(NEWER.id)
    assert in_force(bench.shield) == []


def test_a_token_opens_once() -> None:
    fence = Fence()
    token = fence.take()
    with fence.passing("host/a", token):
        pass
    with pytest.raises(Fenced, match="host/a: fenced: token 1 is not newer than 1"), fence.passing("host/a", token):
        raise AssertionError("the effect")
    assert (fence.refused, fence.newest("host/a")) == (1, 1)


def test_two_fences_of_one_file_are_one_fence(tmp_path: Path) -> None:
    one, other = Fence(tmp_path / "fence"), Fence(tmp_path / "fence")
    assert [one.take(), other.take(), one.take()] == [1, 2, 3]
    with other.passing("host/a", 3):
        pass
    assert one.newest("host/a") == 3
    with pytest.raises(EnvironmentLacks, match="can be written"):
        Fence(tmp_path / "fence" / "below a file")


def test_two_processes_on_one_store_and_one_data_plane(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        clock = a_clock()
        shield, store = (
            FakeShield(clock=clock, path=tmp_path / "shield.json"),
            SqliteReceipts(tmp_path / "receipts.sqlite", clock=clock),
        )
        driver = ShieldDriver(shield, SIGNER, clock=clock, fence=Fence(tmp_path / "fence"))
        Engine(store, [driver], SIGNER, clock=clock).carry_out(NEWER, approved(NEWER))
        told, _ = child.communicate("go on\n", timeout=120)
    assert told == "undone {'fenced': 1}\n"
    assert in_force(FakeShield(clock=clock, path=tmp_path / "shield.json")) == [rule_id(NEWER.id)]
    assert store.verify_chain().broken_at is None
    store.close()
