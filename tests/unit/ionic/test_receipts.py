"""The SQLite store: durable, append-only, tamper-evident, and honest about files that are no store."""

import sqlite3
import threading
from pathlib import Path

import pytest

from loomidi.contracts import EnvironmentLacks, Retryable, Step
from loomidi.ionic.act import SqliteReceipts
from loomidi.ionic.errors import BadStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "receipts.sqlite"


@pytest.fixture
def store(path: Path) -> SqliteReceipts:
    made = SqliteReceipts(path)
    for step in (Step.INTENT, Step.APPLIED, Step.VERIFIED, Step.UNDONE):
        made.append("plan-1", step, "driver", {}, {"hits": 1})
    return made


def tampered(path: Path, *statements: str) -> SqliteReceipts:
    """Somebody with write access to the file, who drops the triggers first."""
    with sqlite3.connect(path) as base:
        for statement in ("DROP TRIGGER never_changed", "DROP TRIGGER never_deleted", *statements):
            base.execute(statement)
    base.close()
    return SqliteReceipts(path, read_only=True)


def test_it_is_written_through_to_the_disk(store: SqliteReceipts) -> None:
    pragma = {name: store._base.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    assert pragma == {"journal_mode": "wal", "synchronous": 2}


def test_it_comes_back_after_a_restart(store: SqliteReceipts, path: Path) -> None:
    before = store.all()
    store.close()
    again = SqliteReceipts(path)
    assert again.all() == before
    assert again.append("plan-2", Step.INTENT, "d", {}, {}).previous == before[-1].id
    again.close()


@pytest.mark.parametrize(
    ("statement", "position"),
    [
        ("UPDATE receipts SET detail = '{\"hits\": 9}' WHERE position = 2", 1),
        ("UPDATE receipts SET at_ns = 1 WHERE position = 3", 2),
        ("UPDATE receipts SET step = 'refused' WHERE position = 4", 3),
        ("DELETE FROM receipts WHERE position = 1", 0),
        ("DELETE FROM receipts WHERE position = 3", 2),
        ("UPDATE receipts SET position = 9 WHERE position = 2", 1),
    ],
)
def test_a_changed_deleted_or_moved_receipt_is_found(
    store: SqliteReceipts, path: Path, statement: str, position: int
) -> None:
    assert store.verify_chain().broken_at is None
    store.close()
    other = tampered(path, statement)
    assert other.verify_chain().broken_at == position
    other.close()


def test_receipts_cut_off_at_the_end_are_found_by_a_noted_head(store: SqliteReceipts, path: Path) -> None:
    head = store.all()[-1].id
    store.close()
    other = tampered(path, "DELETE FROM receipts WHERE position = 4")
    assert other.verify_chain().broken_at is None
    assert "cut off" in other.verify_chain(head).why
    other.close()


@pytest.mark.parametrize("statement", ["UPDATE receipts SET at_ns = 1", "DELETE FROM receipts"])
def test_the_file_itself_refuses_changes(store: SqliteReceipts, statement: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="append only"):
        store._base.execute(statement)


def test_many_threads_and_two_connections_make_one_chain(path: Path) -> None:
    stores = [SqliteReceipts(path), SqliteReceipts(path)]
    writers = [
        threading.Thread(
            target=lambda n=n: [stores[n % 2].append(f"p{n}-{k}", Step.INTENT, "d", {}, {}) for k in range(10)]
        )
        for n in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    check = stores[0].verify_chain()
    assert (check.count, check.broken_at) == (40, None)
    for store in stores:
        store.close()


def test_a_file_that_is_no_store_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"not a database, not at all, whatever it is called" * 40)
    with pytest.raises(BadStore, match="cannot be read as a receipt store"):
        SqliteReceipts(tmp_path / "x")
    with pytest.raises(BadStore, match="no receipt store there"):
        SqliteReceipts(tmp_path / "none", read_only=True)
    sqlite3.connect(tmp_path / "empty.sqlite").close()
    with pytest.raises(BadStore, match="not a receipt store"):
        SqliteReceipts(tmp_path / "empty.sqlite", read_only=True)


def test_a_folder_that_cannot_be_made_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentLacks, match="name a folder that can be written"):
        SqliteReceipts(tmp_path / "file" / "receipts.sqlite")


def test_a_store_that_another_process_holds_may_be_tried_again(
    store: SqliteReceipts, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loomidi.ionic.act.receipts._BUSY_S", 0.01)
    impatient = SqliteReceipts(path)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Retryable, match="try again"):
            impatient.append("plan-2", Step.INTENT, "d", {}, {})
        other.execute("ROLLBACK")
    other.close()
    assert impatient.append("plan-2", Step.INTENT, "d", {}, {}).step is Step.INTENT
    impatient.close()
