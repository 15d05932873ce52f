"""Where runs are kept: one suite for both adapters, and what only a file can go wrong with."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loomidi.contracts import InputError
from loomidi.ionic.errors import BadStore, RunHeld
from loomidi.ionic.playbooks import MemoryRuns, Run, SqliteRuns
from tests.unit.ionic.making import NOW_NS, a_clock

RUN = Run("run-1", {"name": "one"}, None, {"__a__": "1"}, True, NOW_NS, ("action--1",))


@pytest.fixture(params=["memory", "sqlite"])
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], MemoryRuns | SqliteRuns]]:
    """The store, opened again with each call where it is a file."""
    opened: list[MemoryRuns | SqliteRuns] = []

    def store() -> MemoryRuns | SqliteRuns:
        if request.param == "memory":
            opened[:] = opened or [MemoryRuns(clock=a_clock())]
        else:
            for one in opened:
                one.close()
            opened[:] = [SqliteRuns(tmp_path / "runs.sqlite", clock=a_clock())]
        return opened[-1]

    yield store
    for one in opened:
        one.close()


Store = Callable[[], MemoryRuns | SqliteRuns]


def test_a_run_and_its_entries_come_back_in_their_order(again: Store) -> None:
    again().begin(RUN)
    written = [again().note(RUN.id, key, "left", {"ok": True, "why": key}) for key in "bac"]
    assert again().run(RUN.id) == RUN
    assert again().entries(RUN.id) == written
    assert again().all() == [RUN]


def test_a_run_begins_once(again: Store) -> None:
    again().begin(RUN)
    with pytest.raises(RunHeld, match="begun already"):
        again().begin(RUN)


def test_a_run_that_is_not_there_is_told_with_how_to_find_one(again: Store) -> None:
    with pytest.raises(InputError, match="list --runs"):
        again().run("run-2")
    assert again().entries("run-2") == []


def test_entries_are_never_changed_nor_deleted(tmp_path: Path) -> None:
    store = SqliteRuns(tmp_path / "runs.sqlite")
    store.begin(RUN)
    store.note(RUN.id, "", "completed", {"why": ""})
    store.close()
    base = sqlite3.connect(tmp_path / "runs.sqlite")
    for statement in ("UPDATE journal SET event = 'undone'", "DELETE FROM journal"):
        with pytest.raises(sqlite3.IntegrityError, match="append only"):
            base.execute(statement)
    base.close()


def test_a_file_that_is_no_store_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    path.write_text("x" * 5000)
    for read_only in (False, True):
        with pytest.raises(BadStore):
            SqliteRuns(path, read_only=read_only)
