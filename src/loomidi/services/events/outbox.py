"""The queue of events between who finds and who sends: one SQLite file, a line for each sink, counted for ever.

Called by `telling` (offers), `posting` (takes) and `loomidi events` (looks, sends again). In: letters. Out: the same
letters in their order, also after a crash: what `offer` has counted as queued is on the disk. For each sink
queued + resent = sent + waiting + dead (all that ever died); those that are dead now are dead - resent - forgotten.
"""

import contextlib
import dataclasses
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from loomidi.contracts import EnvironmentLacks, InputError, Retryable, Severity
from loomidi.ionic.holding import transaction
from loomidi.loom.sinks import Letter

FILE_NAME = "events.sqlite"  # in the folder `events` of the state
_BUSY_S = 5.0
_LETTER = "id, kind, body, at_ns, severity"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS letters (
  position INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL,
  body BLOB NOT NULL, at_ns INTEGER NOT NULL, severity TEXT NOT NULL, queued_ns INTEGER NOT NULL,
  tries INTEGER NOT NULL DEFAULT 0, dead INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '',
  UNIQUE (sink, id)) STRICT;
CREATE INDEX IF NOT EXISTS letters_in_order ON letters (sink, dead, position);
CREATE TABLE IF NOT EXISTS counts (
  sink TEXT NOT NULL, what TEXT NOT NULL, reason TEXT NOT NULL, value INTEGER NOT NULL,
  PRIMARY KEY (sink, what, reason)) STRICT;
CREATE TABLE IF NOT EXISTS marks (
  sink TEXT NOT NULL, source TEXT NOT NULL, mark TEXT NOT NULL, PRIMARY KEY (sink, source)) STRICT;
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Waiting:
    """A letter in the queue."""

    position: int  # grows; the number by which a dead letter is named
    sink: str
    letter: Letter
    queued_ns: int  # epoch; when it came into the queue
    tries: int
    reason: str  # why it was not taken the last time


class Outbox:
    """One file. Thread-safe; several processes may open it."""

    def __init__(
        self,
        path: Path,
        *,
        most_waiting: int = 100_000,
        most_dead: int = 10_000,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Opens or makes the file. Raises EnvironmentLacks without access, InputError for a file that is none."""
        self.path, self._most_waiting, self._most_dead, self._now_ns = path, most_waiting, most_dead, now_ns
        self._lock = threading.RLock()
        with self._mapped():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")
            self._base.executescript(_SCHEMA)

    # -- coming ------------------------------------------------------------------------------------------------

    def offer(self, sink: str, letters: Sequence[Letter]) -> int:
        """How many were queued: an id that waits or is dead is there already, and a full queue takes no more."""
        queued = 0
        with self._changing():
            room = self._most_waiting - self._number("SELECT count(*) FROM letters WHERE sink = ? AND dead = 0", sink)
            for one in letters:
                if room <= 0:
                    self._count(sink, "dropped", "queue_full")
                elif self._insert(sink, one):
                    room, queued = room - 1, queued + 1
                else:
                    self._count(sink, "duplicate", "")
            self._count(sink, "queued", "", queued)
        return queued

    def marked(self, sink: str, source: str) -> str:
        """The last of a source that was offered to a sink; empty: nothing was."""
        with self._lock, self._mapped():
            query = "SELECT mark FROM marks WHERE sink = ? AND source = ?"
            found = self._base.execute(query, (sink, source)).fetchone()
        return str(found[0]) if found else ""

    def mark(self, sink: str, source: str, last: str) -> None:
        """So far a source was offered."""
        with self._changing():
            self._base.execute("INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", (sink, source, last))

    def note(self, sink: str, what: str, reason: str, value: int = 1) -> None:
        """Count what never became a letter."""
        with self._changing():
            self._count(sink, what, reason, value)

    # -- going -------------------------------------------------------------------------------------------------

    def head(self, sink: str, most: int) -> list[Waiting]:
        """The oldest that wait."""
        return self._read("WHERE sink = ? AND dead = 0 ORDER BY position LIMIT ?", (sink, most))

    def sent(self, sink: str, positions: Sequence[int]) -> None:
        """They are the receiver's."""
        with self._changing():
            self._base.executemany("DELETE FROM letters WHERE position = ?", [(one,) for one in positions])
            self._count(sink, "sent", "", len(positions))

    def tried(self, sink: str, positions: Sequence[int], reason: str) -> None:
        """Not taken now: they wait on, in their place."""
        with self._changing():
            change = "UPDATE letters SET tries = tries + 1, reason = ? WHERE position = ?"
            self._base.executemany(change, [(reason, one) for one in positions])
            self._count(sink, "retried", reason, len(positions))

    def bury(self, sink: str, positions: Sequence[int], reason: str) -> None:
        """Not to be tried again by itself. The oldest dead letters beyond the limit are forgotten, and counted."""
        with self._changing():
            change = "UPDATE letters SET dead = 1, tries = tries + 1, reason = ? WHERE position = ?"
            self._base.executemany(change, [(reason, one) for one in positions])
            self._count(sink, "dead", reason, len(positions))
            over = self._number("SELECT count(*) FROM letters WHERE sink = ? AND dead = 1", sink) - self._most_dead
            if over > 0:
                oldest = "SELECT position FROM letters WHERE sink = ? AND dead = 1 ORDER BY position LIMIT ?"
                self._base.execute(f"DELETE FROM letters WHERE position IN ({oldest})", (sink, over))  # noqa: S608
                self._count(sink, "forgotten", "dead_full", over)

    # -- the dead ----------------------------------------------------------------------------------------------

    def dead(self, sink: str = "", most: int = 100) -> list[Waiting]:
        """The oldest dead letters, of one sink or of all."""
        return self._read("WHERE dead = 1 AND ? IN ('', sink) ORDER BY position LIMIT ?", (sink, most))

    def resend(self, numbers: Iterable[int] | None, sink: str = "") -> int:
        """These dead letters, or all of them, to the end of their queues; how many there were."""
        wanted, moved = None if numbers is None else set(numbers), 0
        with self._changing():
            for one in self.dead(sink, -1):
                if wanted is not None and one.position not in wanted:
                    continue
                self._base.execute("DELETE FROM letters WHERE position = ?", (one.position,))
                self._insert(one.sink, one.letter)
                self._count(one.sink, "resent", "")
                moved += 1
        return moved

    # -- looking -----------------------------------------------------------------------------------------------

    def counts(self) -> dict[tuple[str, str, str], int]:
        """(sink, what, reason) -> how many, since the file was made."""
        with self._lock, self._mapped():
            rows = self._base.execute("SELECT sink, what, reason, value FROM counts ORDER BY 1, 2, 3").fetchall()
        return {(sink, what, reason): value for sink, what, reason, value in rows}

    def standing(self) -> dict[str, tuple[int, int, int]]:
        """Sink -> letters that wait, when the oldest of them was queued (0: none), dead letters."""
        query = (
            "SELECT sink, sum(dead = 0), coalesce(min(CASE dead WHEN 0 THEN queued_ns END), 0), sum(dead = 1) "
            "FROM letters GROUP BY sink"
        )
        with self._lock, self._mapped():
            rows = self._base.execute(query).fetchall()
        known = {sink: (0, 0, 0) for sink, _, _ in self.counts()}
        return known | {sink: (waiting, oldest, dead) for sink, waiting, oldest, dead in rows}

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    # -- inside ------------------------------------------------------------------------------------------------

    def _insert(self, sink: str, letter: Letter) -> bool:
        values = (sink, letter.id, letter.kind, letter.body, letter.at_ns, letter.severity.value, self._now_ns())
        insert = f"INSERT OR IGNORE INTO letters (sink, {_LETTER}, queued_ns) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
        return self._base.execute(insert, values).rowcount == 1

    def _count(self, sink: str, what: str, reason: str, value: int = 1) -> None:
        if value:
            self._base.execute(
                "INSERT INTO counts VALUES (?, ?, ?, ?) "
                "ON CONFLICT (sink, what, reason) DO UPDATE SET value = value + excluded.value",
                (sink, what, reason, value),
            )

    def _number(self, query: str, *values: object) -> int:
        return int(self._base.execute(query, values).fetchone()[0])

    def _read(self, rest: str, values: tuple[object, ...]) -> list[Waiting]:
        query = f"SELECT position, sink, {_LETTER}, queued_ns, tries, reason FROM letters {rest}"  # noqa: S608
        with self._lock, self._mapped():
            return [_waiting(row) for row in self._base.execute(query, values)]

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock, self._mapped(), transaction(self._base):
            yield

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        """Errors of SQLite and of the file system as ours."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "unable to open" in str(error):
                raise EnvironmentLacks(f"{self.path}: {error}; name a state folder that can be written") from error
            raise Retryable(f"{self.path}: {error}; it is tried again") from error
        except sqlite3.DatabaseError as error:
            raise InputError(f"{self.path}: no queue of events: {error}; move it away") from error
        except OSError as error:
            raise EnvironmentLacks(f"{self.path}: {error.strerror}; name a folder that can be written") from error


def _waiting(row: tuple[Any, ...]) -> Waiting:
    position, sink, identity, kind, body, at_ns, severity, queued_ns, tries, reason = row
    letter = Letter(identity, kind, body, at_ns, Severity(severity))
    return Waiting(position, sink, letter, queued_ns, tries, reason)
