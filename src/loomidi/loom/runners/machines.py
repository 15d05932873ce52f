"""The window operators as a state machine: batches in, windows out, all state in one value that can be put away.

Called by `local` (and by whoever wants windows without a bus). In: batches of FLOW_RECORDS and METRICS, the decision up
to when to close. Out: envelopes whose ids depend on nothing but what came before: the same batches and decisions give
the same ids and the same rows. No I/O and no clock: when to close is decided by `due` and told to `close`, so that a
caller can write the decision down first. Leaves positions, files and the bus to `local`.
"""

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts.schemas import FLOW_RECORDS
from loomidi.contracts.streams import Envelope, Stream
from loomidi.loom.bus.envelopes import encode
from loomidi.loom.windows import PANE_S, Closer, Parts, Watermarks, WindowSettings, merged, project, reduced, split
from loomidi.loom.windows import requests as http

SLICE_ROWS = 1024  # of one envelope, about 256 KiB: one that is not full is the last of its window
_MOST_PARTS = 16  # of one piece of time, before they are merged
_MOST_LATE = 65_536  # rows that wait for the next decision
LATE = "windows-late"
_AHEAD_NS = 3600 * 10**9
COUNTERS = (
    "flows",
    "samples",
    "late_flows",
    "flows_ahead",
    "late_samples",
    "values_left_out",
    "edge_windows",
    "entity_windows",
)
"""`late_flows` holds `flows_ahead`, those of a clock that is more than an hour ahead."""


class WindowMachine:
    """Absorb batches, ask `due`, `close`. `to_bytes` at any moment; what it gives goes on exactly there."""

    def __init__(self, settings: WindowSettings, *, epoch: int) -> None:
        self.settings, self.epoch = settings, epoch
        self.counters = dict.fromkeys(COUNTERS, 0)
        self._closer, self._watermarks = Closer(settings), Watermarks.of(settings)
        self._parts, self._samples = dict[int, list[Parts]](), dict[int, list[pa.RecordBatch]]()
        self._pending, self._pending_rows, self._values = list[pa.RecordBatch](), 0, 0
        self._late, self._late_rows = list[pa.RecordBatch](), 0
        self._seqs = dict[str, int]()  # "producer stream" -> next
        self._grown = set[int]()  # pieces of time that have got rows since `early` was asked; no part of the state

    # -- in --------------------------------------------------------------------------------------------------------

    def absorb(self, batch: pa.RecordBatch, *, created_ns: int = 0, heard_ns: int | None = None) -> None:
        """Flows, in the columns of FLOW_RECORDS; those whose windows are closed are kept for the late stream.

        So are those that end more than an hour after their batch was complete (`created_ns`, 0: unknown): they would be
        held until then. `heard_ns` is `created_ns`, or the caller's clock where that is earlier.
        """
        if not batch.num_rows:
            return
        self._hear(batch, created_ns if heard_ns is None else heard_ns)
        closed, width = self._closer.closed_ns, self.settings.base_s * 10**9
        ends = batch.column("flow_end_nanoseconds").view(pa.int64()).to_numpy()
        ahead = ends > created_ns + _AHEAD_NS if created_ns else np.zeros(len(ends), np.bool_)
        late = ahead if closed is None else ahead | ((ends // width + 1) * width <= closed)
        if late.any():
            self.counters["flows_ahead"] += int(ahead.sum())
            self._keep_late(batch.filter(pa.array(late)))
            batch = batch.filter(pa.array(~late))
        self.counters["flows"] += batch.num_rows
        self._pending.append(project(batch, self.settings.grain))
        self._pending_rows += batch.num_rows
        if self._pending_rows >= self.settings.chunk_rows:
            self._reduce()

    def absorb_metrics(self, batch: pa.RecordBatch) -> None:
        """Metrics; those that tell nothing of HTTP servers are not for windows."""
        rows, width = http.project(batch), PANE_S * 10**9
        starts = rows.column("at").to_numpy() // width * width
        floor = self._closer.closed_ns or 0
        for start in np.unique(starts).tolist():
            some = rows.filter(pa.array(starts == start))
            if start + width <= floor:
                self.counters["late_samples"] += some.num_rows
            else:
                self.counters["samples"] += some.num_rows
                self._samples.setdefault(start, []).append(some)

    def _hear(self, batch: pa.RecordBatch, created_ns: int) -> None:
        exporters, ends = batch.column("exporter"), batch.column("flow_end_nanoseconds").view(pa.int64())
        for name in exporters.unique().to_pylist():
            newest = pc.max(ends.filter(pc.equal(exporters, name))).as_py()
            self._watermarks.heard(name, newest, created_ns)

    def _keep_late(self, rows: pa.RecordBatch) -> None:
        self.counters["late_flows"] += rows.num_rows
        self._late.append(rows)
        self._late_rows += rows.num_rows

    def _reduce(self) -> None:
        """Put together what waits; where there is no room for single values, the sums alone."""
        if not self._pending:
            return
        table = pa.Table.from_batches(self._pending).combine_chunks()
        self._pending, self._pending_rows = [], 0
        for rows in table.to_batches():
            for start, some in split(rows, self.settings.base_s):
                one = reduced(some)
                if self._values + one.values > self.settings.max_open_values:
                    self.counters["values_left_out"] += one.values
                    one = one.without_values()
                self._values += one.values
                self._grown.add(start)
                held = self._parts.setdefault(start, [])
                held.append(one)
                if len(held) > _MOST_PARTS:
                    self._parts[start] = [merged(held, self.settings.max_edges)]

    # -- out -------------------------------------------------------------------------------------------------------

    def due(self, silent_ns: int = 0) -> int | None:
        """Up to when everything may be closed now, if that is more than is closed; nothing came for `silent_ns`."""
        mark = self._watermarks.advanced(silent_ns)
        width, closed = self.settings.base_s * 10**9, self._closer.closed_ns
        if mark is None:
            return None
        to_ns = mark // width * width
        if closed is None or to_ns > closed:
            return to_ns
        return closed if self._late_rows >= _MOST_LATE else None

    def early(self, size_s: int) -> tuple[list[pa.RecordBatch], int]:
        """Rows of open windows of this size that have grown since it was last asked, and when their newest was told.

        What is closed later is the same, whether this was asked or not.
        """
        self._reduce()
        grown, self._grown = self._grown, set()
        found = self._closer.peek(self._parts, size_s, grown)
        return [rows for rows in found if rows.num_rows], self._watermarks.now_ns

    def close(self, to_ns: int) -> list[Envelope]:
        """Close all windows that end by then; what came late since the last time goes with them."""
        self._reduce()
        envelopes = list[Envelope]()
        for one in self._closer.close(self._parts, self._samples, to_ns):
            self.counters[one.stream.value] += one.rows.num_rows
            envelopes += self._enveloped(one.rows, one.stream, one.spec.producer)
        if self._late:
            rows = pa.Table.from_batches(self._late, FLOW_RECORDS).combine_chunks().to_batches()
            envelopes += [one for batch in rows for one in self._enveloped(batch, Stream.LATE, LATE)]
            self._late, self._late_rows = [], 0
        self._values = sum(one.values for some in self._parts.values() for one in some)
        return envelopes

    def _enveloped(self, rows: pa.RecordBatch, stream: Stream, producer: str) -> Iterator[Envelope]:
        key = f"{producer} {stream}"
        seq, now = self._seqs.get(key, 0), self._watermarks.now_ns
        for one in enveloped(rows, stream, producer, epoch=self.epoch, seq=seq, created_ns=now):
            self._seqs[key] = one.seq + 1
            yield one

    def figures(self) -> dict[str, int]:
        """What it counted, and what it holds now."""
        held = {
            "open_edges": sum(len(one.edges) for some in self._parts.values() for one in some),
            "open_values": self._values,
            "waiting_flows": self._pending_rows,
        }
        return self.counters | self._closer.counters | held

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """All state."""
        self._reduce()
        parts = [(start, one.to_bytes()) for start, some in self._parts.items() for one in some]
        samples = [(start, ipc(some)) for start, some in self._samples.items()]
        late = [ipc(self._late)] if self._late else []
        pieces = [self._closer.to_bytes(), *(data for _, data in (*parts, *samples)), *late]
        head = {
            "epoch": self.epoch,
            "counters": self.counters,
            "seqs": self._seqs,
            "watermarks": self._watermarks.to_dict(),
            "parts": [start for start, _ in parts],
            "samples": [start for start, _ in samples],
            "lengths": [len(piece) for piece in pieces],
        }
        return json.dumps(head).encode() + b"\n" + b"".join(pieces)

    @classmethod
    def from_bytes(cls, data: bytes, settings: WindowSettings) -> "WindowMachine":
        """What `to_bytes` gave; `settings` must have the same `base_s` and grain."""
        line, _, rest = data.partition(b"\n")
        head, pieces = json.loads(line), iter(_cut(rest, json.loads(line)["lengths"]))
        machine = cls(settings, epoch=head["epoch"])
        machine.counters, machine._seqs = machine.counters | head["counters"], head["seqs"]
        machine._watermarks.restore(head["watermarks"])
        machine._closer = Closer.from_bytes(next(pieces), settings)
        for start in head["parts"]:
            machine._parts.setdefault(start, []).append(Parts.from_bytes(next(pieces)))
        for start in head["samples"]:
            machine._samples[start] = batches_of(next(pieces))
        machine._late = [batch for piece in pieces for batch in batches_of(piece)]
        machine._late_rows = sum(batch.num_rows for batch in machine._late)
        machine._values = sum(one.values for some in machine._parts.values() for one in some)
        return machine


def enveloped(
    rows: pa.RecordBatch, stream: Stream, producer: str, *, epoch: int, seq: int, created_ns: int = 0
) -> Iterator[Envelope]:
    """Rows in envelopes of a fitting size, numbered from `seq`."""
    for number, begin in enumerate(range(0, rows.num_rows, SLICE_ROWS), seq):
        piece = rows.slice(begin, SLICE_ROWS)
        yield encode(piece, stream=stream, producer=producer, epoch=epoch, seq=number, created_ns=created_ns)


def ipc(batches: list[pa.RecordBatch]) -> bytes:
    """As one Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def batches_of(data: bytes) -> list[pa.RecordBatch]:
    """What `ipc` gave."""
    return list(pa.ipc.open_stream(data))


def _cut(data: bytes, lengths: list[int]) -> Iterator[bytes]:
    at = 0
    for length in lengths:
        yield data[at : at + length]
        at += length
