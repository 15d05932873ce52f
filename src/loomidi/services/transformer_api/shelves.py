"""What is kept here: findings with their graph, decisions, and which key was answered how, in one SQLite file.

Called by `handling`, `following` and `learning`. In: records. Out: durable when a call returns (WAL, synchronous=FULL),
also against a power cut. What a request leaves behind and its answer are one transaction: who sends it again under the
same key after a crash gets that answer. Bounded: the oldest go, and are counted. One process has the file.
"""

import contextlib
import dataclasses
import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from loomidi.contracts import Conflict, EnvironmentLacks, Finding, InputError, Retryable
from loomidi.ionic.documents import read_record
from loomidi.ionic.holding import hold, transaction
from loomidi.kit.clock import Clock, SystemClock
from loomidi.services.transformer_api.asking import Page
from loomidi.services.transformer_api.graphs import Edge

FILE_NAME = "transformer.sqlite"  # in the state folder
_BUSY_S = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS findings (
  id TEXT PRIMARY KEY, at_ns INTEGER NOT NULL, state TEXT NOT NULL, origin TEXT NOT NULL, pattern TEXT NOT NULL,
  severity TEXT NOT NULL, finding TEXT NOT NULL, answers TEXT NOT NULL, graph TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS findings_by_time ON findings (at_ns, id);
CREATE TABLE IF NOT EXISTS decisions (
  id TEXT PRIMARY KEY, at_ns INTEGER NOT NULL, finding TEXT NOT NULL, state TEXT NOT NULL,
  document TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS decisions_by_time ON decisions (at_ns, id);
CREATE INDEX IF NOT EXISTS decisions_of_finding ON decisions (finding, at_ns);
CREATE TABLE IF NOT EXISTS keys (
  position INTEGER PRIMARY KEY, author TEXT NOT NULL, route TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL,
  answer TEXT NOT NULL, UNIQUE (author, route, key)) STRICT;
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, at_ns INTEGER NOT NULL) STRICT;
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """A finding as it was told last."""

    finding: Finding
    at_ns: int  # when it was told
    state: str  # new, worse, again, over
    origin: str  # loop: told by the pipeline; analysis: found in a snapshot here
    answers: tuple[Mapping[str, Any], ...] = ()  # what the pipeline itself would do, with what the guards said
    graph: tuple[Edge, ...] = ()  # of the snapshot
    addresses: Mapping[str, str] = dataclasses.field(default_factory=dict)  # of its entities, where it told them


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """A plan, what was said of it, and what became of it."""

    id: str  # of the plan
    at_ns: int
    finding_id: str
    state: str  # see `proposing` and `initiating`
    document: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """Who asks what under which key."""

    author: str
    route: str
    key: str  # empty: none
    digest: str  # SHA-256 of the body


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept."""

    findings: int
    decisions: int
    keys: int


class Held(Conflict):
    """Another service has the folder: end that one, or name another --state."""


class Shelf:
    """The file, held by this process alone until `close`."""

    def __init__(self, path: Path, bounds: Bounds, *, clock: Clock | None = None) -> None:
        """Opens or makes it. Raises Held while another process has it, InputError, EnvironmentLacks."""
        self.path, self.bounds = path, bounds
        self.forgotten: Counter[str] = Counter()
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._held = hold(path, "transformer", Held)
        with self._mapped():
            self._base = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")
            self._base.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of it."""
        self._base.close()
        os.close(self._held)

    def answered(self, key: Key) -> tuple[str, str] | None:
        """Digest of the body and the answer that were kept under a key."""
        if not key.key:
            return None
        query = "SELECT digest, answer FROM keys WHERE author = ? AND route = ? AND key = ?"
        rows = self._rows(query, (key.author, key.route, key.key))
        return (rows[0][0], rows[0][1]) if rows else None

    def keep(self, answer: str, key: Key, found: Sequence[Known] = (), decided: Sequence[Decision] = ()) -> None:
        """What a request leaves behind, with its answer: all of it or nothing."""
        with self._lock, self._mapped(), transaction(self._base):
            for known in found:
                self._put_finding(known)
            for decision in decided:
                self._put_decision(decision)
            if key.key:
                row = (key.author, key.route, key.key, key.digest, answer)
                self._base.execute("INSERT INTO keys (author, route, key, digest, answer) VALUES (?, ?, ?, ?, ?)", row)
            self._bound()

    def hear(self, found: Sequence[Known], mark: str = "", at_ns: int = 0) -> int:
        """Findings of the pipeline, and how far it was read; returns how many are news."""
        with self._lock, self._mapped(), transaction(self._base):
            news = sum(self._put_finding(known) for known in found)
            if mark:
                self._base.execute(
                    "INSERT INTO marks VALUES (?, ?) ON CONFLICT (name) DO UPDATE "
                    "SET at_ns = max(marks.at_ns, excluded.at_ns)",
                    (mark, at_ns),
                )
            self._bound()
        return news

    def mark(self, name: str) -> int:
        """How far something was read; 0: not at all."""
        rows = self._rows("SELECT at_ns FROM marks WHERE name = ?", (name,))
        return int(rows[0][0]) if rows else 0

    def finding(self, identity: str) -> Known | None:
        """One."""
        rows = self._rows(f"SELECT {_FINDING} FROM findings WHERE id = ?", (identity,))  # noqa: S608 names of ours
        return _known(rows[0]) if rows else None

    def findings(self, page: Page, *, pattern: str = "", severity: str = "", origin: str = "") -> list[Known]:
        """The newest first."""
        wanted = [("pattern", pattern), ("severity", severity), ("origin", origin)]
        rows = self._page("findings", _FINDING, page, [(name, value) for name, value in wanted if value])
        return [_known(row) for row in rows]

    def decision(self, identity: str) -> Decision | None:
        """One."""
        rows = self._rows(f"SELECT {_DECISION} FROM decisions WHERE id = ?", (identity,))  # noqa: S608 as above
        return _decision(rows[0]) if rows else None

    def decisions(self, page: Page, *, finding: str = "", state: str = "") -> list[Decision]:
        """The newest first."""
        wanted = [("finding", finding), ("state", state)]
        rows = self._page("decisions", _DECISION, page, [(name, value) for name, value in wanted if value])
        return [_decision(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """What is kept."""
        return {table: int(self._rows(f"SELECT count(*) FROM {table}", ())[0][0]) for table in _BOUNDED}  # noqa: S608

    def _page(self, table: str, columns: str, page: Page, wanted: Sequence[tuple[str, str]]) -> list[Any]:
        where, values = [f"{name} = ?" for name, _ in wanted], [value for _, value in wanted]
        given: list[Any] = list(values)
        if page.before is not None:
            where.append("(at_ns, id) < (?, ?)")
            given += page.before
        told = f"WHERE {' AND '.join(where)}" if where else ""
        query = f"SELECT {columns} FROM {table} {told} ORDER BY at_ns DESC, id DESC LIMIT ?"  # noqa: S608 as above
        return self._rows(query, (*given, page.limit))

    def _put_finding(self, known: Known) -> int:
        """Unless something newer is known of it."""
        one = known.finding
        edges = [dataclasses.astuple(edge) for edge in known.graph]
        graph = json.dumps({"edges": edges, "addresses": dict(known.addresses)})
        row = (one.id, known.at_ns, known.state, known.origin, one.pattern, one.severity.value)
        texts = (json.dumps(one.as_dict()), json.dumps([dict(each) for each in known.answers]), graph)
        done = self._base.execute(
            f"INSERT INTO findings ({_FINDING}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "  # noqa: S608
            "at_ns = excluded.at_ns, state = excluded.state, origin = excluded.origin, pattern = excluded.pattern, "
            "severity = excluded.severity, finding = excluded.finding, answers = excluded.answers, "
            "graph = excluded.graph WHERE excluded.at_ns >= findings.at_ns",
            (*row, *texts),
        )
        return done.rowcount

    def _put_decision(self, one: Decision) -> None:
        row = (one.id, one.at_ns, one.finding_id, one.state, json.dumps(dict(one.document)))
        self._base.execute(f"INSERT OR REPLACE INTO decisions ({_DECISION}) VALUES (?, ?, ?, ?, ?)", row)  # noqa: S608

    def _bound(self) -> None:
        """Let the oldest go."""
        for table, order in _BOUNDED.items():
            most = getattr(self.bounds, table)
            gone = self._base.execute(
                f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} ORDER BY {order} LIMIT "  # noqa: S608
                f"max(0, (SELECT count(*) FROM {table}) - ?))",
                (most,),
            ).rowcount
            self.forgotten[table] += gone

    def _rows(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock, self._mapped():
            return self._base.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        """Errors of SQLite and of the file system as ours."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise Retryable(f"{self.path}: somebody else writes; try again") from error
            hint = "check that the folder can be written and is not full"
            raise EnvironmentLacks(f"{self.path}: {error}; {hint}") from error
        except sqlite3.DatabaseError as error:
            told = f"{self.path}: cannot be read ({error}); move it away, and the service begins with an empty one"
            raise InputError(told) from error


_FINDING = "id, at_ns, state, origin, pattern, severity, finding, answers, graph"
_DECISION = "id, at_ns, finding, state, document"
_BOUNDED = {"findings": "at_ns, id", "decisions": "at_ns, id", "keys": "position"}


def _known(row: Sequence[Any]) -> Known:
    _, at_ns, state, origin, _, _, finding, answers, graph = row
    read = read_record(Finding, json.loads(finding), "finding")
    drawn = json.loads(graph)
    edges = tuple(Edge(*edge) for edge in drawn["edges"])
    return Known(read, at_ns, state, origin, tuple(json.loads(answers)), edges, drawn["addresses"])


def _decision(row: Sequence[Any]) -> Decision:
    return Decision(row[0], row[1], row[2], row[3], json.loads(row[4]))
