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

from loomidi.contracts.errors import Conflict, Retryable
from loomidi.contracts.streams import Envelope, Message, Position
from loomidi.loom.bus.envelopes import BadBatch, decode
from loomidi.loom.lake import appending, expiring, mapping, reading, writing
from loomidi.loom.lake.faults import FileGone, LakeFull, mapped
from loomidi.loom.lake.lakes import Lake, marks_of, properties_of
from loomidi.loom.lake.locks import TableLock, turn
from loomidi.loom.lake.marks import COMMIT, ROWS, WRITER, Marks

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


@dataclasses.dataclass(slots=True)
class _Pending:
    """What one snapshot is to add."""

    marks: Marks  # of the table with it
    tables: list[pa.Table] = dataclasses.field(default_factory=list)
    rows_of: dict[str, int] = dataclasses.field(default_factory=dict)  # run -> rows
    taken: Taken = dataclasses.field(default_factory=Taken)
    since_ns: int | None = None  # monotonic; when the first of it was taken
    newest_ns: int = 0
    given_up: int = 0
    forgotten: int = 0
    attempt: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)  # how the catalog is asked for it
    unsure: bool = False  # it was tried, and nobody knows how that ended

    def note(self, envelope: Envelope, rows: int, now_ns: int) -> None:
        """A batch of so many rows is in it."""
        self.given_up += self.marks.add(envelope, rows, now_ns)
        run = f"{envelope.producer}/{envelope.epoch}"
        self.rows_of[run] = self.rows_of.get(run, 0) + rows
        self.newest_ns = max(self.newest_ns, envelope.created_ns)
        self.taken.batches += 1
        self.taken.rows += rows
        self.taken.octets += len(envelope.payload)


class Committer:
    """Takes messages, commits snapshots. One thread may take what comes while another commits what is sealed."""

    def __init__(
        self,
        lake: Lake,
        stream: str,
        *,
        transform: Transform | None = None,
        bury: Bury | None = None,
        lineage: str = "",
    ) -> None:
        """Makes the table if need be. Raises Conflict while another committer of this machine has it.

        `lineage` is the bus's own (`Bus.lineage`): where it is another than that of the table's position, the bus has
        begun to count anew, and everything on it is taken; what the table holds is known by its id.

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
        marks = self._in_table.copy()
        self.restarted = not marks.follow(lineage)
        self._position = dict(marks.position)
        self._open = _Pending(marks)
        self._sealed: _Pending | None = None  # what the commit is about; `_open` is what came since
        self._committing = False
        self._commits = 0

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
        return dict(self._position)

    @property
    def waiting(self) -> Taken:
        """What was taken and is not known to be committed."""
        both = (dataclasses.astuple(each.taken) for each in (self._sealed, self._open) if each is not None)
        return Taken(*(sum(numbers) for numbers in zip(*both, strict=True)))

    def take(self, messages: Sequence[Message]) -> Taken:
        """Decode and hold what is new. Returns what became of these; raises only what `bury` raised."""
        before = dataclasses.replace(self._open.taken)
        if messages and self._open.since_ns is None:
            self._open.since_ns = self.lake.clock.monotonic_ns()
        at = 0
        while at < len(messages):
            at += self._take_some(messages[at:])
        pairs = zip(dataclasses.astuple(self._open.taken), dataclasses.astuple(before), strict=True)
        return Taken(*(now - then for now, then in pairs))

    def _take_some(self, messages: Sequence[Message]) -> int:
        """What comes before the first one that has to be buried, and that one. Returns how many it has dealt with."""
        fresh: list[tuple[Message, pa.RecordBatch]] = []
        cause, count, ids = "", 0, set[str]()
        for message in messages:
            count += 1
            envelope = message.envelope
            if self._open.marks.holds(envelope) or envelope.id in ids:
                self._open.taken.duplicates += 1
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
            self._open.marks.passed(message.partition, message.offset)
        return count

    def _hold(self, fresh: list[tuple[Message, pa.RecordBatch]]) -> None:
        """All at once, which spares a hundred columns times so many small steps; one by one where one does not fit."""
        if not fresh:
            return
        try:
            rows = pa.Table.from_batches([batch for _, batch in fresh]).combine_chunks()
            self._open.tables.append(mapping.to_stored(rows))
        except mapping.DoesNotFit as error:
            if len(fresh) == 1:
                self._put_away(fresh[0][0], str(error))
                return
            for one in fresh:
                self._hold([one])
            return
        for message, batch in fresh:
            self._open.note(message.envelope, batch.num_rows, self.lake.clock.now_ns())

    def _put_away(self, message: Message, cause: str) -> None:
        if self._bury is not None:
            self._bury(message, cause)
        self._open.taken.buried += 1

    def _decoded(self, envelope: Envelope) -> pa.RecordBatch:
        if self._open.marks.too_old(envelope):
            days = self.lake.settings.remember_s / 86400
            raise BadBatch(f"older than what the lake remembers of producers ({days:g} days): it may be in the table")
        batch = decode(envelope, self.spec.schema)
        return batch if self._transform is None else self._transform(batch)

    def due(self, monotonic_ns: int | None = None) -> bool:
        """Whether it is time: enough rows, enough octets, or the first has waited long enough."""
        settings, taken, since_ns = self.lake.settings, self._open.taken, self._open.since_ns
        if self._sealed is not None and not self._committing:
            return True
        if since_ns is None:
            return False
        if taken.rows >= settings.commit_rows or taken.octets >= settings.commit_octets:
            return True
        now = self.lake.clock.monotonic_ns() if monotonic_ns is None else monotonic_ns
        return not 0 <= now - since_ns < settings.commit_age_s * 1e9

    def seal(self) -> None:
        """What was taken so far is what the next commit is about; what is taken from now on waits for the one after."""
        if self._sealed is None:
            pending = self._open
            oldest_ns = self.lake.clock.now_ns() - round(self.lake.settings.remember_s * 1e9)
            pending.forgotten = pending.marks.forget(oldest_ns)
            self._sealed, self._open = pending, _Pending(pending.marks.copy())

    def commit(self) -> Committed:
        """One snapshot with all that is sealed, else with all that was taken; none when there is nothing new.

        Raises LakeFull and other Retryable with everything still held: call again. What was taken since waits for the
        call after, which also settles a commit of which nobody knew how it ended. Raises Conflict when somebody else
        committed rows of this stream: make a new committer then.
        """
        self.seal()
        pending, done = self._sealed, _Done(None, ())
        assert pending is not None
        self._committing = True
        try:
            if pending.tables:
                with mapped(f"table {self.stream}"):
                    done = self._landed(pending) or self._write_and_append(pending)
        finally:
            self._committing = False
        self._settled(pending, done)
        return _told(pending, done)

    def _settled(self, pending: _Pending, done: "_Done") -> None:
        self._position, self._sealed = dict(pending.marks.position), None
        if done.snapshot_id is not None:
            self._in_table = pending.marks.copy()
            self._commits += 1
            self._tidy()

    def _landed(self, pending: _Pending) -> "_Done | None":
        """After an attempt of which nobody knows how it ended: what the catalog says. None: it did not land."""
        if not pending.unsure:
            return None
        self._table = self.lake.find(self.stream)
        pending.unsure = False
        return self._found(pending)

    def _found(self, pending: _Pending) -> "_Done | None":
        for snapshot in self._table.metadata.snapshots:
            if properties_of(snapshot).get(COMMIT) == pending.attempt:
                return _Done(snapshot.snapshot_id, ())
        return None

    def _write_and_append(self, pending: _Pending) -> "_Done":
        files = reading.files_of(self._table)
        made = writing.write(self._table, files, self.spec, pa.concat_tables(pending.tables))
        try:
            with turn(self.lake.settings, self.stream):
                return self._append(pending, made)
        except CommitFailedException as error:
            writing.discard(files, [each.file_path for each in made])
            raise Retryable(f"table {self.stream}: lost the race for the catalog {_RACES} times; call again") from error
        except (Conflict, LakeFull):
            landed = self._landed(pending)
            if landed is not None:
                return landed
            writing.discard(files, [each.file_path for each in made])
            raise

    def _append(self, pending: _Pending, made: list[DataFile]) -> "_Done":
        """Repeated only when what came between was somebody who keeps our marks, such as compaction."""
        told = {**pending.marks.properties(), COMMIT: pending.attempt, WRITER: COMMITTER, ROWS: _json(pending.rows_of)}
        for race in range(_RACES):
            try:
                pending.unsure = True
                with mapped(f"table {self.stream}"):
                    snapshot_id = appending.append(self._table, made, told, self.lake.now_ms())
                pending.unsure = False
                return _Done(snapshot_id, tuple(made))
            except (CommitFailedException, FileGone):  # the table has moved on from the state that we know
                self._table = self.lake.find(self.stream)
                pending.unsure = False
                found = self._found(pending)
                if found is not None:
                    return found
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


@dataclasses.dataclass(frozen=True, slots=True)
class _Done:
    """How an attempt ended."""

    snapshot_id: int | None  # None: there was nothing to commit
    files: tuple[DataFile, ...]  # empty where a former attempt had landed


def _told(pending: _Pending, done: _Done) -> Committed:
    return Committed(
        rows=pending.taken.rows,
        batches=pending.taken.batches,
        duplicates=pending.taken.duplicates,
        buried=pending.taken.buried,
        octets=sum(each.file_size_in_bytes for each in done.files),
        files=len(done.files),
        position=dict(pending.marks.position),
        snapshot_id=done.snapshot_id,
        newest_ns=pending.newest_ns,
        forgotten_runs=pending.forgotten,
        ids_given_up=pending.given_up,
    )


def _json(value: object) -> str:
    import json

    return json.dumps(value, separators=(",", ":"))
