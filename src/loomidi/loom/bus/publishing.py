"""From batches to the bus, without ever holding up who offers them.

Called by sources (`offer`), by the ingestion API (`publish`, which must know) and by runners. In: batches. Out:
envelopes on the bus, or in the spool on disk while the bus is away. Under pressure flows lose detail, then become a
sample, then are dropped; each row that was offered is counted where it went:

    offered = published + spilled + sampled_out + dropped_* + waiting
    found + spilled = recovered + spool + spool_refused + spool_rotten    (found: an earlier run left it there)

Two tasks: one makes envelopes of what waits, one sends them. Leaves thinning to `thinning` and the disk to `spooling`.
"""

import asyncio
import collections
import contextlib
import dataclasses
import itertools
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import pyarrow as pa

from loomidi.contracts.errors import LoomidiError, Retryable
from loomidi.contracts.streams import Ack, Envelope
from loomidi.kit.logging import logger
from loomidi.loom.bus import thinning
from loomidi.loom.bus.envelopes import encode
from loomidi.loom.bus.settings import PublisherSettings
from loomidi.loom.bus.spooling import Spool

_log = logger("loom.bus")
_LOWER, _SAMPLE = 0.5, 0.75  # of the queue: where detail is lowered, where sampling begins
_FLIGHT = 4 << 20  # octets of one `publish`: large enough for the broker, soon over
_BITE = 16 << 20  # octets of batches that are made into envelopes at once
_STALL_S = 3.0  # a flight that takes longer goes to the spool: what comes after it must not wait
_PACKED = 8  # how much smaller an envelope is than its batch, until we have seen
_MOST_PAYLOAD = 900 << 10  # a NATS server takes 1 MiB unless it is told otherwise

Counter = tuple[str, str, str, int]
"""Stream, name, unit, value since this publisher began; `waiting` and `spool` are what is there now."""


class Takes(Protocol):
    """The part of a bus that publishing needs."""

    async def publish(self, envelopes: Sequence[Envelope]) -> list[Ack]:
        """As `contracts.streams.Bus.publish`."""


class _Key(NamedTuple):
    stream: str
    interval: int  # of the sampling that we have done


class _Queued(NamedTuple):
    batch: pa.RecordBatch
    octets: int
    since: float  # monotonic s


class Publisher:
    """One producer. Make it in a running loop; `offer` may be called from any thread."""

    def __init__(
        self,
        bus: Takes,
        *,
        producer: str,
        spool: Path | None = None,
        settings: PublisherSettings | None = None,
        epoch: int | None = None,
    ) -> None:
        """Takes over what an earlier process left in `spool`. Raises Conflict when another process has it."""
        self.producer, self.epoch = producer, time.time_ns() if epoch is None else epoch
        self.settings = settings or PublisherSettings()
        self._bus = bus
        self._spool: Spool | None = None
        if spool is not None:
            octets, segment = self.settings.spool_octets, self.settings.segment_octets
            self._spool = Spool(spool, limit_octets=octets, segment_octets=segment)
        found = self._spool.rows() if self._spool is not None else {}
        self._lock = threading.Lock()  # of the queue and of the counters
        self._queue: dict[_Key, collections.deque[_Queued]] = {}
        self._queued = self._boxed = 0  # octets that wait as batches, as envelopes
        self._outbox = collections.deque[Envelope]()
        self._next: dict[str, itertools.count[int]] = collections.defaultdict(itertools.count)
        self._packed: dict[str, float] = {}  # stream -> octets of a row in an envelope
        self._counts = collections.Counter({(stream, "found", "rows"): rows for stream, rows in found.items()})
        self._making = 0  # rows that are between the queue and the outbox, or under way
        self._idle, self._flushing, self._closing = asyncio.Event(), False, False
        self._loop = asyncio.get_running_loop()
        self._more, self._boxes = asyncio.Event(), asyncio.Event()
        self._refused: set[str] = set()
        self.away = False
        self._again = 0.0  # loop time of the next attempt while it is away
        names = (("make", self._make()), ("send", self._send()))
        self._tasks = [asyncio.create_task(task, name=f"loomidi-publisher-{name}") for name, task in names]
        for task in self._tasks:
            task.add_done_callback(_tell_end)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- offering ----------------------------------------------------------------------------------------------

    def offer(self, stream: str, batch: pa.RecordBatch) -> None:
        """Take a batch, whole or thinned, and return at once. From any thread."""
        stream, rows = str(stream), batch.num_rows
        if not rows:
            return
        with self._lock:
            self._counts[stream, "offered", "rows"] += rows
            fill = self._queued / self.settings.queue_octets
        key, batch, lost = self._thinned(stream, batch, fill)
        octets = thinning.octets(batch)
        with self._lock:
            if lost:
                self._counts[stream, "sampled_out", "rows"] += lost
            if batch.num_rows == 0:
                return
            if self._closing or (self._queued and self._queued + octets > self.settings.queue_octets):
                reason = "dropped_closed" if self._closing else "dropped_queue_full"
                self._counts[stream, reason, "rows"] += batch.num_rows
                return
            self._queued += octets
            self._queue.setdefault(key, collections.deque()).append(_Queued(batch, octets, time.monotonic()))
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile: nobody will take it, `waiting` says so
            self._loop.call_soon_threadsafe(self._more.set)

    def _thinned(self, stream: str, batch: pa.RecordBatch, fill: float) -> tuple[_Key, pa.RecordBatch, int]:
        """The batch as the fill of the queue allows it, and how many rows it has lost."""
        if stream not in thinning.FLOWS or fill < _LOWER:
            return _Key(stream, 1), batch, 0
        lower = thinning.lowered(batch)
        with self._lock:
            self._counts[stream, "lowered", "rows"] += batch.num_rows
        if fill < _SAMPLE:
            return _Key(stream, 1), lower, 0
        steps = max(self.settings.most_interval.bit_length() - 1, 1)
        interval = 2 ** min(1 + int((fill - _SAMPLE) / (1 - _SAMPLE) * steps), steps)
        kept = thinning.sampled(lower, interval)
        return _Key(stream, interval), kept, batch.num_rows - kept.num_rows

    async def publish(self, stream: str, batches: Sequence[pa.RecordBatch]) -> list[Ack]:
        """Durable on the bus when it returns. Raises Retryable when it cannot be told: some of it may be there."""
        key, rows = _Key(str(stream), 1), sum(batch.num_rows for batch in batches)
        envelopes = await asyncio.to_thread(self._enveloped, key, [one for one in batches if one.num_rows])
        until = self._loop.time() + self.settings.patience_s
        while True:
            try:
                acks = await self._bus.publish(envelopes)
            except Retryable:
                if self._loop.time() + self.settings.retry_s > until:
                    self._count(key.stream, "unacknowledged", rows, len(envelopes))
                    raise
                await asyncio.sleep(self.settings.retry_s)
                continue
            self._count(key.stream, "offered", rows, 0)
            self._note(envelopes, "published")
            return acks

    # -- making envelopes --------------------------------------------------------------------------------------

    async def _make(self) -> None:
        """Batches of the queue into envelopes, in a thread, as long as the outbox has room."""
        while not (self._closing and not self._queue):
            key, batches = (None, []) if self._boxed > self.settings.queue_octets // 4 else self._ripe()
            if key is None:
                await self._wait(self._more, self.settings.linger_s / 2)
                continue
            rows = sum(batch.num_rows for batch in batches)
            try:
                envelopes = await asyncio.to_thread(self._enveloped, key, batches)
            except (LoomidiError, pa.ArrowException) as error:
                _log.error("batches that cannot be enveloped", stream=key.stream, cause=str(error))
                self._count(key.stream, "dropped_unfit", rows, 0)
                envelopes = []
            self._outbox.extend(envelopes)
            self._boxed += sum(len(one.payload) for one in envelopes)
            with self._lock:
                self._making -= rows
            self._boxes.set()

    def _ripe(self) -> tuple[_Key | None, list[pa.RecordBatch]]:
        """Taken out of the queue: what is large enough for an envelope or has waited long enough, the oldest first."""
        now, taken, octets = time.monotonic(), list[pa.RecordBatch](), 0
        with self._lock:
            for key, waiting in sorted(self._queue.items(), key=lambda one: one[1][0].since):
                large = sum(one.octets for one in waiting) >= self.settings.envelope_octets * _PACKED
                if not (large or self._flushing or now - waiting[0].since >= self.settings.linger_s):
                    continue
                while waiting and octets < _BITE:
                    octets += waiting[0].octets
                    taken.append(waiting.popleft().batch)
                if not waiting:
                    del self._queue[key]
                self._queued -= octets
                self._making += sum(batch.num_rows for batch in taken)
                return key, taken
        return None, []

    def _enveloped(self, key: _Key, batches: Sequence[pa.RecordBatch]) -> list[Envelope]:
        """Joined, cut to the size that brokers like, encoded. In a thread: compression lets others run."""
        envelopes = list[Envelope]()
        if not batches:
            return envelopes
        whole = pa.concat_batches(batches) if len(batches) > 1 else batches[0]
        at = 0
        while at < whole.num_rows:
            per_row = self._packed.get(key.stream) or max(thinning.octets(whole) / whole.num_rows / _PACKED, 1.0)
            rows = max(int(self.settings.envelope_octets / per_row), 1)
            left = whole.num_rows - at
            rows = left if left < rows * 1.25 else rows  # no crumbs
            made = self._encoded(key, whole.slice(at, rows))
            envelopes += made
            at += rows
        return envelopes

    def _encoded(self, key: _Key, batch: pa.RecordBatch) -> list[Envelope]:
        """One envelope, or several when it turns out too large for a broker."""
        made = encode(
            batch,
            stream=key.stream,
            producer=self.producer,
            epoch=self.epoch,
            seq=0,
            sampling_interval=key.interval,
            created_ns=time.time_ns(),
        )
        if batch.num_rows >= 256 or key.stream not in self._packed:
            self._packed[key.stream] = max(len(made.payload) / batch.num_rows, 0.1)
        if len(made.payload) > _MOST_PAYLOAD and batch.num_rows > 1:
            half = batch.num_rows // 2
            return self._encoded(key, batch.slice(0, half)) + self._encoded(key, batch.slice(half))
        return [dataclasses.replace(made, seq=next(self._next[key.stream]))]

    # -- sending -----------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        """Envelopes of the outbox to the bus; while it is away to the spool, and the spool to the bus."""
        while not (self._closing and self._tasks[0].done() and not self._outbox):
            await self._step()
            self._tell_idle()
        self._idle.set()

    async def _step(self) -> None:
        spooled = self._spool is not None and len(self._spool) > 0
        due = self._loop.time() >= self._again
        if self._spool is not None and self._outbox and (spooled or not due):
            await self._spill(self._flight())
            if due:
                await self._drain()
        elif spooled and due:
            await self._drain()
        elif self._outbox and (due or self._closing):
            await self._fly(self._flight())
        else:
            pause = max(self._again - self._loop.time(), 0.01) if (spooled or self._outbox) else self.settings.retry_s
            await self._wait(self._boxes, pause)

    async def _fly(self, flight: list[Envelope]) -> None:
        """To the bus, else to the spool, else back to the outbox."""
        held = await self._flown(flight, "dropped_refused")
        if held is not None:
            self._note(held, "published")
        elif self._spool is not None:
            await self._spill(flight)
        elif self._closing:
            self._note([*flight, *self._outbox], "dropped_unreachable")
            self._outbox.clear()
        else:
            self._outbox.extendleft(reversed(flight))
            self._boxed += sum(len(one.payload) for one in flight)

    def _flight(self) -> list[Envelope]:
        """The next envelopes of the outbox, taken out of it."""
        flight, octets = list[Envelope](), 0
        while self._outbox and octets < _FLIGHT:
            flight.append(self._outbox.popleft())
            octets += len(flight[-1].payload)
        self._boxed -= octets
        self._more.set()
        return flight

    async def _flown(self, flight: Sequence[Envelope], refused: str) -> list[Envelope] | None:
        """Those that the bus holds now, or None: it is away. What it will never take is counted under `refused`."""
        try:
            async with asyncio.timeout(_STALL_S):
                await self._bus.publish(flight)
        except (Retryable, TimeoutError) as error:
            if not self.away:
                cause = str(error) or "it does not answer in time"
                _log.warning("the bus is away", cause=cause, spool=self._spool is not None)
            self.away, self._again = True, self._loop.time() + self.settings.retry_s
            return None
        except LoomidiError as error:
            return await self._sifted(flight, refused, error)
        if self.away:
            _log.warning("the bus is back")
        self.away = False
        return list(flight)

    async def _sifted(self, flight: Sequence[Envelope], refused: str, error: LoomidiError) -> list[Envelope] | None:
        """One by one, so that one that cannot be taken does not cost the others."""
        if len(flight) > 1:
            each = [await self._flown([one], refused) for one in flight]
            return None if None in each else [one for held in each for one in held or ()]
        if flight[0].id not in self._refused:  # a flight may be tried again for the sake of others in it
            self._refused.add(flight[0].id)
            _log.error("an envelope that the bus will never take", id=flight[0].id, cause=str(error))
            self._note(flight, refused)
        return []

    async def _spill(self, flight: Sequence[Envelope]) -> None:
        spool = self._spool
        if spool is None or not flight:
            return
        held = await asyncio.to_thread(spool.append, flight)
        self._note(flight[:held], "spilled")
        if held < len(flight):
            if not self._counts[flight[held].stream, "dropped_spool_full", "rows"]:
                _log.error("the spool or its disk is full: rows are dropped and counted", folder=str(spool.folder))
            self._note(flight[held:], "dropped_spool_full")

    async def _drain(self) -> None:
        """One flight of the spool."""
        spool = self._spool
        if spool is None:
            return
        flight = await asyncio.to_thread(spool.take, 2 * _FLIGHT)  # faster than it may be growing
        held = await self._flown(flight, "spool_refused") if flight else None
        if held is not None:
            await asyncio.to_thread(spool.settle, len(flight))
            self._note(held, "recovered")

    # -- counting ----------------------------------------------------------------------------------------------

    def _note(self, envelopes: Sequence[Envelope], name: str) -> None:
        for one in envelopes:
            self._count(one.stream, name, one.rows, 1, len(one.payload))

    def _count(self, stream: str, name: str, rows: int, batches: int, octets: int = 0) -> None:
        with self._lock:
            for unit, value in (("rows", rows), ("batches", batches), ("octets", octets)):
                if value:
                    self._counts[stream, name, unit] += value

    def counters(self) -> list[Counter]:
        """Where every row that was offered went; see the head of this module."""
        with self._lock:
            told = [(*key, value) for key, value in sorted(self._counts.items()) if value]
            told += [(stream, "waiting", "rows", self._waiting(stream)) for stream in sorted({one[0] for one in told})]
            told += self._spooled()
        if self._spool is not None:
            told += [("", "spool", "octets", self._spool.octets), ("", "spool_rotten", "batches", self._spool.rotten)]
        return told

    def _spooled(self) -> list[Counter]:
        """Rows in the spool as the other counts have it: all agree at any moment, and the next run looks itself."""
        rotten = self._spool.rotten_rows.copy() if self._spool is not None else {}
        told: list[Counter] = [(stream, "spool_rotten", "rows", rows) for stream, rows in sorted(rotten.items())]
        for stream in sorted({of for of, name, _ in self._counts if name in ("found", "spilled")}):
            come = sum(self._counts[stream, name, "rows"] for name in ("found", "spilled"))
            gone = sum(self._counts[stream, name, "rows"] for name in ("recovered", "spool_refused"))
            told.append((stream, "spool", "rows", come - gone - rotten.get(stream, 0)))
        return told

    def _waiting(self, stream: str) -> int:
        """What was offered and has not gone anywhere yet."""
        gone = ("published", "spilled", "sampled_out")
        return self._counts[stream, "offered", "rows"] - sum(
            value
            for (of, name, unit), value in self._counts.items()
            if of == stream and unit == "rows" and (name in gone or name.startswith("dropped_"))
        )

    # -- ending ------------------------------------------------------------------------------------------------

    def _tell_idle(self) -> None:
        with self._lock:
            busy = self._queue or self._outbox or self._making
        if not busy and (self._spool is None or not len(self._spool) or self.away):
            self._idle.set()

    async def flush(self) -> None:
        """All that was offered before is on the bus, or in the spool while the bus is away."""
        self._flushing = True
        try:
            self._idle.clear()
            self._more.set()
            self._boxes.set()
            while not self._idle.is_set():
                await self._wait(self._idle, 0.1)
                self._check()
        finally:
            self._flushing = False

    def _check(self) -> None:
        """A task of ours that failed says so to who waits for it."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def close(self) -> None:
        """Flush, then end. What could not be published stays in the spool for the next start."""
        with self._lock:
            self._closing = self._flushing = True
        self._more.set()
        self._boxes.set()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._spool is not None:
            self._spool.close()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        event.clear()
        try:
            async with asyncio.timeout(max(seconds, 0.001)):  # `wait_for` of 3.11 may swallow a cancellation
                await event.wait()
        except TimeoutError:
            return


def _tell_end(task: "asyncio.Task[None]") -> None:
    """Nobody may be waiting for a task of ours that fails."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a publisher has failed, nothing more is sent", part=task.get_name(), exc_info=error)
