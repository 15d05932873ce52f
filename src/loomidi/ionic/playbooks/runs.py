"""Where runs are kept: what was begun, step by step, so that one that was broken off goes on or is taken back.

Called by `running`. In: a `Run`, then its entries in order. Out: the same, after a crash too. Two adapters, one
contract suite: SQLite with fsync, held by one process, and in memory. Both only append. What an entry means is left to
`walking`; what was done to the world is in the receipts, never here alone.
"""

import dataclasses
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from loomidi.contracts import EnvironmentLacks, InputError, Retryable
from loomidi.ionic.errors import BadStore, RunHeld
from loomidi.ionic.holding import hold, transaction
from loomidi.kit.clock import Clock, SystemClock

FILE_NAME = "playbook-runs.sqlite"  # in the state folder
_BUSY_S = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
  position INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, record TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS journal (
  position INTEGER PRIMARY KEY, run_id TEXT NOT NULL, key TEXT NOT NULL, event TEXT NOT NULL, at_ns INTEGER NOT NULL,
  detail TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS journal_of_run ON journal (run_id);
CREATE TRIGGER IF NOT EXISTS never_changed BEFORE UPDATE ON journal BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS never_deleted BEFORE DELETE ON journal BEGIN SELECT RAISE(ABORT, 'append only'); END;
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """One run as it was asked for."""

    id: str
    playbook: Mapping[str, Any]  # the whole document: a later version changes nothing of a run that was begun
    finding: Mapping[str, Any] | None
    arguments: Mapping[str, str]  # of external variables
    dry: bool
    began_ns: int
    assumed: tuple[str, ...] = ()  # steps that a dry run takes as failed


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One line of a run's journal."""

    key: str  # the step's place in the run; '' for the run itself
    event: str
    at_ns: int
    detail: Mapping[str, Any]


class Runs(Protocol):
    """Where runs are kept."""

    def begin(self, run: Run) -> None:
        """Durable when it returns. Raises RunHeld for an id that is there."""

    def note(self, run_id: str, key: str, event: str, detail: Mapping[str, Any]) -> Entry:
        """Durable when it returns."""

    def entries(self, run_id: str) -> list[Entry]:
        """In order."""

    def run(self, run_id: str) -> Run:
        """Raises InputError when there is none."""

    def all(self) -> Sequence[Run]:
        """Oldest first."""


class MemoryRuns:
    """Runs of this process; what dry runs use, and tests."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._runs: dict[str, Run] = {}
        self._entries: dict[str, list[Entry]] = {}

    def begin(self, run: Run) -> None:
        """Keep it."""
        if run.id in self._runs:
            raise RunHeld(f"{run.id} was begun already; resume it")
        self._runs[run.id], self._entries[run.id] = run, []

    def note(self, run_id: str, key: str, event: str, detail: Mapping[str, Any]) -> Entry:
        """Append one."""
        entry = Entry(key, event, self._clock.now_ns(), json.loads(json.dumps(detail)))
        self._entries[run_id].append(entry)
        return entry

    def entries(self, run_id: str) -> list[Entry]:
        """In order."""
        return list(self._entries.get(run_id, ()))

    def run(self, run_id: str) -> Run:
        """Raises InputError when there is none."""
        if run_id not in self._runs:
            raise _unknown(run_id)
        return self._runs[run_id]

    def all(self) -> Sequence[Run]:
        """Oldest first."""
        return list(self._runs.values())

    def close(self) -> None:
        """Nothing to let go of."""


class SqliteRuns:
    """Runs in one SQLite file, WAL and synchronous=FULL; one process at a time writes."""

    def __init__(self, path: Path, *, clock: Clock | None = None, read_only: bool = False) -> None:
        """Raises RunHeld while another process has it, BadStore for a file that is none, EnvironmentLacks."""
        self.path = path
        self._clock = clock or SystemClock()
        self._guard = threading.RLock()
        if read_only and not path.is_file():
            raise BadStore(f"{path}: no runs of playbooks there; run one, or name another state folder")
        self._lock = -1 if read_only else hold(path, "playbook", RunHeld)
        try:
            self._base = self._opened(read_only)
        except BaseException:
            self._let_go()
            raise

    def _opened(self, read_only: bool) -> sqlite3.Connection:
        with self._mapped():
            address = f"{self.path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
            base = sqlite3.connect(address, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            if not read_only:
                base.execute("PRAGMA journal_mode=WAL")
                base.execute("PRAGMA synchronous=FULL")
                base.executescript(_SCHEMA)
            base.execute("SELECT record FROM runs LIMIT 1")
            return base

    def begin(self, run: Run) -> None:
        """Keep it."""
        with self._guard, self._mapped(run.id), transaction(self._base):
            record = json.dumps(dataclasses.asdict(run))
            self._base.execute("INSERT INTO runs (run_id, record) VALUES (?, ?)", (run.id, record))

    def note(self, run_id: str, key: str, event: str, detail: Mapping[str, Any]) -> Entry:
        """Append one."""
        entry = Entry(key, event, self._clock.now_ns(), json.loads(json.dumps(detail)))
        row = (run_id, key, event, entry.at_ns, json.dumps(entry.detail))
        with self._guard, self._mapped(run_id), transaction(self._base):
            self._base.execute("INSERT INTO journal (run_id, key, event, at_ns, detail) VALUES (?, ?, ?, ?, ?)", row)
        return entry

    def entries(self, run_id: str) -> list[Entry]:
        """In order."""
        query = "SELECT key, event, at_ns, detail FROM journal WHERE run_id = ? ORDER BY position"
        with self._guard, self._mapped():
            rows = self._base.execute(query, (run_id,)).fetchall()
            return [Entry(key, event, at_ns, json.loads(detail)) for key, event, at_ns, detail in rows]

    def run(self, run_id: str) -> Run:
        """Raises InputError when there is none."""
        with self._guard, self._mapped():
            found = self._base.execute("SELECT record FROM runs WHERE run_id = ?", (run_id,)).fetchone()
            if found is None:
                raise _unknown(run_id)
            return _run(found[0])

    def all(self) -> Sequence[Run]:
        """Oldest first."""
        with self._guard, self._mapped():
            return [_run(row[0]) for row in self._base.execute("SELECT record FROM runs ORDER BY position")]

    def close(self) -> None:
        """Let go of the file and of its lock."""
        self._base.close()
        self._let_go()

    def _let_go(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @contextmanager
    def _mapped(self, run_id: str = "") -> Iterator[None]:
        """Errors of SQLite as ours."""
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise RunHeld(f"{run_id} was begun already; resume it") from error
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise Retryable(f"{self.path}: another process writes it; try again") from error
            if "no such table" in str(error):
                raise BadStore(f"{self.path}: holds no runs of playbooks") from error
            raise EnvironmentLacks(f"{self.path}: {error}; check that the folder is there and writable") from error
        except (sqlite3.DatabaseError, TypeError, ValueError) as error:
            raise BadStore(f"{self.path}: cannot be read as runs of playbooks: {error}") from error


def _run(record: str) -> Run:
    plain = json.loads(record)
    return Run(**{**plain, "assumed": tuple(plain["assumed"])})


def _unknown(run_id: str) -> InputError:
    return InputError(f"there is no run {run_id!r}; `loomidi playbook list --runs` names them")
