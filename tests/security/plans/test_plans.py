"""Plans by the thousand through the engine, with crashes anywhere: the safety rules hold after each of them.

`make test` runs 1,000 plans; `pytest tests/security/plans -m lab_long` runs 10,000. A seed that fails is told with the
command that replays it alone.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from loomidi.ionic.act import FAULTS, SqliteReceipts
from tests.security.plans.histories import History
from tests.security.plans.world import JumpingClock

PLANS = 100  # of one history
FIRST = int(os.environ.get("LOOMIDI_TEST_SEED", "1"))


def histories(first: int, count: int) -> tuple[int, Counter[str], Counter[str], list[str]]:
    """Plans that were offered, what happened, what was refused, and what was broken with how to see it again."""
    offered, counts, refused, broken = 0, Counter[str](), Counter[str](), list[str]()
    for seed in range(first, first + count):
        history = History(seed)
        again = f"python -m tests.security.plans.histories --seed {seed} --plans {PLANS}"
        broken += [f"{text}; again: {again}" for text in history.run(PLANS)[:3]]
        offered += len(history.offered)
        counts += history.counts
        refused += history.refused()
    return offered, counts, refused, broken


def test_every_safety_rule_holds_over_1000_plans_with_crashes() -> None:
    offered, _, _, broken = histories(FIRST, 10)
    assert broken == []
    assert offered >= 1000


@pytest.mark.lab_long
@pytest.mark.timeout(1800)
def test_every_safety_rule_holds_over_10000_plans_with_crashes(capsys: pytest.CaptureFixture[str]) -> None:
    offered, counts, refused, broken = histories(FIRST, 100)
    with capsys.disabled():
        crashes = sum(number for name, number in counts.items() if name.startswith("crash"))
        print(f"\nplans {offered} crashes {crashes} fenced {refused['fenced']} broken {len(broken)} seeds {FIRST}..")
    assert broken == []
    assert offered >= 10_000
    assert {f"crash: at {name}" for name in FAULTS} <= set(counts), "a fault point was never reached"
    assert {"crash: in the driver", "crash: before the write", "crash: after the write"} <= set(counts)
    assert min(refused[word] for word in ("fenced", "approval", "too-long")) > 0


def test_they_hold_over_a_store_on_disk_too(tmp_path: Path) -> None:
    store = SqliteReceipts(tmp_path / "receipts.sqlite", clock=JumpingClock())
    store._base.execute("PRAGMA synchronous=OFF")  # the crashes here are those of processes, not of power
    assert History(FIRST, store).run(PLANS) == []
    store.close()
