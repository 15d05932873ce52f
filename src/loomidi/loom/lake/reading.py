"""Rows of a snapshot as an Arrow dataset over the files that may hold them.

Called by `Lake.read`, `querying` and compaction. In: a table, a snapshot, a range of time. Out: a dataset with the
columns of that snapshot; a file that is older than a column gives nulls for it. Leaves SQL to `querying`.
"""

import datetime
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from loomidi.loom.lake import mapping, shaping
from loomidi.loom.lake.files import LakeFiles

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def files_of(table: Table) -> LakeFiles:
    """Where a table's files are reached."""
    assert isinstance(table.io, LakeFiles)
    return table.io


def time_of(table: Table) -> str:
    """The column that a table is partitioned by."""
    return table.schema().find_column_name(table.spec().fields[0].source_id) or ""


def exact_time(table: Table) -> str:
    """The column of nanoseconds beside it."""
    return time_of(table) + mapping.EXACT


def dataset(
    table: Table, snapshot: Snapshot | None, *, since_ns: int | None = None, until_ns: int | None = None
) -> Any:
    """The files of a snapshot, less those that the range leaves out by partition or bounds."""
    columns = shaping.plain(table, snapshot.schema_id if snapshot else None)
    if snapshot is None:
        return ds.dataset(columns.empty_table())
    where = _within(time_of(table), since_ns, until_ns)
    tasks = table.scan(row_filter=where, snapshot_id=snapshot.snapshot_id).plan_files()
    return of_files(table, [task.file.file_path for task in tasks], columns)


def _within(time: str, since_ns: int | None, until_ns: int | None) -> str | BooleanExpression:
    """The range in microseconds, both ends included: what is cut off there is looked at by the reader of the rows."""
    ends = ((">=", since_ns), ("<=", until_ns))
    return " and ".join(f"{time} {sign} '{_micros(ns)}'" for sign, ns in ends if ns is not None) or AlwaysTrue()


def _micros(ns: int) -> str:
    """As pyiceberg takes a time in an expression."""
    return (_EPOCH + datetime.timedelta(microseconds=ns // 1000)).isoformat()


def of_files(table: Table, locations: Sequence[str], columns: pa.Schema) -> Any:
    """A dataset over these files."""
    if not locations:
        return ds.dataset(columns.empty_table())
    files = files_of(table)
    systems = [files.system(location) for location in locations]
    return ds.dataset([path for _, path in systems], schema=columns, format="parquet", filesystem=systems[0][0])


def rows(found: Any, wanted: Sequence[pa.Field], exact: str, since_ns: int | None, until_ns: int | None) -> Any:
    """The stored columns that these of the bus need, of the rows in [since, until) of the exact time."""
    there = set(found.schema.names)
    names = [field.name for field in wanted if field.name in there]
    names += [field.name + mapping.EXACT for field in wanted if field.name in there and mapping.is_exact(field)]
    where = None
    if since_ns is not None:
        where = pc.field(exact) >= since_ns
    if until_ns is not None:
        before = pc.field(exact) < until_ns
        where = before if where is None else where & before
    return found.to_table(columns=names, filter=where)
