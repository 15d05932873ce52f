"""Captures replayed as if they were live: through the same meter, at a chosen speed, to the bus or the ingestion API.

Called by `loomidi replay`. In: captures, a speed, a sink. Out: flows and counts, both acknowledged before the next
batch is sent, so that nothing is thinned: a bus that is slow makes the replay slow. Flow times are the capture's, or
shifted by one constant so that the first packet is now. Leaves metering to `loom.flows`.
"""

import asyncio
import dataclasses
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts.errors import Retryable, UsageError
from loomidi.contracts.schemas import FLOW_RECORDS, FLOWS
from loomidi.contracts.streams import Bus, Envelope, Stream
from loomidi.loom.bus.envelopes import encode
from loomidi.loom.flows import FlowStream, MeterSettings, meter
from loomidi.loom.flows.columns import plain
from loomidi.loom.flows.recording import as_records
from loomidi.loom.sources.capturing import packets_in
from loomidi.services.shared.counting import Count, Counter

COMPONENT = "replay"
_TIMES = ("flow_start_nanoseconds", "flow_end_nanoseconds")
_MOST_PAUSE_S = 30.0
_FLIGHT = 8  # batches that are acknowledged together


@dataclasses.dataclass(frozen=True, slots=True)
class ReplaySettings:
    """How captures are replayed."""

    speed: float = 0.0
    # Of the capture's own time: 1 as it was, 10 ten times as fast; 0 as fast as it goes.
    shift: bool = False
    # Move all times so that the first packet is now.
    node: str = "replay"
    # Who is said to have metered it.
    rows: int = 8192
    # Of one batch at most; a slow replay makes smaller ones.
    patience_s: float = 300.0
    # How long a sink that is away is tried.
    meter: MeterSettings = dataclasses.field(default_factory=MeterSettings)
    # When a flow ends.

    def __post_init__(self) -> None:
        """Raises UsageError for a speed that is none."""
        if not 0 <= self.speed < 1e9:
            raise UsageError(f"speed {self.speed:g}: use a number above 0, or max")


class Sink(Protocol):
    """Where the flows go. Adapters: the bus, the ingestion API."""

    rows: int  # taken so far
    batches: int

    async def flows(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Durable when it returns. Raises Retryable."""

    async def counts(self, counts: Sequence[Count], at_ns: int) -> None:
        """What was counted so far."""


class BusSink:
    """Envelopes of our own, so that what is tried again keeps its id."""

    def __init__(self, bus: Bus, counter: Counter, patience_s: float = 300.0) -> None:
        self._bus, self._counter, self._patience_s = bus, counter, patience_s
        self._seqs = {stream: itertools.count() for stream in (Stream.FLOWS, Stream.COUNTERS)}
        self.rows = self.batches = 0

    async def flows(self, batches: Sequence[pa.RecordBatch]) -> None:
        """As `Sink`."""
        await self._publish([self._envelope(Stream.FLOWS, batch) for batch in batches])
        self.rows += sum(batch.num_rows for batch in batches)
        self.batches += len(batches)

    async def counts(self, counts: Sequence[Count], at_ns: int) -> None:
        """As `Sink`."""
        told = {"offered": self.rows, "published": self.rows}
        published = [Count("publish", Stream.FLOWS, "", name, "rows", value) for name, value in told.items()]
        published.append(Count("publish", Stream.FLOWS, "", "published", "batches", self.batches))
        batch = self._counter.batch([*counts, *published], at_ns)
        await self._publish([self._envelope(Stream.COUNTERS, batch)])

    def _envelope(self, stream: Stream, batch: pa.RecordBatch) -> Envelope:
        return encode(
            batch,
            stream=stream,
            producer=self._counter.producer,
            epoch=self._counter.epoch,
            seq=next(self._seqs[stream]),
            created_ns=time.time_ns(),
        )

    async def _publish(self, envelopes: Sequence[Envelope]) -> None:
        until, pause_s = time.monotonic() + self._patience_s, 0.5
        while True:
            try:
                await self._bus.publish(envelopes)
                return
            except Retryable:
                if time.monotonic() + pause_s > until:
                    raise
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, 10.0)


class ApiSink:
    """POST of Arrow streams to the ingestion API, tried again while it asks for that."""

    def __init__(self, client: Any, url: str, patience_s: float = 300.0) -> None:
        """`client`: an `httpx.AsyncClient`; `url`: with or without the interface's path."""
        base = url.rstrip("/")
        self._url = (
            base if base.endswith("/network-flow") else f"{base.removesuffix('/loom-api')}/loom-api/data/network-flow"
        )
        self._client, self._patience_s = client, patience_s
        self.rows = self.batches = 0

    async def flows(self, batches: Sequence[pa.RecordBatch]) -> None:
        """As `Sink`; one request."""
        made = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(made, FLOW_RECORDS, options=options) as writer:
            for batch in batches:
                writer.write_batch(batch)
        await self._post(made.getvalue().to_pybytes())
        self.rows += sum(batch.num_rows for batch in batches)
        self.batches += len(batches)

    async def counts(self, counts: Sequence[Count], at_ns: int) -> None:
        """The API counts what it takes by itself."""

    async def _post(self, body: bytes) -> None:
        import httpx

        until, headers = time.monotonic() + self._patience_s, {"Content-Type": "application/octet-stream"}
        while True:
            pause_s = 1.0
            try:
                answer = await self._client.post(self._url, content=body, headers=headers)
            except httpx.HTTPError as error:
                told = f"{self._url} does not answer: {str(error) or type(error).__name__}"
            else:
                if answer.status_code == 202:
                    return
                told = f"{self._url} says {answer.status_code}: {answer.text[:200]}"
                if answer.status_code not in (429, 503):
                    raise UsageError(told)
                after = answer.headers.get("retry-after", "")
                pause_s = float(after) if after.isdigit() else pause_s
            if time.monotonic() + pause_s > until:
                raise Retryable(told)
            await asyncio.sleep(pause_s)


@dataclasses.dataclass(slots=True)
class Replayed:
    """What has been replayed so far."""

    flows: int = 0
    packets: int = 0  # in those flows
    seconds: float = 0.0  # of capture
    took_s: float = 0.0
    balance: dict[str, int] = dataclasses.field(default_factory=dict)  # reason -> packets
    problems: tuple[str, ...] = ()

    @property
    def adds_up(self) -> bool:
        """Every accounted packet is in a flow that was sent."""
        return self.balance.get("accounted", 0) == self.packets

    def counts(self, link: str) -> list[Count]:
        """Stages capture and export."""
        told = [Count("capture", "", link, "received", "packets", sum(self.balance.values()))]
        told += [Count("capture", "", link, name, "packets", value) for name, value in self.balance.items()]
        still = self.balance.get("accounted", 0) - self.packets
        told += [Count("export", "flows", link, "exported", "packets", self.packets)]
        told += [Count("export", "flows", link, "open", "packets", still)]
        return [*told, Count("export", "flows", link, "exported", "flows", self.flows)]


async def replay(captures: Sequence[str], sink: Sink, settings: ReplaySettings | None = None) -> list[Replayed]:
    """All captures, one after the other, each with its own account. Raises InputError for one that is not there."""
    settings = settings or ReplaySettings()
    names = [Path(capture).name for capture in captures]
    links = names if len(set(names)) == len(names) else list(captures)
    return [await _one(capture, link, sink, settings) for capture, link in zip(captures, links, strict=True)]


async def _one(capture: str, link: str, sink: Sink, settings: ReplaySettings) -> Replayed:
    done, began = Replayed(), time.monotonic()
    with meter([capture], dataclasses.replace(settings.meter, batch_rows=settings.rows)) as stream:
        pace = _Pace(settings, time.time_ns())
        async for flight in _flights(stream, pace):
            records = [as_records(batch, exporter=settings.node, link=link) for batch in flight]
            await sink.flows(records)
            done.flows += sum(batch.num_rows for batch in flight)
            done.packets += sum(packets_in(batch) for batch in flight)
            _note(done, stream, began)
            await sink.counts(done.counts(link), time.time_ns())
        _note(done, stream, began)
        done.problems = tuple(f"{one.source}: {one.message}" for one in stream.problems)
    await sink.counts(done.counts(link), time.time_ns())
    return done


def _note(done: Replayed, stream: FlowStream, began: float) -> None:
    done.balance = {reason: packets for reason, (packets, _) in stream.balance.items() if packets}
    done.seconds, done.took_s = stream.seconds_of_capture, time.monotonic() - began


async def _flights(stream: FlowStream, pace: "_Pace") -> AsyncIterator[list[pa.RecordBatch]]:
    """Batches, as they become due; as fast as it goes, several together."""
    flight = list[pa.RecordBatch]()
    while (batch := await asyncio.to_thread(next, stream, None)) is not None:
        for part in pace.parts(batch):
            await pace.wait_for(part)
            flight.append(pace.shifted(part))
            if pace.paced or len(flight) >= _FLIGHT:
                yield flight
                flight = []
    if flight:
        yield flight


class _Pace:
    """When a batch is due, and by how much its times are moved."""

    def __init__(self, settings: ReplaySettings, now_ns: int) -> None:
        self._settings, self._began = settings, time.monotonic()
        self._now_ns = now_ns
        self._first_ns: int | None = None

    @property
    def paced(self) -> bool:
        """Not as fast as it goes."""
        return self._settings.speed > 0

    def parts(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """A slow replay hands out flows by the second of capture in which they ended."""
        starts = plain(batch.column("flow_start_nanoseconds"))
        if self._first_ns is None:
            self._first_ns = int(starts.min())
        if not self.paced:
            yield batch
            return
        step_ns = max(round(self._settings.speed * 1e9), 1)
        ends = plain(batch.column("flow_end_nanoseconds"))
        lots = (ends - self._first_ns) // step_ns
        for lot in np.unique(lots).tolist():
            yield batch.filter(pa.array(lots == lot))

    async def wait_for(self, batch: pa.RecordBatch) -> None:
        """Until its last flow has ended, at our speed."""
        if not self.paced or self._first_ns is None:
            return
        last = int(plain(batch.column("flow_end_nanoseconds")).max())
        due = self._began + (last - self._first_ns) / 1e9 / self._settings.speed
        while (left := due - time.monotonic()) > 0:
            await asyncio.sleep(min(left, _MOST_PAUSE_S))

    def shifted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Moved so that the first packet is at the replay's start; ids too, for they are of key and start."""
        if not self._settings.shift or self._first_ns is None:
            return batch
        by_ns = self._now_ns - self._first_ns
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        for name in _TIMES:
            moved = pc.add(columns[name].cast(pa.int64()), pa.scalar(by_ns, pa.int64()))
            columns[name] = moved.cast(FLOWS.field(name).type)
        ids = plain(columns["flow_id"]) ^ np.uint64(by_ns % (1 << 64))
        columns["flow_id"] = pa.array(ids, pa.uint64())
        return pa.RecordBatch.from_arrays([columns[name] for name in FLOWS.names], schema=FLOWS)
