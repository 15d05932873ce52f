"""The bus in memory: the whole contract within one process, the default in tests.

Called by `loom.bus.open_bus` for memory:// URLs. In and out: as the Protocol says. Durable as long as the process;
what real brokers do when they are away or full can be asked of it (`away`, `stream_octets`).
"""

import asyncio
import bisect
import time
import uuid
from collections.abc import Sequence
from typing import Self
from urllib.parse import urlsplit

from loomidi.contracts.errors import Retryable
from loomidi.contracts.streams import Ack, Dead, Envelope, Lag, Message, Position
from loomidi.loom.bus.envelopes import burial
from loomidi.loom.bus.settings import BusSettings
from loomidi.loom.bus.standings import ReaderStanding, StreamStanding, checked


class _Log:
    """One stream: messages by growing offset, ids with the time they came, committed offsets by reader."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, int, Envelope]] = []  # offset, ns, envelope
        self.next = 1
        self.lineage = uuid.uuid4().hex
        self.octets = 0
        self.seen: dict[str, int] = {}
        self.committed: dict[str, int] = {}
        self.delivered: dict[str, dict[int, int]] = {}  # reader -> offset -> how often, of what is not committed

    def after(self, offset: int) -> list[tuple[int, int, Envelope]]:
        return self.messages[bisect.bisect_right(self.messages, offset, key=lambda one: one[0]) :]

    def drop_until(self, offset: int) -> int:
        kept = self.after(offset)
        gone = len(self.messages) - len(kept)
        self.messages, self.octets = kept, sum(len(one[2].payload) for one in kept)
        return gone


class MemoryBus:
    """All streams in one object. `away = True` makes it unreachable until it is set to False."""

    name = "memory"

    def __init__(self, settings: BusSettings | None = None) -> None:
        self.settings = settings or BusSettings(url="memory://")
        self.away = False
        self._logs: dict[str, _Log] = {}
        self._dead: dict[int, tuple[Dead, Envelope]] = {}
        self._last_dead = 0
        self._buried = set[str]()
        self._waiting: set[asyncio.Future[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def publish(self, envelopes: Sequence[Envelope]) -> list[Ack]:
        """Held when it returns; an id that was held within the window is not held twice."""
        self.check()
        try:
            return [self._append(envelope) for envelope in envelopes]
        finally:
            self._wake()

    def _append(self, envelope: Envelope, *, again: bool = False) -> Ack:
        log, now = self.log(envelope.stream), time.time_ns()
        seen = log.seen.get(envelope.id)
        if seen is not None and now - seen < self._window_ns() and not again:
            return Ack(envelope.id, duplicate=True)
        if log.octets + len(envelope.payload) > self.settings.stream_octets:
            raise Retryable(f"the bus is full: {envelope.stream} holds {log.octets} octets; let its readers catch up")
        log.messages.append((log.next, now, envelope))
        log.seen[envelope.id] = now
        log.next += 1
        log.octets += len(envelope.payload)
        return Ack(envelope.id, duplicate=False)

    async def reader(self, stream: str, name: str, *, after: Position | None = None) -> "MemoryReader":
        """The durable consumer of that name, from what it had committed or from `after`."""
        self.check()
        log = self.log(str(stream))
        name = checked(name)
        log.committed[name] = after.get(0, 0) if after is not None else log.committed.get(name, 0)
        return MemoryReader(self, log, str(stream), name)

    async def lineage(self, stream: str) -> str:
        """Of the log: as long as the object lives."""
        self.check()
        return f"memory/{self.log(str(stream)).lineage}"

    async def bury(self, message: Message, *, reader: str, cause: str) -> None:
        """Keep it with the reason."""
        self.check()
        if (known := burial(message, reader)) in self._buried:
            return
        self._buried.add(known)
        self._last_dead += 1
        envelope, line = message.envelope, " ".join(cause.split())
        dead = Dead(
            self._last_dead, envelope.stream, envelope.id, line, time.time_ns(), reader, payload=envelope.payload
        )
        self._dead[dead.id] = (dead, envelope)

    async def dead(self, *, most: int = 100, stream: str | None = None) -> list[Dead]:
        """The oldest dead letters."""
        self.check()
        return [dead for dead, _ in self._dead.values() if stream in (None, dead.stream)][:most]

    async def exhume(self, ids: Sequence[int]) -> int:
        """Publish them anew and forget them as dead."""
        self.check()
        known = [one for one in dict.fromkeys(ids) if one in self._dead]
        for one in known:
            self._append(self._dead[one][1], again=True)
            del self._dead[one]
        self._wake()
        return len(known)

    async def standings(self) -> list[StreamStanding]:
        """All streams, dead letters last."""
        self.check()
        told = [self._standing(stream, log) for stream, log in sorted(self._logs.items())]
        octets = sum(len(dead.payload) for dead, _ in self._dead.values())
        return [*told, StreamStanding("dead", len(self._dead), octets, None, ())]

    def _standing(self, stream: str, log: _Log) -> StreamStanding:
        lags = {name: lag_of(log, committed) for name, committed in sorted(log.committed.items())}
        readers = tuple(ReaderStanding(name, lag.messages, lag.octets) for name, lag in lags.items())
        return StreamStanding(stream, len(log.messages), log.octets, self.settings.stream_octets, readers)

    async def trim(self, older_than_s: float | None = None) -> int:
        """Remove what all readers have committed and what is older."""
        self.check()
        age = self.settings.retention_s if older_than_s is None else older_than_s
        before, gone = time.time_ns() - age * 1e9, 0
        for log in self._logs.values():
            log.seen = {one: at for one, at in log.seen.items() if at > time.time_ns() - self._window_ns()}
            floor = min(log.committed.values(), default=0)
            old = [offset for offset, came, _ in log.messages if offset <= floor and came <= before]
            gone += log.drop_until(old[-1]) if old else 0
        return gone

    async def forget(self, stream: str, reader: str) -> bool:
        """It holds `trim` no longer."""
        self.check()
        return self.log(stream).committed.pop(reader, None) is not None

    async def recover(self) -> None:
        """Nothing: it is away when a test says so."""

    async def reachable(self) -> bool:
        """Whether it is not set away."""
        return not self.away

    async def close(self) -> None:
        """Nothing to let go of: what it holds lives as long as the object."""

    def _window_ns(self) -> float:
        return self.settings.duplicate_window_s * 1e9

    def check(self) -> None:
        """Raises Retryable while it is away."""
        if self.away:
            raise Retryable("the bus is away; try again")

    def log(self, stream: str) -> _Log:
        """The messages of a stream, for its readers."""
        return self._logs.setdefault(stream, _Log())

    async def wait(self, seconds: float) -> None:
        """Until something is published, or that long."""
        came = asyncio.get_running_loop().create_future()
        self._waiting.add(came)
        try:
            await asyncio.wait([came], timeout=seconds)
        finally:
            self._waiting.discard(came)

    def _wake(self) -> None:
        """Readers of any loop: parts of a process that share a bus may run in loops of their own."""
        for came in list(self._waiting):
            came.get_loop().call_soon_threadsafe(_set, came)


class MemoryReader:
    """One durable consumer in memory."""

    def __init__(self, bus: MemoryBus, log: _Log, stream: str, name: str) -> None:
        self.stream, self.name = stream, name
        self._bus, self._log = bus, log
        self._fetched = log.committed[name]

    async def fetch(self, most: int = 64, timeout_s: float = 1.0) -> list[Message]:
        """What is behind the last fetched; waits for the first."""
        until = time.monotonic() + timeout_s
        while True:
            self._bus.check()
            there = self._log.after(self._fetched)[:most]
            left = until - time.monotonic()
            if there or left <= 0:
                break
            await self._bus.wait(left)
        times = self._log.delivered.setdefault(self.name, {})
        for offset, _, _ in there:
            self._fetched = offset
            times[offset] = times.get(offset, 0) + 1
        return [Message(envelope, 0, offset, times[offset]) for offset, _, envelope in there]

    async def commit(self, position: Position) -> None:
        """A later reader of this name goes on after it."""
        self._bus.check()
        offset = position.get(0, 0)
        self._log.committed[self.name] = max(self._log.committed.get(self.name, 0), offset)
        times = self._log.delivered.get(self.name, {})
        self._log.delivered[self.name] = {one: count for one, count in times.items() if one > offset}

    async def lag(self) -> Lag:
        """What is not committed."""
        self._bus.check()
        return lag_of(self._log, self._log.committed.get(self.name, 0))

    async def close(self) -> None:
        """What was fetched and not committed comes again to the next reader of this name."""


def lag_of(log: _Log, committed: int) -> Lag:
    """Messages and octets behind an offset."""
    left = log.after(committed)
    return Lag(len(left), sum(len(envelope.payload) for _, _, envelope in left))


def _set(came: asyncio.Future[None]) -> None:
    if not came.done():
        came.set_result(None)


_SHARED: dict[str, MemoryBus] = {}  # by name; lives as long as the process, as a broker would


async def opened(settings: BusSettings) -> MemoryBus:
    """A new one, or the one of that name."""
    name = urlsplit(settings.url).netloc
    return _SHARED.setdefault(name, MemoryBus(settings)) if name else MemoryBus(settings)
