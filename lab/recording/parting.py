"""Rows and Arrow batches of one stream to Parquet parts.

Called by the recorder's sources. In: rows as tuples in the order of the schema without its stamps, or batches. Out:
`part-NNNNN.parquet` (zstd), a new one every `rotate_s`, so that memory and what a crash costs stay bounded. Stamps
each row with `recorded_ns`, which never falls; a row whose own time lies outside the window is dropped and counted.
"""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from loomidi_lab.recording.balances import Balance
from loomidi_lab.recording.streams import WHERE

BEFORE, AFTER, UNFIT = "before the window", "after the window", "does not fit its columns"
COMPACT = 128  # batches


@dataclasses.dataclass(frozen=True, slots=True)
class Parting:
    """How rows are gathered."""

    rows: int = 16384
    # A row group is written at so many rows: the most that waits in memory.
    flush_s: float = 30.0
    # Or after so long.
    rotate_s: float = 300.0
    # A part is closed after so long: what a crash can cost.


class Stream:
    """One stream's writer. `add` and `add_batch` are safe from several threads."""

    def __init__(
        self, folder: Path, schema: pa.Schema, parting: Parting | None = None, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.schema, self.balance = schema, Balance()
        self._folder, self._parting, self._now_ns = folder, parting or Parting(), now_ns
        self._lock = threading.Lock()
        self._rows: list[tuple[Any, ...]] = []
        self._batches: list[tuple[pa.RecordBatch, tuple[Any, ...]]] = []
        self._tables: list[pa.Table] = []
        self._begin_ns, self._end_ns, self._last_ns = 0, 1 << 62, 0
        self._writer: parquet.ParquetWriter | None = None
        self._part, self._opened_ns, self._flushed_ns = 0, 0, now_ns()
        folder.mkdir(parents=True, exist_ok=True)

    def begin(self, begin_ns: int) -> None:
        """Rows from before it are dropped and counted."""
        self._begin_ns = begin_ns

    def end(self, end_ns: int) -> None:
        """Rows from after it are dropped and counted."""
        self._end_ns = end_ns

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        """Rows as (time_ns, then the rest of the columns)."""
        with self._lock:
            stamp = self._stamp()
            for row in rows:
                self.balance.receive()
                if row[0] < self._begin_ns:
                    self.balance.drop(BEFORE)
                elif row[0] > self._end_ns:
                    self.balance.drop(AFTER)
                else:
                    self._rows.append((stamp, *row))
            if len(self._rows) >= self._parting.rows:
                self._flush()

    def add_flows(self, batch: pa.RecordBatch, where: Sequence[Any]) -> None:
        """A batch of the meter with its observation point: the columns of `WHERE` behind the stamps."""
        with self._lock:
            self.balance.receive(batch.num_rows)
            self._batches.append((batch, (self._stamp(), *where)))
            if len(self._batches) >= COMPACT:
                self._compact()
            if sum(table.num_rows for table in self._tables) >= self._parting.rows:
                self._flush()

    def tick(self) -> None:
        """Called about once a second: writes what has waited long enough and closes a part that is old."""
        with self._lock:
            now = self._now_ns()
            if now - self._flushed_ns >= self._parting.flush_s * 1e9:
                self._flush()
            if self._writer is not None and now - self._opened_ns >= self._parting.rotate_s * 1e9:
                self._close_part()

    def close(self) -> None:
        """Write the rest. A stream without any row still has one part, so that its schema can be read."""
        with self._lock:
            self._flush()
            if self._writer is None and self._part == 0:
                self._open_part()
            self._close_part()

    def _stamp(self) -> int:
        self._last_ns = max(self._last_ns, self._now_ns())
        return self._last_ns

    def _flush(self) -> None:
        self._flushed_ns = self._now_ns()
        self._compact()
        rows, tables, self._rows, self._tables = self._rows, self._tables, [], []
        if tables:
            self._put(self._within(pa.concat_tables(tables)))
        if rows:
            self._put(pa.Table.from_batches(list(self._converted(rows)), self.schema))

    def _compact(self) -> None:
        """A hundred columns of a few rows each cost a hundred times what is in them: lay batches together soon."""
        batches, self._batches = self._batches, []
        if batches:
            self._tables.append(_with_places(batches, self.schema).combine_chunks())

    def _converted(self, rows: list[tuple[Any, ...]]) -> Iterator[pa.RecordBatch]:
        """All at once; when a row does not fit its columns, one by one, and that row is counted."""
        try:
            columns = zip(*rows, strict=True)
            arrays = [pa.array(c, field.type) for c, field in zip(columns, self.schema, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            if len(rows) == 1:
                self.balance.drop(UNFIT)
                return
            for row in rows:
                yield from self._converted([row])

    def _within(self, table: pa.Table) -> pa.Table:
        times = table["time_ns"]
        early, late = pc.less(times, self._begin_ns), pc.greater(times, self._end_ns)
        count = [pc.sum(flags).as_py() or 0 for flags in (early, late)]
        self.balance.drop(BEFORE, count[0])
        self.balance.drop(AFTER, count[1])
        return table.filter(pc.invert(pc.or_(early, late))) if any(count) else table

    def _put(self, table: pa.Table) -> None:
        if not table.num_rows:
            return
        if self._writer is None:
            self._open_part()
        assert self._writer is not None
        self._writer.write_table(table, row_group_size=table.num_rows)
        self.balance.write(table.num_rows)

    def _open_part(self) -> None:
        path = self._folder / f"part-{self._part:05}.parquet"
        self._writer = parquet.ParquetWriter(path, self.schema, compression="zstd", write_page_index=False)
        self._part, self._opened_ns = self._part + 1, self._now_ns()

    def _close_part(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _with_places(batches: list[tuple[pa.RecordBatch, tuple[Any, ...]]], schema: pa.Schema) -> pa.Table:
    """The meter's batches in one table, with the columns of `WHERE` repeated for the rows of each."""
    table = pa.Table.from_batches([batch for batch, _ in batches])
    counts = [batch.num_rows for batch, _ in batches]
    places = np.repeat(np.arange(len(batches)), counts)
    ends = table["flow_end_nanoseconds"].cast(pa.int64())
    columns = [table[name] for name in table.column_names]
    for number, field in enumerate(WHERE):
        if field.name == "time_ns":
            columns.append(ends)
            continue
        values = [where[number - (number > 0)] for _, where in batches]
        columns.append(pa.array(values, field.type).take(pa.array(places)))
    return pa.Table.from_arrays(columns, schema=schema)
