"""The two steps of the job: put flows together in parallel, then merge and close in one place.

Called by `job`, within Flink's Python workers. In: Arrow IPC payloads of flows. Out: envelopes as rows (stream,
producer, headers, payload). State is Flink's: parts as bytes by piece of time, the `Closer` as bytes;
timers of event time close. Leaves the operators to `loom.windows`, connectors to `connecting`.
"""

import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyflink.common import Row, Types
from pyflink.common.watermark_strategy import TimestampAssigner
from pyflink.datastream import KeyedProcessFunction, OutputTag, ProcessFunction, RuntimeContext
from pyflink.datastream.state import MapStateDescriptor, ValueStateDescriptor

from loomidi.contracts.streams import Envelope, Stream
from loomidi.loom.bus.envelopes import encode, to_headers
from loomidi.loom.runners.machines import LATE, enveloped
from loomidi.loom.windows import Closer, Parts, WindowSettings, merged, project, reduced, split

MS = 1_000_000
BYTES = Types.PRIMITIVE_ARRAY(Types.BYTE())
PIECE = Types.TUPLE([Types.LONG(), BYTES])  # start in ms, parts
TIMED = Types.TUPLE([Types.LONG(), BYTES])  # newest flow end in ms, payload
ENVELOPE = Types.ROW_NAMED(
    ["stream", "producer", "headers", "payload"],
    [Types.STRING(), Types.STRING(), Types.MAP(Types.STRING(), BYTES), BYTES],
)
LATE_TAG = OutputTag("late", ENVELOPE)


def timed(payload: bytes) -> tuple[int, bytes]:
    """With the end of its newest flow, in ms: the batch's event time."""
    ends = batch_of(payload).column("flow_end_nanoseconds").view(pa.int64()).to_numpy()
    return int(ends.max(initial=0)) // MS, payload


class BatchTime(TimestampAssigner):  # type: ignore[misc]  # PyFlink ships no types
    """The newest flow of a batch."""

    def extract_timestamp(self, value: Any, record_timestamp: int) -> int:
        return int(value[0])


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
        batch, width = batch_of(value[1]), self.settings.base_s * 10**9
        mark = ctx.timer_service().current_watermark()
        ends = batch.column("flow_end_nanoseconds").view(pa.int64()).to_numpy()
        late = (ends // width + 1) * width // MS - 1 <= mark
        if late.any():
            rows, batch = batch.filter(pa.array(late)), batch.filter(pa.array(~late))
            yield LATE_TAG, row_of(self._late(rows))
        for start, some in split(project(batch, self.settings.grain), self.settings.base_s):
            yield start // MS, reduced(some).to_bytes()

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
        self._closer_state = state.get_state(ValueStateDescriptor("closer", BYTES))
        self._closed_state = state.get_state(ValueStateDescriptor("closed", Types.LONG()))
        self._seqs = state.get_map_state(MapStateDescriptor("seqs", Types.STRING(), Types.LONG()))

    def process_element(self, value: Any, ctx: KeyedProcessFunction.Context) -> None:
        start, data = value
        held: list[bytes] = self._parts.get(start) or []
        if not held:
            for at in self._timers(start):
                ctx.timer_service().register_event_time_timer(at - 1)
        held = [*held, bytes(data)]
        if len(held) > 16:
            held = [merged([Parts.from_bytes(one) for one in held], self.settings.max_edges).to_bytes()]
        self._parts.put(start, held)

    def _timers(self, start: int) -> list[int]:
        """When anything ends that this piece is part of: itself, its pane, and later every 10 s while a window may."""
        base, pane = self.settings.base_s * 1000, 10_000
        longest = max(spec.size_s for spec in self.settings.specs) * 1000
        first = start // pane * pane + pane
        return [start + base, *range(first, first + longest + 60_000, pane)]

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Row]:
        to_ms, closer = timestamp + 1, self._current()
        starts = sorted(start for start in self._parts.keys() if start < to_ms)  # noqa: SIM118  # no dict
        parts = {start * MS: [Parts.from_bytes(one) for one in self._parts.get(start)] for start in starts}
        before = closer.panes_closed
        for one in closer.close(parts, {}, to_ms * MS):
            key = f"{one.spec.producer} {one.stream}"
            seq = self._seqs.get(key) or 0
            for envelope in enveloped(one.rows, one.stream, one.spec.producer, epoch=self.epoch, seq=seq):
                seq = envelope.seq + 1
                yield row_of(envelope)
            self._seqs.put(key, seq)
        for start in starts:
            if start * MS not in parts:
                self._parts.remove(start)
        self._closed_state.update(to_ms * MS)
        if closer.panes_closed != before:
            self._closer_state.update(closer.to_bytes())

    def _current(self) -> Closer:
        """In memory; after a restart from Flink's state."""
        if self._closer is None:
            data = self._closer_state.value()
            self._closer = Closer.from_bytes(bytes(data), self.settings) if data else Closer(self.settings)
            self._closer.closed_ns = self._closed_state.value() or self._closer.closed_ns
        return self._closer


def batch_of(payload: bytes) -> pa.RecordBatch:
    """The only batch of an Arrow stream."""
    batch = pa.ipc.open_stream(bytes(payload)).read_next_batch()
    assert isinstance(batch, pa.RecordBatch)
    return batch


def row_of(envelope: Envelope) -> Row:
    """As `ENVELOPE` has it."""
    headers = {name: value.encode() for name, value in to_headers(envelope).items()}
    return Row(envelope.stream, envelope.producer, headers, envelope.payload)
