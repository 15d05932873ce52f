"""Batches of the bus as rows of a table, each exactly once.

Called by `services.pipeline` and by runners that keep their output. In: messages of one stream, in the bus's order.
Out: snapshots whose properties say how far the bus is dealt with and which envelopes are in the table, so that rows
and position are there together or not at all. After a crash the next committer begins behind `position`; what the bus
delivers again is known by its id. One committer for each table. Leaves the bus, and when to ask `due`, to its caller.
"""

import dataclasses
import uuid
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from loomidi.contracts.errors import Conflict, Retryable
from loomidi.contracts.streams import Envelope, Message, Position
from loomidi.loom.bus.envelopes import BadBatch, decode
from loomidi.loom.lake import appending, expiring, mapping, reading, writing
from loomidi.loom.lake.faults import FileGone, LakeFull, mapped
from loomidi.loom.lake.lakes import Lake, marks_of, properties_of
from loomidi.loom.lake.locks import TableLock, turn
from loomidi.loom.lake.marks import COMMIT, ROWS, WRITER

COMMITTER = "committer"
_RACES = 8  # commits of compaction and expiry that one commit of ours may lose against

Transform = Callable[[pa.RecordBatch], pa.RecordBatch]
Bury = Callable[[Message, str], None]


@dataclasses.dataclass(slots=True)
class Taken:
    """What became of messages that were handed over; their sum is all of them."""

    batches: int = 0  # wait for the next commit
    rows: int = 0  # of these
    duplicates: int = 0  # batches that the table holds already
    buried: int = 0  # batches that nobody can use
    octets: int = 0  # of the envelopes that wait


@dataclasses.dataclass(frozen=True, slots=True)
class Committed:
    """What one commit did, and what was taken for it."""

    rows: int
    batches: int
    duplicates: int
    buried: int
    octets: int  # of the files
    files: int
    position: Position  # the bus may forget all up to here
    snapshot_id: int | None  # None: nothing new, no snapshot
    newest_ns: int = 0  # youngest `created_ns` of the batches
    forgotten_runs: int = 0  # of producers that were silent for `remember_s`
    ids_given_up: int = 0  # ids in the oldest gap of a run with too many gaps: they will be taken for duplicates


class Committer:
    """Takes messages, commits snapshots. Not for two threads at once."""

    def __init__(
        self, lake: Lake, stream: str, *, transform: Transform | None = None, bury: Bury | None = None
    ) -> None:
        """Makes the table if need be. Raises Conflict while another committer of this machine has it.

        `transform` sees each batch before it is written and gives one of the same columns. `bury` keeps what nobody
        can use; it is durable when it returns, and what it raises goes to the caller of `take`, who calls again.
        """
        self.lake, self.stream = lake, str(stream)
        self.spec = lake.spec(stream)
        self._transform, self._bury = transform, bury
        self._lock = TableLock(lake.settings, self.stream, COMMITTER)
        try:
            self._table = lake.ensure(stream)
            self._in_table = marks_of(self._table, self._table.current_snapshot())
        except BaseException:
            self._lock.close()
            raise
        self._committed, self._next = self._in_table.copy(), self._in_table.copy()
        self._clear()
        self._commits = 0

    def _clear(self) -> None:
        self._tables: list[pa.Table] = []
        self._rows_of: dict[str, int] = {}
        self._taken = Taken()
        self._since_ns: int | None = None
        self._newest_ns = self._given_up = 0
        self._attempt = uuid.uuid4().hex
        self._unsure = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let the table go. What is not committed is on the bus and comes again."""
        self._lock.close()

    @property
    def position(self) -> Position:
        """All up to there is dealt with: a reader begins behind it."""
        return dict(self._committed.position)

    @property
    def waiting(self) -> Taken:
        """What was taken since the last commit."""
        return dataclasses.replace(self._taken)

    def take(self, messages: Sequence[Message]) -> Taken:
        """Decode and hold what is new. Returns what became of these; raises only what `bury` raised."""
        before = dataclasses.replace(self._taken)
        if messages and self._since_ns is None:
            self._since_ns = self.lake.clock.monotonic_ns()
        at = 0
        while at < len(messages):
            at += self._take_some(messages[at:])
        pairs = zip(dataclasses.astuple(self._taken), dataclasses.astuple(before), strict=True)
        return Taken(*(now - then for now, then in pairs))

    def _take_some(self, messages: Sequence[Message]) -> int:
        """What comes before the first one that has to be buried, and that one. Returns how many it has dealt with."""
        fresh: list[tuple[Message, pa.RecordBatch]] = []
        cause, count, ids = "", 0, set[str]()
        for message in messages:
            count += 1
            envelope = message.envelope
            if self._next.holds(envelope) or envelope.id in ids:
                self._taken.duplicates += 1
                continue
            try:
                fresh.append((message, self._decoded(envelope)))
                ids.add(envelope.id)
            except BadBatch as error:
                cause = " ".join(str(error).split())
                break
        self._hold(fresh)
        if cause:
            self._put_away(messages[count - 1], cause)
        for message in messages[:count]:
            self._next.passed(message.partition, message.offset)
        return count

    def _hold(self, fresh: list[tuple[Message, pa.RecordBatch]]) -> None:
        """All at once, which spares a hundred columns times so many small steps; one by one where one does not fit."""
        if not fresh:
            return
        try:
            self._tables.append(
                mapping.to_stored(pa.Table.from_batches([batch for _, batch in fresh]).combine_chunks())
            )
        except mapping.DoesNotFit as error:
            if len(fresh) == 1:
                self._put_away(fresh[0][0], str(error))
                return
            for one in fresh:
                self._hold([one])
            return
        for message, batch in fresh:
            self._note(message.envelope, batch.num_rows)

    def _put_away(self, message: Message, cause: str) -> None:
        if self._bury is not None:
            self._bury(message, cause)
        self._taken.buried += 1

    def _note(self, envelope: Envelope, rows: int) -> None:
        self._given_up += self._next.add(envelope, rows, self.lake.clock.now_ns())
        run = f"{envelope.producer}/{envelope.epoch}"
        self._rows_of[run] = self._rows_of.get(run, 0) + rows
        self._newest_ns = max(self._newest_ns, envelope.created_ns)
        self._taken.batches += 1
        self._taken.rows += rows
        self._taken.octets += len(envelope.payload)

    def _decoded(self, envelope: Envelope) -> pa.RecordBatch:
        if self._next.too_old(envelope):
            days = self.lake.settings.remember_s / 86400
            raise BadBatch(f"older than what the lake remembers of producers ({days:g} days): it may be in the table")
        batch = decode(envelope, self.spec.schema)
        return batch if self._transform is None else self._transform(batch)

    def due(self, monotonic_ns: int | None = None) -> bool:
        """Whether it is time: enough rows, enough octets, or the first has waited long enough."""
        if self._since_ns is None:
            return False
        settings = self.lake.settings
        if self._taken.rows >= settings.commit_rows or self._taken.octets >= settings.commit_octets:
            return True
        now = self.lake.clock.monotonic_ns() if monotonic_ns is None else monotonic_ns
        return not 0 <= now - self._since_ns < settings.commit_age_s * 1e9

    def commit(self) -> Committed:
        """One snapshot with all that was taken; none when there is nothing new.

        Raises LakeFull and other Retryable with everything still held: call again. Raises Conflict when somebody else
        committed rows of this stream: this committer is no longer the one, make a new one.
        """
        forgotten = self._next.forget(self.lake.clock.now_ns() - round(self.lake.settings.remember_s * 1e9))
        done: tuple[int | None, list[DataFile]] = (None, [])
        if self._tables:
            with mapped(f"table {self.stream}"):
                done = self._landed() or self._write_and_append()
        told = self._told(done, forgotten)
        self._committed, self._next = self._next, self._next.copy()
        self._clear()
        if done[0] is not None:
            self._in_table = self._committed.copy()
            self._commits += 1
            self._tidy()
        return told

    def _told(self, done: tuple[int | None, list[DataFile]], forgotten: int) -> Committed:
        snapshot_id, made = done
        return Committed(
            rows=self._taken.rows,
            batches=self._taken.batches,
            duplicates=self._taken.duplicates,
            buried=self._taken.buried,
            octets=sum(each.file_size_in_bytes for each in made),
            files=len(made),
            position=dict(self._next.position),
            snapshot_id=snapshot_id,
            newest_ns=self._newest_ns,
            forgotten_runs=forgotten,
            ids_given_up=self._given_up,
        )

    def _landed(self) -> tuple[int | None, list[DataFile]] | None:
        """After an attempt of which nobody knows how it ended: what the catalog says. None: it did not land."""
        if not self._unsure:
            return None
        self._table = self.lake.find(self.stream)
        self._unsure = False
        return self._found(self._table)

    def _found(self, table: Table) -> tuple[int | None, list[DataFile]] | None:
        for snapshot in table.metadata.snapshots:
            if properties_of(snapshot).get(COMMIT) == self._attempt:
                return snapshot.snapshot_id, []
        return None

    def _write_and_append(self) -> tuple[int | None, list[DataFile]]:
        files = reading.files_of(self._table)
        made = writing.write(self._table, files, self.spec, pa.concat_tables(self._tables))
        try:
            with turn(self.lake.settings, self.stream):
                return self._append(made)
        except CommitFailedException as error:
            writing.discard(files, [each.file_path for each in made])
            raise Retryable(f"table {self.stream}: lost the race for the catalog {_RACES} times; call again") from error
        except (Conflict, LakeFull):
            landed = self._landed()
            if landed is not None:
                return landed
            writing.discard(files, [each.file_path for each in made])
            raise

    def _append(self, made: list[DataFile]) -> tuple[int | None, list[DataFile]]:
        """Repeated only when what came between was somebody who keeps our marks, such as compaction."""
        properties = {**self._next.properties(), COMMIT: self._attempt, WRITER: COMMITTER, ROWS: _json(self._rows_of)}
        for race in range(_RACES):
            try:
                self._unsure = True
                with mapped(f"table {self.stream}"):
                    snapshot_id = appending.append(self._table, made, properties, self.lake.now_ms())
                self._unsure = False
                return snapshot_id, made
            except (CommitFailedException, FileGone):  # the table has moved on from the state that we know
                self._unsure = False
                self._table = self.lake.find(self.stream)
                found = self._found(self._table)
                if found is not None:
                    return found[0], made
                self._still_ours()
                if race == _RACES - 1:
                    raise
        raise AssertionError("not reached")

    def _still_ours(self) -> None:
        if marks_of(self._table, self._table.current_snapshot()) != self._in_table:
            raise Conflict(
                f"somebody else commits rows to the table {self.stream}; one committer per table: "
                "stop the other one, then start this one anew"
            )

    def _tidy(self) -> None:
        """Snapshots are thinned now and then; that it cannot be done now is no fault of the commit."""
        if self._commits % self.lake.settings.expire_every:
            return
        try:
            with turn(self.lake.settings, self.stream), mapped(f"table {self.stream}"):
                expiring.thin(self.lake, self.lake.find(self.stream))
        except (Retryable, CommitFailedException):
            return


def _json(value: object) -> str:
    import json

    return json.dumps(value, separators=(",", ":"))
