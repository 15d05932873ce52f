"""Small files of closed hours become large sorted ones, in one atomic step for each hour.

Called by `loomidi lake compact` and by `services.pipeline`. In: a table. Out: what was done, rows before and after,
which are equal or nothing is committed. Runs beside a committer: of two commits that race, the one that lost looks at
what was committed and goes on top of it, and the bus's marks are those of the snapshot below. One compaction for each
table at a time.
"""

import dataclasses
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence

import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from loomidi.contracts.errors import InputError, LoomidiError, Retryable
from loomidi.loom.lake import appending, expiring, reading, shaping, writing
from loomidi.loom.lake.faults import mapped
from loomidi.loom.lake.lakes import Lake, marks_of, properties_of
from loomidi.loom.lake.locks import TableLock, turn
from loomidi.loom.lake.marks import COMMIT, WRITER

COMPACTION = "compaction"
_HOUR_S = 3600
_RACES = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Compacted:
    """One hour of one table."""

    hour: int  # since the epoch
    files_before: int
    files_after: int
    octets_before: int
    octets_after: int
    rows: int


def compact(lake: Lake, stream: str, *, every_hour: bool = False) -> list[Compacted]:
    """Rewrite what is worth it. With `every_hour` also hours that are not closed.

    Raises Conflict while another compaction has the table, InputError for an unknown table or a file that does not
    hold the rows that it should.
    """
    lock = TableLock(lake.settings, stream, COMPACTION)
    try:
        hours = lake.at(stream, lambda table: _worthwhile(lake, table, every_hour))
        with mapped(f"table {stream}"):
            return [_hour(lake, stream, hour, files) for hour, files in hours]
    finally:
        lock.close()


def _worthwhile(lake: Lake, table: Table, every_hour: bool) -> list[tuple[int, list[DataFile]]]:
    """Hours with at least two small files, and these files."""
    snapshot = table.current_snapshot()
    if snapshot is None:
        return []
    closed = int((lake.clock.now_ns() / 1e9 - lake.settings.closed_s) // _HOUR_S)
    small: dict[int, list[DataFile]] = defaultdict(list)
    for each in expiring.data_files(table, snapshot):
        if (every_hour or each.partition[0] < closed) and _is_small(lake, each):
            small[each.partition[0]].append(each)
    return [(hour, files) for hour, files in sorted(small.items()) if len(files) > 1]


def _is_small(lake: Lake, file: DataFile) -> bool:
    settings = lake.settings
    return file.file_size_in_bytes < settings.target_octets // 2 and file.record_count < settings.compact_rows // 2


def _groups(lake: Lake, files: Sequence[DataFile]) -> Iterator[list[DataFile]]:
    """As many as may be sorted at once."""
    group: list[DataFile] = []
    rows = octets = 0
    for each in files:
        full = rows + each.record_count > lake.settings.compact_rows
        if group and (full or octets + each.file_size_in_bytes > lake.settings.target_octets):
            yield group
            group, rows, octets = [], 0, 0
        group.append(each)
        rows += each.record_count
        octets += each.file_size_in_bytes
    if group:
        yield group


def _hour(lake: Lake, stream: str, hour: int, old: list[DataFile]) -> Compacted:
    table, attempt = lake.find(stream), uuid.uuid4().hex
    new: list[DataFile] = []
    try:
        for group in _groups(lake, sorted(old, key=lambda file: _first_time(table, file))):
            new += _rewritten(lake, stream, table, group)
        _check(stream, old, new)
        _replace(lake, stream, (old, new), attempt)
    except BaseException:
        if not _landed(lake, stream, attempt):
            writing.discard(reading.files_of(table), [each.file_path for each in new])
        raise
    octets = sum(each.file_size_in_bytes for each in old), sum(each.file_size_in_bytes for each in new)
    return Compacted(hour, len(old), len(new), *octets, sum(each.record_count for each in new))


def _first_time(table: Table, file: DataFile) -> int:
    """Microseconds, as Iceberg keeps a bound: eight octets, the lowest first."""
    bound = (file.lower_bounds or {}).get(table.spec().fields[0].source_id, b"")
    return int.from_bytes(bound, "little", signed=True)


def _rewritten(lake: Lake, stream: str, table: Table, group: list[DataFile]) -> list[DataFile]:
    found = reading.of_files(table, [each.file_path for each in group], shaping.plain(table))
    rows: pa.Table = found.to_table().combine_chunks()
    made = writing.write(table, reading.files_of(table), lake.spec(stream), rows, for_long=True)
    del rows
    pa.default_memory_pool().release_unused()  # the process may live for months and compact for minutes
    return made


def _check(stream: str, old: list[DataFile], new: list[DataFile]) -> None:
    before, after = sum(each.record_count for each in old), sum(each.record_count for each in new)
    if before != after:
        raise InputError(f"table {stream}: files that should hold {before} rows hold {after}; nothing was changed")


def _landed(lake: Lake, stream: str, attempt: str) -> bool:
    """Whether the table holds a step of which nobody told how it ended. Where that cannot be seen: it may."""
    try:
        return any(properties_of(each).get(COMMIT) == attempt for each in lake.find(stream).metadata.snapshots)
    except LoomidiError:
        return True


def _replace(lake: Lake, stream: str, files: tuple[list[DataFile], list[DataFile]], attempt: str) -> None:
    for _ in range(_RACES):
        try:
            with turn(lake.settings, stream):
                table = lake.find(stream)
                marks = marks_of(table, table.current_snapshot())
                told = {**marks.properties(), WRITER: COMPACTION, COMMIT: attempt}
                appending.replace(table, files, told, lake.now_ms())
                return
        except CommitFailedException:
            continue  # a commit of another machine came first: on top of that one
        except ValidationException as error:
            raise Retryable(f"table {stream}: somebody else rewrote the same files; call again") from error
    raise Retryable(f"table {stream}: others commit all the time; call again when there is less to do")
