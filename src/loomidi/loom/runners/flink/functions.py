"""The two steps of the job: put flows together in parallel, then merge and close in one place.

Called by `job`, within Flink's Python workers. In: Arrow IPC payloads of flows. Out: envelopes as rows (stream,
producer, headers, payload). State is Flink's: parts as bytes by piece of time, the `Closer` as bytes;
timers of event time close. Leaves the operators to `loom.windows`, connectors to `connecting`.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
from pyflink.common import Row, Types
from pyflink.common.watermark_strategy import TimestampAssigner
from pyflink.datastream import KeyedProcessFunction, OutputTag, ProcessFunction, RuntimeContext
from pyflink.datastream.state import MapStateDescriptor, ValueStateDescriptor

from loomidi.contracts.schemas import FLOW_RECORDS, METRICS
from loomidi.contracts.streams import Envelope, Stream
from loomidi.loom.bus.envelopes import BadBatch, encode, opened, to_headers
from loomidi.loom.runners.machines import LATE, batches_of, enveloped, ipc
from loomidi.loom.windows import PANE_S, Closer, Parts, WindowSettings, merged, project, reduced, split
from loomidi.loom.windows import requests as http

MS = 1_000_000
BYTES = Types.PRIMITIVE_ARRAY(Types.BYTE())
PIECE = Types.TUPLE([Types.LONG(), Types.BOOLEAN(), BYTES])  # start in ms, whether these are samples, parts or samples
TIMED = Types.TUPLE([Types.LONG(), BYTES])  # newest flow end in ms, payload
ENVELOPE = Types.ROW_NAMED(
    ["stream", "producer", "headers", "payload"],
    [Types.STRING(), Types.STRING(), Types.MAP(Types.STRING(), BYTES), BYTES],
)
LATE_TAG, DEAD_TAG = OutputTag("late", ENVELOPE), OutputTag("dead", ENVELOPE)
SCHEMAS = {Stream.FLOWS: FLOW_RECORDS, Stream.METRICS: METRICS}


class BatchTime(TimestampAssigner):  # type: ignore[misc]  # PyFlink ships no types
    """The newest flow of a batch, or the pane of samples."""

    def extract_timestamp(self, value: Any, record_timestamp: int) -> int:
        return int(value[0])


class _Decode(ProcessFunction):  # type: ignore[misc]  # PyFlink ships no types
    """Payloads to batches; one that nobody can use goes to the dead letters with its cause."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._task = self._epoch = self._seq = 0

    def open(self, runtime_context: RuntimeContext) -> None:
        # A new epoch for every run: after a restart other rows may come here, under ids that must not be old ones.
        self._task = runtime_context.get_index_of_this_subtask()
        self._epoch, self._seq = time.time_ns(), 0

    def process_element(self, value: Any, ctx: ProcessFunction.Context) -> Iterator[Any]:
        try:
            batch = opened(bytes(value), SCHEMAS[self.stream])
        except BadBatch as error:
            self._seq += 1
            letter = Envelope(self.stream, f"flink-{self._task}", self._epoch, self._seq - 1, 0, bytes(value))
            told = {"Loomidi-Cause": str(error), "Loomidi-Reader": "flink", "Loomidi-At": str(time.time_ns())}
            yield DEAD_TAG, row_of(letter, told)
        else:
            yield from self.use(batch)

    def use(self, batch: pa.RecordBatch) -> Iterator[Any]:
        raise NotImplementedError


class DecodeFlows(_Decode):
    """Flows with the end of the newest of them, in ms: the batch's event time."""

    def use(self, batch: pa.RecordBatch) -> Iterator[Any]:
        ends = batch.column("flow_end_nanoseconds").view(pa.int64()).to_numpy()
        if len(ends):
            yield int(ends.max()) // MS, ipc([batch])


class DecodeMetrics(_Decode):
    """METRICS to what HTTP servers told, by panes."""

    def use(self, batch: pa.RecordBatch) -> Iterator[Any]:
        rows, width = http.project(batch), PANE_S * 10**9
        starts = rows.column("at").to_numpy() // width * width
        for start in sorted(set(starts.tolist())):
            yield start // MS, True, ipc([rows.filter(pa.array(starts == start))])


class Reduce(ProcessFunction):  # type: ignore[misc]  # PyFlink ships no types
    """Batches to the parts of pieces of time; rows whose piece is closed go to the side output."""

    def __init__(self, settings: WindowSettings) -> None:
        self.settings = settings
        self._epoch = self._seq = 0

    def open(self, runtime_context: RuntimeContext) -> None:
        # A new epoch for every run: after a restart other rows may be late, under ids that must not be old ones.
        self._task = runtime_context.get_index_of_this_subtask()
        self._epoch, self._seq = time.time_ns(), 0

    def process_element(self, value: Any, ctx: ProcessFunction.Context) -> Iterator[Any]:
        (batch,), width = batches_of(bytes(value[1])), self.settings.base_s * 10**9
        mark = ctx.timer_service().current_watermark()
        ends = batch.column("flow_end_nanoseconds").view(pa.int64()).to_numpy()
        late = (ends // width + 1) * width // MS - 1 <= mark
        if late.any():
            rows, batch = batch.filter(pa.array(late)), batch.filter(pa.array(~late))
            yield LATE_TAG, row_of(self._late(rows))
        for start, some in split(project(batch, self.settings.grain), self.settings.base_s):
            yield start // MS, False, reduced(some).to_bytes()

    def _late(self, rows: pa.RecordBatch) -> Envelope:
        self._seq += 1
        producer = f"{LATE}-{self._task}"
        return encode(rows, stream=Stream.LATE, producer=producer, epoch=self._epoch, seq=self._seq - 1)


class Close(KeyedProcessFunction):  # type: ignore[misc]  # PyFlink ships no types
    """Merges the parts of each piece; a timer at the end of a piece closes what ends with it."""

    def __init__(self, settings: WindowSettings, epoch: int) -> None:
        self.settings, self.epoch = settings, epoch
        self._closer: Closer | None = None  # as in `_closer_state`, so that it is not read for each timer

    def open(self, runtime_context: RuntimeContext) -> None:
        state = runtime_context
        self._parts = state.get_map_state(MapStateDescriptor("parts", Types.LONG(), Types.PICKLED_BYTE_ARRAY()))
        self._samples = state.get_map_state(MapStateDescriptor("samples", Types.LONG(), Types.PICKLED_BYTE_ARRAY()))
        self._closer_state = state.get_state(ValueStateDescriptor("closer", BYTES))
        self._closed_state = state.get_state(ValueStateDescriptor("closed", Types.LONG()))
        self._seqs = state.get_map_state(MapStateDescriptor("seqs", Types.STRING(), Types.LONG()))

    def process_element(self, value: Any, ctx: KeyedProcessFunction.Context) -> None:
        start, are_samples, data = value
        if start + PANE_S * 1000 <= (self._closed_state.value() or 0) // MS:
            return  # only samples can be as late as that: `Reduce` has set late flows aside
        state = self._samples if are_samples else self._parts
        held: list[bytes] = state.get(start) or []
        if not held:
            for at in self._timers(start):
                ctx.timer_service().register_event_time_timer(at - 1)
        held = [*held, bytes(data)]
        if len(held) > 16 and not are_samples:
            held = [merged([Parts.from_bytes(one) for one in held], self.settings.max_edges).to_bytes()]
        state.put(start, held)

    def _timers(self, start: int) -> list[int]:
        """When anything ends that this piece is part of: itself, its pane, and later every 10 s while a window may."""
        base, pane = self.settings.base_s * 1000, 10_000
        longest = max(spec.size_s for spec in self.settings.specs) * 1000
        first = start // pane * pane + pane
        return [start + base, *range(first, first + longest + 60_000, pane)]

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Row]:
        to_ms, closer = timestamp + 1, self._current()
        parts = {start * MS: [Parts.from_bytes(one) for one in some] for start, some in self._until(self._parts, to_ms)}
        samples = {
            start * MS: [batch for one in some for batch in batches_of(one)]
            for start, some in self._until(self._samples, to_ms)
        }
        taken, before = (list(parts), list(samples)), closer.panes_closed
        for one in closer.close(parts, samples, to_ms * MS):
            key = f"{one.spec.producer} {one.stream}"
            seq = self._seqs.get(key) or 0
            for envelope in enveloped(one.rows, one.stream, one.spec.producer, epoch=self.epoch, seq=seq):
                seq = envelope.seq + 1
                yield row_of(envelope)
            self._seqs.put(key, seq)
        for starts, left, state in zip(taken, (parts, samples), (self._parts, self._samples), strict=True):
            for start in starts:
                if start not in left:
                    state.remove(start // MS)
        self._closed_state.update(to_ms * MS)
        if closer.panes_closed != before:
            self._closer_state.update(closer.to_bytes())

    def _until(self, state: Any, to_ms: int) -> list[tuple[int, list[bytes]]]:
        """What is held of the time before `to_ms`, in order."""
        return [(start, state.get(start)) for start in sorted(state.keys()) if start < to_ms]

    def _current(self) -> Closer:
        """In memory; after a restart from Flink's state."""
        if self._closer is None:
            data = self._closer_state.value()
            self._closer = Closer.from_bytes(bytes(data), self.settings) if data else Closer(self.settings)
            self._closer.closed_ns = self._closed_state.value() or self._closer.closed_ns
        return self._closer


def row_of(envelope: Envelope, more: Mapping[str, str] | None = None) -> Row:
    """As `ENVELOPE` has it, with more headers."""
    headers = {name: value.encode() for name, value in {**to_headers(envelope), **(more or {})}.items()}
    return Row(envelope.stream, envelope.producer, headers, envelope.payload)
