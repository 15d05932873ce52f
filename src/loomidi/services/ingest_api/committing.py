"""Batches into envelopes and onto the bus; it returns when the bus holds them, or says that it does not.

Called by `handling` and `grouping`. In: batches of a stream, an id of the request where the client gave a key. Out:
what is held under which ids, or the problem 503 after a bounded wait. One flight of a stream is under way at a time, so
ids come to the bus in the order of their numbers. Leaves retries beyond the wait to the client, which knows them safe
by its key.
"""

import asyncio
import dataclasses
import itertools
import tempfile
import time
from collections.abc import Iterable, Iterator
from typing import Self

import pyarrow as pa

from loomidi.contracts.errors import EnvironmentLacks, Retryable
from loomidi.contracts.streams import Bus, Envelope
from loomidi.kit import logging
from loomidi.loom.bus.envelopes import encode
from loomidi.services.http.problems import Problem, try_later
from loomidi.services.ingest_api.counting import COMPONENT, KEYED, Counts
from loomidi.services.ingest_api.settings import IngestSettings

_log = logging.logger("services.ingest")
_FLIGHT_OCTETS = 8 << 20  # packed; one flight is acknowledged together
_PAUSE_S = 0.2  # between two attempts while the bus is away
_SHORTEST = 1  # row of a slice


def slices(batch: pa.RecordBatch, most_octets: int) -> Iterator[pa.RecordBatch]:
    """The batch in parts of at most that much, unpacked. The same rows always give the same parts: ids rely on it."""
    if batch.num_rows <= _SHORTEST or batch.nbytes <= most_octets:
        if batch.num_rows:
            yield batch
        return
    parts = -(-batch.nbytes // most_octets)
    rows = max(_SHORTEST, min(batch.num_rows - 1, batch.num_rows // parts))
    for start in range(0, batch.num_rows, rows):
        yield from slices(batch.slice(start, rows), most_octets)


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """One envelope that the bus has acknowledged."""

    id: str
    rows: int
    duplicate: bool


class Packed:
    """Envelopes of one body, kept until all of it is known to be good: in memory, then in a file."""

    def __init__(self, memory_octets: int) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=memory_octets)  # noqa: SIM115 - closed by `__exit__`
        self._heads: list[tuple[Envelope, int]] = []
        self.rows = 0

    def __len__(self) -> int:
        return len(self._heads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, envelopes: Iterable[Envelope]) -> None:
        """Raises Problem when the disk is full."""
        for envelope in envelopes:
            try:
                self._file.write(envelope.payload)
            except OSError as error:
                detail = f"no room for the packed rows ({error.strerror}): send again later, or in smaller parts"
                raise try_later("memory", detail, 5) from error
            self._heads.append((dataclasses.replace(envelope, payload=b""), len(envelope.payload)))
            self.rows += envelope.rows

    def flights(self) -> Iterator[list[Envelope]]:
        """All of them, some MiB at a time."""
        self._file.seek(0)
        flight: list[Envelope] = []
        octets = 0
        for head, size in self._heads:
            if octets + size > _FLIGHT_OCTETS and flight:
                yield flight
                flight, octets = [], 0
            flight.append(dataclasses.replace(head, payload=self._file.read(size)))
            octets += size
        if flight:
            yield flight


class Outlet:
    """The way to the bus."""

    def __init__(self, bus: Bus, counts: Counts, settings: IngestSettings) -> None:
        self._bus, self._counts, self._settings = bus, counts, settings
        self._producer, self._keyed = f"{counts.node}.{COMPONENT}", f"{counts.node}.{KEYED}"
        self._locks: dict[str, asyncio.Lock] = {}
        self._numbers: dict[str, Iterator[int]] = {}
        self.problem = ""  # why the bus did not acknowledge the last time; empty when it did

    def drafts(self, batch: pa.RecordBatch, stream: str, key: int | None, first: int = 0) -> list[Envelope]:
        """Envelopes that lack their number, unless they belong to a key: then it follows from the key. Any thread."""
        producer, epoch = (self._producer, self._counts.epoch) if key is None else (self._keyed, key)
        created = time.time_ns()
        return [
            encode(part, stream=stream, producer=producer, epoch=epoch, seq=first + number, created_ns=created)
            for number, part in enumerate(slices(batch, self._settings.envelope_octets))
        ]

    async def publish(
        self, stream: str, flights: Iterable[list[Envelope]], rows: int, *, keyed: bool = False, ahead: bool = False
    ) -> list[Held]:
        """Durable when it returns. `rows`: of all flights; `keyed`: all of them are. Raises Problem 503.

        Some of it may be held even then: who sends it again under the same key doubles nothing. `ahead`: all rows are
        counted as offered and waiting before anything is tried, in one step with what the caller has just counted, so
        that the equations hold at every moment at which this process may be killed.
        """
        if ahead:
            self._counts.add("publish", (stream, ""), "rows", {"offered": rows, "waiting": rows}, keyed=keyed)
        deadline, held, tried = time.monotonic() + self._settings.bus_wait_s, list[Held](), 0
        lock = self._locks.setdefault(stream, asyncio.Lock())
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + self._settings.bus_wait_s):
                await lock.acquire()
        except TimeoutError:
            self._count_unsent(stream, rows, keyed, ahead)
            raise self._away("others wait for it") from None
        try:
            for flight in flights:
                numbered = [self._numbered(envelope) for envelope in flight]
                tried += sum(envelope.rows for envelope in numbered)
                held += await self._flight(numbered, ahead, max(deadline, time.monotonic() + _PAUSE_S))
                deadline = time.monotonic() + self._settings.bus_wait_s
        except Problem:
            self._count_unsent(stream, rows - tried, keyed, ahead)
            raise
        finally:
            lock.release()
        return held

    def _numbered(self, envelope: Envelope) -> Envelope:
        if envelope.producer != self._producer:
            return envelope
        numbers = self._numbers.setdefault(envelope.stream, itertools.count())
        return dataclasses.replace(envelope, seq=next(numbers))

    async def _flight(self, envelopes: list[Envelope], ahead: bool, deadline: float) -> list[Held]:
        """Try until the bus acknowledges or the time is over."""
        while True:
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    acks = await self._bus.publish(envelopes)
                break
            except (Retryable, EnvironmentLacks, ConnectionError, TimeoutError) as error:
                self.problem = str(error) or "it did not acknowledge in time"
            if time.monotonic() + _PAUSE_S >= deadline:
                self._count(envelopes, "unacknowledged", ahead)
                _log.warning("bus did not acknowledge", problem=self.problem, batches=len(envelopes))
                raise self._away(self.problem)
            await asyncio.sleep(_PAUSE_S)
        self.problem = ""
        return self._acknowledged(envelopes, [ack.duplicate for ack in acks], ahead)

    def _acknowledged(self, envelopes: list[Envelope], duplicates: list[bool], ahead: bool) -> list[Held]:
        told = list(zip(envelopes, duplicates, strict=True))
        self._count([envelope for envelope, again in told if not again], "published", ahead)
        self._count([envelope for envelope, again in told if again], "duplicate", ahead)
        return [Held(envelope.id, envelope.rows, again) for envelope, again in told]

    def _count(self, envelopes: list[Envelope], name: str, ahead: bool) -> None:
        for envelope in envelopes:
            keyed, place = envelope.producer == self._keyed, (envelope.stream, "")
            self._counts.add("publish", place, "rows", _became(name, envelope.rows, ahead), keyed=keyed)
            self._counts.add("publish", place, "batches", {name: 1}, keyed=keyed)

    def _count_unsent(self, stream: str, rows: int, keyed: bool, ahead: bool) -> None:
        """Told to the client as 503; never tried."""
        self._counts.add("publish", (stream, ""), "rows", _became("unsent", rows, ahead), keyed=keyed)

    def _away(self, cause: str) -> Problem:
        detail = (
            f"the bus does not acknowledge ({cause[:200]}): send again after a while; with an Idempotency-Key header "
            "nothing is doubled by that"
        )
        return try_later("away", detail, self._settings.retry_after_s)


def _became(name: str, rows: int, ahead: bool) -> dict[str, int]:
    """What rows are counted as now; `ahead`: they waited until now."""
    return {"waiting": -rows, name: rows} if ahead else {"offered": rows, name: rows}
