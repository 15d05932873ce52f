"""Where policies are kept: every version with who and why, and every change of what is in force, in one SQLite file.

Called by `deploying`. In: versions, and steps that are about to be made. Out: durable when a call returns (WAL,
synchronous=FULL), also against a power cut. Rows are only added, but for the state of a step, which is begun once and
ended once. What is in force follows from the steps alone. One process has the file; a second one is refused.
"""

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from loomidi.contracts import EnvironmentLacks, Retryable
from loomidi.ionic.errors import BadStore, PolicyHeld
from loomidi.ionic.holding import hold, transaction
from loomidi.ionic.policies.records import Policy, PolicyType, Shadow, Step, Version
from loomidi.kit.clock import Clock, SystemClock

FILE_NAME = "policies.sqlite"  # in the state folder
MOST_NAMES, MOST_VERSIONS = 1000, 1000  # that are kept; of one name
_BUSY_S = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS versions (
  name TEXT NOT NULL, number INTEGER NOT NULL, type TEXT NOT NULL, digest TEXT NOT NULL, content TEXT NOT NULL,
  author TEXT NOT NULL, at_ns INTEGER NOT NULL, shadow TEXT NOT NULL, PRIMARY KEY (name, number)) STRICT;
CREATE TABLE IF NOT EXISTS decisions (
  position INTEGER PRIMARY KEY, name TEXT NOT NULL, number INTEGER NOT NULL, decision TEXT NOT NULL,
  author TEXT NOT NULL, at_ns INTEGER NOT NULL, UNIQUE (name, number, decision)) STRICT;
CREATE TABLE IF NOT EXISTS steps (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL, before INTEGER NOT NULL, inverse TEXT NOT NULL,
  state TEXT NOT NULL, author TEXT NOT NULL, at_ns INTEGER NOT NULL, decision TEXT NOT NULL, engine TEXT NOT NULL,
  reasons TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS steps_of_name ON steps (name, id);
CREATE UNIQUE INDEX IF NOT EXISTS one_at_a_time ON steps (name) WHERE state = 'begun';
CREATE TRIGGER IF NOT EXISTS versions_stay BEFORE UPDATE ON versions BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS versions_last BEFORE DELETE ON versions BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS steps_end_once BEFORE UPDATE ON steps WHEN OLD.state <> 'begun'
  BEGIN SELECT RAISE(ABORT, 'a step ends once'); END;
"""
_VERSION = "name, number, type, digest, content, author, at_ns, shadow"
_STEP = "id, name, version, before, inverse, state, author, at_ns, decision, engine, reasons"


class Shelf:
    """The file, held by this process alone until `close`."""

    def __init__(self, path: Path, *, clock: Clock | None = None) -> None:
        """Opens or makes it. Raises PolicyHeld while another process has it, BadStore, EnvironmentLacks."""
        self.path = path
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._held = hold(path, "policy", PolicyHeld)
        with self._mapped():
            self._base = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")
            self._base.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of it."""
        self._base.close()
        os.close(self._held)

    def add(self, policy: Policy, shadow: Shadow, author: str, decision: str) -> Version:
        """A version; the same text again gives the version that is there, with this decision added to it."""
        with self._lock, self._mapped(), transaction(self._base):
            found = self._one(
                "SELECT number FROM versions WHERE name = ? AND digest = ? ORDER BY number DESC LIMIT 1",
                (policy.name, policy.digest),
            )
            number = found[0] if found else 1 + self._last(policy.name)
            if not found:
                self._check_room(policy.name, number)
                text = (policy.type.value, policy.digest, policy.content)
                row = (policy.name, number, *text, author, self._clock.now_ns(), json.dumps(shadow.as_dict()))
                self._base.execute(f"INSERT INTO versions ({_VERSION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608
            if decision:
                self._base.execute(
                    "INSERT OR IGNORE INTO decisions (name, number, decision, author, at_ns) VALUES (?, ?, ?, ?, ?)",
                    (policy.name, number, decision, author, self._clock.now_ns()),
                )
        version = self.version(policy.name, number)
        assert version is not None
        return version

    def names(self) -> list[str]:
        """Every policy that was ever handed in, by name."""
        return [str(row[0]) for row in self._rows("SELECT DISTINCT name FROM versions ORDER BY name", ())]

    def versions(self, name: str) -> list[Version]:
        """All of a name, oldest first."""
        numbers = self._rows("SELECT number FROM versions WHERE name = ? ORDER BY number", (name,))
        found = (self.version(name, number) for (number,) in numbers)
        return [version for version in found if version is not None]

    def version(self, name: str, number: int) -> Version | None:
        """One of them."""
        rows = self._rows(f"SELECT {_VERSION} FROM versions WHERE name = ? AND number = ?", (name, number))  # noqa: S608
        if not rows:
            return None
        _, _, kind, digest, content, author, at_ns, shadow = rows[0]
        asked = "SELECT decision FROM decisions WHERE name = ? AND number = ? ORDER BY position"
        decisions = tuple(str(row[0]) for row in self._rows(asked, (name, number)))
        return Version(name, number, PolicyType(kind), digest, content, author, at_ns, json.loads(shadow), decisions)

    def begin(self, step: Step) -> Step:
        """Written before the change is made; `id` and time are given here. Raises PolicyHeld while one is open."""
        change = (step.name, step.version, step.before, json.dumps(step.inverse))
        row = (*change, "begun", step.author, self._clock.now_ns(), step.decision, step.engine, "[]")
        with self._lock, self._mapped(), transaction(self._base):
            columns = _STEP.removeprefix("id, ")
            made = self._base.execute(f"INSERT INTO steps ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608
        return self._step(made.lastrowid or 0)

    def end(self, step: Step, state: str, reasons: Sequence[str] = ()) -> Step:
        """`active` after it was verified, `undone` after it was taken back."""
        with self._lock, self._mapped(), transaction(self._base):
            self._base.execute(
                "UPDATE steps SET state = ?, reasons = ? WHERE id = ?", (state, json.dumps(list(reasons)), step.id)
            )
        return self._step(step.id)

    def open_steps(self) -> list[Step]:
        """Begun and not ended: whoever began them was killed."""
        return [_step(row) for row in self._rows(f"SELECT {_STEP} FROM steps WHERE state = 'begun' ORDER BY id", ())]  # noqa: S608

    def steps(self, name: str) -> list[Step]:
        """Of a name, oldest first."""
        return [_step(row) for row in self._rows(f"SELECT {_STEP} FROM steps WHERE name = ? ORDER BY id", (name,))]  # noqa: S608

    def in_force(self, name: str) -> int:
        """The version that was last verified as in force; 0: none."""
        asked = "SELECT version FROM steps WHERE name = ? AND state = 'active' ORDER BY id DESC LIMIT 1"
        rows = self._rows(asked, (name,))
        return int(rows[0][0]) if rows else 0

    def _step(self, identity: int) -> Step:
        return _step(self._rows(f"SELECT {_STEP} FROM steps WHERE id = ?", (identity,))[0])  # noqa: S608

    def _last(self, name: str) -> int:
        found = self._one("SELECT max(number) FROM versions WHERE name = ?", (name,))
        return int(found[0] or 0) if found else 0

    def _check_room(self, name: str, number: int) -> None:
        if number > MOST_VERSIONS:
            raise PolicyHeld(f"{name} has {MOST_VERSIONS:,} versions, all kept: take another name")
        names = self._one("SELECT count(DISTINCT name) FROM versions WHERE name <> ?", (name,))
        if names[0] >= MOST_NAMES:
            raise PolicyHeld(f"{MOST_NAMES:,} policies are kept here: join some of them, or use another service")

    def _one(self, query: str, values: tuple[Any, ...]) -> Any:
        return self._base.execute(query, values).fetchone()

    def _rows(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock, self._mapped():
            return self._base.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        """Errors of SQLite and of the file system as ours."""
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise PolicyHeld(f"a change of this policy is under way ({error}); wait for its end") from error
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise Retryable(f"{self.path}: somebody else writes; try again") from error
            raise EnvironmentLacks(
                f"{self.path}: {error}; check that the folder can be written and is not full"
            ) from error
        except sqlite3.DatabaseError as error:
            raise BadStore(f"{self.path}: cannot be read as a store of policies: {error}") from error


def _step(row: Sequence[Any]) -> Step:
    identity, name, version, before, inverse, state, author, at_ns, decision, engine, reasons = row
    held: Mapping[str, Any] | None = json.loads(inverse)
    return Step(
        identity, name, version, before, held, state, author, at_ns, decision, engine, tuple(json.loads(reasons))
    )
