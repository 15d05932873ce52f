"""Killed at every point: a run goes on where it was, without doing anything twice, or everything is taken back."""

import subprocess
import sys
from pathlib import Path

import pytest

from loomidi.ionic.act import FAULTS
from loomidi.ionic.errors import RunHeld
from loomidi.ionic.playbooks import SqliteRuns
from tests.unit.ionic.making import SOURCE, a_clock
from tests.unit.ionic.playbooks.playing import a_table

ROOT = Path(__file__).resolve().parents[4]
KILLED = 99
CHILD = """
import os, sys
from pathlib import Path
from tests.unit.ionic.making import a_finding
from tests.unit.ionic.playbooks.playing import DROP, SLOW, a_table, action, book, key
seen = []
def fault(name):
    seen.append(name)
    if name == sys.argv[2] and seen.count(name) == int(sys.argv[3]):
        os._exit(99)
table = a_table(folder=Path(sys.argv[1]), fault=fault)
first, second = key("action", "a"), key("action", "b")
table.runner.start(book(first, {first: action(SLOW, then=second), second: action(DROP)}), a_finding(), dry=False)
"""
ON_THE_WAY = [name for name in FAULTS if not name.startswith(("undone", "exten"))]  # a playbook extends nothing
POINTS = [(name, at) for name in ON_THE_WAY for at in (1, 2)]


def killed(folder: Path, point: str, at: int) -> None:
    words = [sys.executable, "-c", CHILD, str(folder), point, str(at)]
    assert subprocess.run(words, cwd=ROOT, check=False, timeout=240).returncode == KILLED


@pytest.mark.parametrize(("point", "at"), POINTS)
def test_a_killed_run_goes_on_and_does_nothing_twice_or_is_taken_back(tmp_path: Path, point: str, at: int) -> None:
    killed(tmp_path, point, at)
    table = a_table(folder=tmp_path)
    table.hands.engine.recover()  # type: ignore[union-attr]
    (report,) = table.runner.recover(go_on=True)
    begun = [r for r in table.store.all() if r.step.value == "intent"]  # type: ignore[attr-defined]
    assert report.state in ("completed", "failed")
    assert table.blocked() == ([("drop", SOURCE)] if report.state == "completed" else [])
    assert len({receipt.detail["plan"]["fold"]["action"] for receipt in begun}) == len(begun)
    assert table.runner.recover() == []


@pytest.mark.parametrize("point", ["intent_stored", "applied_unrecorded", "verified_recorded"])
def test_or_it_is_taken_back_and_nothing_is_left(tmp_path: Path, point: str) -> None:
    killed(tmp_path, point, 2)
    table = a_table(folder=tmp_path)
    (report,) = table.runner.recover()
    assert (report.state, table.blocked(), list(table.store.open_plans())) == ("undone", [], [])


def test_one_process_at_a_time_carries_out_playbooks(tmp_path: Path) -> None:
    runs = SqliteRuns(tmp_path / "runs.sqlite", clock=a_clock())
    with pytest.raises(RunHeld, match="another playbook service has it"):
        SqliteRuns(tmp_path / "runs.sqlite")
    runs.close()
    SqliteRuns(tmp_path / "runs.sqlite").close()
