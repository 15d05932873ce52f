"""Where receipts are kept: SQLite with fsync, and in memory.

Called by the engine and by `loomidi receipts`. In: what was about to be done, was done, or was undone. Out:
hash-chained `Receipt`s, durable when `append` returns. Both adapters are append-only and pass one contract suite.
Which plans are open follows from the steps alone: begun (intent, applied) and not over (undone, expired). A refusal
neither opens nor closes a plan, and a failed undo leaves it open.
"""

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loomidi.contracts import EnvironmentLacks, Receipt, Retryable, Step
from loomidi.contracts.ports import Line
from loomidi.ionic.act.chain import ROOT, ChainCheck, Written, check_chain, written
from loomidi.ionic.errors import BadStore, PlanHeld
from loomidi.ionic.holding import transaction
from loomidi.kit.clock import Clock, SystemClock

BEGUN = (Step.INTENT, Step.APPLIED)
OVER = (Step.UNDONE, Step.EXPIRED)
FILE_NAME = "receipts.sqlite"  # in the state folder
_BUSY_S = 5.0
_COLUMNS = "id, plan_id, step, at_ns, driver, inverse, detail, previous"
_INSERT = f"INSERT INTO receipts ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
_ENDED = "SELECT 1 FROM receipts WHERE plan_id = ? AND step IN ('undone', 'expired') LIMIT 1"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS receipts (
  position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, plan_id TEXT NOT NULL, step TEXT NOT NULL,
  at_ns INTEGER NOT NULL, driver TEXT NOT NULL, inverse TEXT NOT NULL, detail TEXT NOT NULL,
  previous TEXT NOT NULL UNIQUE) STRICT;
CREATE INDEX IF NOT EXISTS receipts_of_plan ON receipts (plan_id);
CREATE UNIQUE INDEX IF NOT EXISTS one_lease ON receipts (plan_id) WHERE step = 'intent';
CREATE TRIGGER IF NOT EXISTS never_changed BEFORE UPDATE ON receipts BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS never_deleted BEFORE DELETE ON receipts BEGIN SELECT RAISE(ABORT, 'append only'); END;
"""


class MemoryReceipts:
    """Receipts of this process; the default in tests."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._receipts: list[Receipt] = []
        self._plans: dict[str, list[Receipt]] = {}
        self._lock = threading.Lock()

    def append(
        self, plan_id: str, step: Step, driver: str, inverse: Mapping[str, Any], detail: Mapping[str, Any]
    ) -> Receipt:
        """Add one. Raises PlanHeld for a second intent of a plan."""
        return _only(self.append_all([Line(plan_id, step, driver, inverse, detail)]))

    def append_all(self, lines: Sequence[Line], *, ended_stays: bool = False) -> list[Receipt | None]:
        """Add all or none. Raises PlanHeld for a second intent of a plan."""
        with self._lock:
            held = [one.plan_id for one in lines if one.step is Step.INTENT and self._has(one.plan_id, (Step.INTENT,))]
            if held:
                raise PlanHeld(f"{held[0]} has a lease already; settle it with recover()")
            return [None if ended_stays and self._has(one.plan_id, OVER) else self._add(one) for one in lines]

    def of(self, plan_id: str) -> list[Receipt]:
        """All receipts of a plan, oldest first."""
        with self._lock:
            return list(self._plans.get(plan_id, ()))

    def open_plans(self) -> Iterable[str]:
        """Plans that were begun and are not over, oldest first."""
        with self._lock:
            return [one for one in self._plans if self._has(one, BEGUN) and not self._has(one, OVER)]

    def all(self) -> list[Receipt]:
        """Every receipt, oldest first."""
        with self._lock:
            return list(self._receipts)

    def _has(self, plan_id: str, steps: Sequence[Step]) -> bool:
        return any(receipt.step in steps for receipt in self._plans.get(plan_id, ()))

    def _add(self, line: Line) -> Receipt:
        previous = self._receipts[-1].id if self._receipts else ROOT
        receipt = written(line, self._clock.now_ns(), previous).receipt
        self._receipts.append(receipt)
        self._plans.setdefault(line.plan_id, []).append(receipt)
        return receipt

    def verify_chain(self, head: str | None = None) -> ChainCheck:
        """Whether any receipt was changed, taken out, put in or moved."""
        return check_chain(self.all(), head)

    def close(self) -> None:
        """Nothing to let go of."""


class SqliteReceipts:
    """Receipts in one SQLite file: WAL, synchronous=FULL, so that each append has reached the disk when it returns."""

    def __init__(self, path: Path, *, clock: Clock | None = None, read_only: bool = False) -> None:
        """Opens or makes the file. Raises BadStore for a file that is no store, EnvironmentLacks without access."""
        self.path = path
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        with self._mapped():
            if not read_only:
                path.parent.mkdir(parents=True, exist_ok=True)
            elif not path.is_file():
                raise BadStore(f"{path}: no receipt store there; name one, or act first")
            address = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
            self._base = sqlite3.connect(
                address, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            if not read_only:
                self._base.execute("PRAGMA journal_mode=WAL")
                self._base.execute("PRAGMA synchronous=FULL")
                self._base.executescript(_SCHEMA)
            self._base.execute(f"SELECT {_COLUMNS} FROM receipts LIMIT 1")  # noqa: S608 - a constant

    def append(
        self, plan_id: str, step: Step, driver: str, inverse: Mapping[str, Any], detail: Mapping[str, Any]
    ) -> Receipt:
        """Add one; durable when it returns. Raises PlanHeld for a second intent of a plan, Retryable when locked."""
        return _only(self.append_all([Line(plan_id, step, driver, inverse, detail)]))

    def append_all(self, lines: Sequence[Line], *, ended_stays: bool = False) -> list[Receipt | None]:
        """Add all by one transaction, which is one wait for the disk, or none. Raises as `append` does."""
        with self._lock, self._mapped(lines[0].plan_id if lines else ""), transaction(self._base):
            last = self._base.execute("SELECT id FROM receipts ORDER BY position DESC LIMIT 1").fetchone()
            previous = last[0] if last else ROOT
            added: list[Receipt | None] = []
            for line in lines:
                if ended_stays and self._ended(line.plan_id):
                    added.append(None)
                    continue
                one = written(line, self._clock.now_ns(), previous)
                self._base.execute(_INSERT, _row(one))
                previous = one.receipt.id
                added.append(one.receipt)
        return added

    def _ended(self, plan_id: str) -> bool:
        return self._base.execute(_ENDED, (plan_id,)).fetchone() is not None

    def of(self, plan_id: str) -> list[Receipt]:
        """All receipts of a plan, oldest first."""
        return self._read("WHERE plan_id = ? ORDER BY position", (plan_id,))

    def open_plans(self) -> Iterable[str]:
        """Plans that were begun and are not over, oldest first."""
        query = (
            "SELECT plan_id FROM receipts GROUP BY plan_id "
            "HAVING sum(step IN ('intent', 'applied')) > 0 AND sum(step IN ('undone', 'expired')) = 0 "
            "ORDER BY min(position)"
        )
        with self._lock, self._mapped():
            return [row[0] for row in self._base.execute(query)]

    def all(self) -> list[Receipt]:
        """Every receipt, oldest first."""
        return self._read("ORDER BY position", ())

    def verify_chain(self, head: str | None = None) -> ChainCheck:
        """Whether any receipt was changed, taken out, put in or moved."""
        return check_chain(self.all(), head)

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    def _read(self, rest: str, values: tuple[Any, ...]) -> list[Receipt]:
        with self._lock, self._mapped():
            rows = self._base.execute(f"SELECT {_COLUMNS} FROM receipts {rest}", values).fetchall()  # noqa: S608
            return [_receipt(row) for row in rows]

    @contextmanager
    def _mapped(self, plan_id: str = "") -> Iterator[None]:
        """Errors of SQLite and of the file system as ours."""
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise PlanHeld(f"{plan_id} has a lease already; settle it with recover()") from error
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise Retryable(f"{self.path}: another process writes receipts; try again") from error
            if "no such table" in str(error):
                raise BadStore(f"{self.path}: not a receipt store; name the file that the agent writes") from error
            raise EnvironmentLacks(f"{self.path}: {error}; check that the folder is there and writable") from error
        except (sqlite3.DatabaseError, ValueError) as error:
            raise BadStore(f"{self.path}: cannot be read as a receipt store: {error}") from error
        except OSError as error:
            raise EnvironmentLacks(f"{self.path}: {error.strerror}; name a folder that can be written") from error


def _only(receipts: Sequence[Receipt | None]) -> Receipt:
    """That of the one line that was given; without `ended_stays` there always is one."""
    (receipt,) = receipts
    assert receipt is not None
    return receipt


def _row(one: Written) -> tuple[Any, ...]:
    """A receipt as the values of `_COLUMNS`."""
    receipt = one.receipt
    given = (receipt.id, receipt.plan_id, receipt.step.value, receipt.at_ns, receipt.driver)
    return (*given, one.inverse, one.detail, receipt.previous)


def _receipt(row: tuple[Any, ...]) -> Receipt:
    """The way back. Raises ValueError for what no store has written."""
    identity, plan_id, step, at_ns, driver, inverse, detail, previous = row
    return Receipt(identity, plan_id, Step(step), at_ns, driver, json.loads(inverse), json.loads(detail), previous)
