"""The bus on NATS JetStream: one stream on disk for each of ours, envelopes acknowledged in flights.

Called by `loom.bus.open_bus` for nats:// and tls:// URLs, by `serving` for the server of our own. In: settings. Out: a
`TendedBus`. `Nats-Msg-Id` is the envelope's id; a full stream refuses. Where a reader is, is a message too (on the
stream of positions, one for each reader), so that it is as durable as what it speaks of. Leaves reading to
`nats_reading` and the connection to `nats_connecting`. The only module, with these two, that knows nats-py.
"""

import asyncio
import datetime as dt
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from nats.js import api
from nats.js.errors import BadRequestError, NotFoundError
from nats.js.manager import JetStreamManager

from loomidi.contracts.errors import Retryable
from loomidi.contracts.streams import Ack, Dead, Envelope, Message, Position, Stream
from loomidi.loom.bus.envelopes import burial, from_headers, to_headers
from loomidi.loom.bus.nats_connecting import Connection, mapped
from loomidi.loom.bus.nats_reading import NatsReader, behind
from loomidi.loom.bus.settings import BusSettings
from loomidi.loom.bus.standings import ReaderStanding, StreamStanding, checked

DEAD, POSITIONS = "dead", "positions"
LEDGER = frozenset({Stream.PLANS.value, Stream.RECEIPTS.value})
"""Streams of which nothing may be lost to a power failure either, kept by a server of their own where we start it."""


class NatsBus:
    """All streams on one NATS server or cluster."""

    name = "nats"
    ledger: "NatsBus | None" = None  # where the streams of `LEDGER` are kept, if not here
    on_close: Callable[[], Awaitable[None]] | None = None  # stops the server of our own
    on_stalled: Callable[[], Awaitable[str]] | None = None  # why the server of our own takes nothing; mends it
    on_lost: Callable[[], Awaitable[None]] | None = None  # takes the place of an owner that has gone with its server

    def __init__(self, settings: BusSettings, *, login: tuple[str, str] | None = None) -> None:
        self.settings = settings
        self.tuned = False  # whether limits of streams that exist follow our settings: only on a server of our own
        self.connection = Connection(settings, login)
        self._names = self.connection.names
        self._ready: dict[str, asyncio.Task[None]] = {}

    async def connect(self) -> None:
        """Raises Retryable when nobody answers, EnvironmentLacks when we are not let in."""
        await self.connection.open()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- publishing --------------------------------------------------------------------------------------------

    async def publish(self, envelopes: Sequence[Envelope]) -> list[Ack]:
        """One flight: sent without waiting, acknowledged together."""
        if self.ledger is not None and any(one.stream in LEDGER for one in envelopes):
            there = iter(await self.ledger.publish([one for one in envelopes if one.stream in LEDGER]))
            here = iter(await self.publish([one for one in envelopes if one.stream not in LEDGER]))
            return [next(there if one.stream in LEDGER else here) for one in envelopes]
        for stream in {envelope.stream for envelope in envelopes}:
            await self.ensure(stream)
        acks, flying, octets = list[Ack | Retryable](), deque[tuple[Envelope, asyncio.Future[dict[str, object]]]](), 0
        for envelope in envelopes:
            while flying and octets + len(envelope.payload) > self.settings.flight_octets:
                octets -= len(flying[0][0].payload)
                acks.append(await self._landed(*flying.popleft()))
            sent = await self.connection.send(
                self._names.subject(envelope.stream),
                envelope.payload,
                {"Nats-Msg-Id": envelope.id, **to_headers(envelope)},
            )
            flying.append((envelope, sent))
            octets += len(envelope.payload)
            if any(isinstance(ack, Retryable) for ack in acks):
                break
        acks += [await self._landed(*one) for one in flying]
        held = [ack for ack in acks if isinstance(ack, Ack)]
        if len(held) < len(envelopes):
            raise next(ack for ack in acks if isinstance(ack, Retryable))
        return held

    async def _landed(self, envelope: Envelope, sent: "asyncio.Future[dict[str, object]]") -> Ack | Retryable:
        """The acknowledgement, or why there is none."""
        try:
            answer = await self.connection.answer(sent)
        except Retryable as error:
            self._ready.pop(envelope.stream, None)  # it may have been deleted
            why = await self.on_stalled() if self.connection.stalled and self.on_stalled is not None else ""
            return Retryable(f"the bus takes nothing: {why}") if why else error
        return Ack(envelope.id, duplicate=bool(answer.get("duplicate")))

    def _home(self, stream: str) -> "NatsBus":
        return self.ledger if self.ledger is not None and stream in LEDGER else self

    async def ensure(self, stream: str) -> None:
        """The stream exists. Once for each stream, whoever asks first."""
        task = self._ready.get(stream)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._ready[stream] = asyncio.ensure_future(self._ensure(stream))
        await asyncio.shield(task)

    async def _ensure(self, stream: str) -> None:
        wanted = self._config(stream)
        jsm = await self.api()
        with mapped("stream " + stream):
            try:
                there = (await jsm.stream_info(wanted.name or "")).config
            except NotFoundError:
                await self._create(jsm, wanted)
                return
            kept = (there.max_bytes, there.duplicate_window)
            if self.tuned and kept != (wanted.max_bytes, wanted.duplicate_window):
                await jsm.update_stream(wanted)

    async def _create(self, jsm: JetStreamManager, wanted: api.StreamConfig) -> None:
        try:
            await jsm.add_stream(wanted)
        except BadRequestError:  # somebody made it in between, with limits of their own
            await jsm.stream_info(wanted.name or "")

    def _config(self, stream: str) -> api.StreamConfig:
        base = api.StreamConfig(
            name=self._names.stream(stream),
            subjects=[self._names.subject(stream)],
            storage=api.StorageType.FILE,
            discard=api.DiscardPolicy.NEW,
            max_bytes=self.settings.stream_octets,
            duplicate_window=self.settings.duplicate_window_s,
            num_replicas=self.settings.replicas,
            allow_direct=True,
        )
        if stream == DEAD:
            return base.evolve(subjects=[self._names.subject(DEAD, "*")])
        if stream == POSITIONS:
            one_each = {"max_msgs_per_subject": 1, "max_bytes": -1, "discard": api.DiscardPolicy.OLD}
            return base.evolve(subjects=[self._names.subject(POSITIONS, "*", "*")], **one_each)
        return base

    async def api(self) -> JetStreamManager:
        """JetStream's API over the connection."""
        return await self.connection.api()

    # -- reading -----------------------------------------------------------------------------------------------

    async def reader(self, stream: str, name: str, *, after: Position | None = None) -> NatsReader:
        """The durable consumer of that name. One at a time: a second one of the same name reads the same again."""
        if self._home(str(stream)) is not self:
            return await self._home(str(stream)).reader(stream, name, after=after)
        reader = NatsReader(self.connection, str(stream), checked(name))
        await self.ensure(str(stream))
        await self.ensure(POSITIONS)
        await reader.open(after)
        return reader

    async def lineage(self, stream: str) -> str:
        """When the stream was made: one that was deleted and made again counts from 1."""
        home, name = self._home(str(stream)), str(stream)
        await home.ensure(name)
        jsm = await home.api()
        with mapped("stream " + name):
            info = await jsm.stream_info(self._names.stream(name))
        return f"nats/{info.config.name}/{info.created.isoformat() if info.created else ''}"

    async def bury(self, message: Message, *, reader: str, cause: str) -> None:
        """Keep it with the reason."""
        envelope = message.envelope
        await self.ensure(DEAD)
        told = {"Loomidi-Cause": " ".join(cause.split()), "Loomidi-Reader": reader, "Loomidi-At": str(time.time_ns())}
        told["Nats-Msg-Id"] = burial(message, reader)
        subject = self._names.subject(DEAD, envelope.stream)
        await self.connection.answer(
            await self.connection.send(subject, envelope.payload, {**to_headers(envelope), **told})
        )

    async def dead(self, *, most: int = 100, stream: str | None = None) -> list[Dead]:
        """The oldest dead letters."""
        found, at = list[Dead](), 1
        await self.ensure(DEAD)
        jsm = await self.api()
        while len(found) < most:
            with mapped("dead letters"):
                try:
                    raw = await jsm.get_msg(
                        self._names.stream(DEAD), seq=at, next=True, subject=self._names.subject(DEAD, stream or "*")
                    )
                except NotFoundError:
                    break
            at = (raw.seq or at) + 1
            found.append(_dead(raw))
        return found

    async def exhume(self, ids: Sequence[int]) -> int:
        """Publish each anew, under a message id of its own: the old one may still be in the duplicate window."""
        done = 0
        await self.ensure(DEAD)
        jsm = await self.api()
        for one in dict.fromkeys(ids):
            with mapped("dead letters"):
                try:
                    raw = await jsm.get_msg(self._names.stream(DEAD), seq=one)
                except (NotFoundError, BadRequestError):
                    continue
            envelope = _exhumed(raw)
            await self._home(envelope.stream).republish(envelope, f"{envelope.id}/exhumed/{one}")
            with mapped("dead letters"):
                done += bool(await jsm.delete_msg(self._names.stream(DEAD), one))
        return done

    async def republish(self, envelope: Envelope, message_id: str) -> None:
        """What comes from the dead letters, under an id of its own."""
        await self.ensure(envelope.stream)
        headers = {"Nats-Msg-Id": message_id, **to_headers(envelope)}
        sent = await self.connection.send(self._names.subject(envelope.stream), envelope.payload, headers)
        await self.connection.answer(sent)

    # -- keeping -----------------------------------------------------------------------------------------------

    async def standings(self) -> list[StreamStanding]:
        """All streams, dead letters last."""
        jsm, told = await self.api(), list[StreamStanding]()
        positions = await self._positions(jsm)
        with mapped("streams"):
            infos = {str(info.config.name): info for info in await jsm.streams_info()}
        for name, info in sorted(infos.items(), key=lambda one: (one[0] == self._names.stream(DEAD), one[0])):
            stream = name.removeprefix(self._names.stream(""))
            if name == stream or stream == POSITIONS:
                continue
            readers = tuple(
                ReaderStanding(who, *behind(info.state, offset)) for who, offset in positions.get(stream, {}).items()
            )
            limit = info.config.max_bytes if (info.config.max_bytes or 0) > 0 else None
            told.append(StreamStanding(stream, info.state.messages, info.state.bytes, limit, readers))
        return [*(await self.ledger.standings() if self.ledger is not None else ()), *told]

    async def _positions(self, jsm: JetStreamManager) -> dict[str, dict[str, int]]:
        """Stream -> reader -> committed offset."""
        found = dict[str, dict[str, int]]()
        await self.ensure(POSITIONS)
        with mapped("positions"):
            info = await jsm.stream_info(self._names.stream(POSITIONS), subjects_filter=">")
            for subject in sorted(info.state.subjects or {}):
                raw = await jsm.get_last_msg(self._names.stream(POSITIONS), subject)
                stream, reader = subject.split(".")[-2:]
                found.setdefault(stream, {})[reader] = int(json.loads(raw.data or b"{}").get("offset", 0))
        return found

    async def trim(self, older_than_s: float | None = None) -> int:
        """Remove what all readers have committed and what is older; the rest stays, whatever its age."""
        age = self.settings.retention_s if older_than_s is None else older_than_s
        before, jsm = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age), await self.api()
        gone = 0 if self.ledger is None else await self.ledger.trim(older_than_s)
        for stream, readers in (await self._positions(jsm)).items():
            with mapped("stream " + stream):
                name = self._names.stream(stream)
                state = (await jsm.stream_info(name)).state
                if not state.messages:
                    continue  # there is no first message to look at
                until = await self._first_after(jsm, name, (state.first_seq, min(readers.values()) + 1), before)
                if until > state.first_seq:
                    await jsm.purge_stream(name, seq=until)
                    gone += min(until - state.first_seq, state.messages)
        return gone

    async def forget(self, stream: str, reader: str) -> bool:
        """It holds `trim` no longer."""
        if self._home(stream) is not self:
            return await self._home(stream).forget(stream, reader)
        jsm = await self.api()
        known = reader in (await self._positions(jsm)).get(stream, {})
        if known:
            with mapped("positions"):
                subject = self._names.subject(POSITIONS, stream, reader)
                await jsm.purge_stream(self._names.stream(POSITIONS), subject=subject)
        return known

    async def _first_after(
        self, jsm: JetStreamManager, name: str, between: tuple[int, int], moment: dt.datetime
    ) -> int:
        """The first of these sequence numbers whose message came after that moment; times grow with the numbers."""
        low, high = between
        while low < high:
            middle = (low + high) // 2
            came = (await jsm.get_msg(name, seq=middle)).time
            if came is not None and came > moment:
                high = middle
            else:
                low = middle + 1
        return low

    async def recover(self) -> None:
        """As `TendedBus.recover`."""
        if self.ledger is not None:
            await self.ledger.recover()
        if self.on_lost is not None:
            await self.on_lost()

    async def reachable(self) -> bool:
        """Whether the server answers a ping and holds streams."""
        try:
            jsm = await self.connection.api(patience_s=0.0)
            with mapped("account"):
                async with asyncio.timeout(self.settings.patience_s):
                    await jsm.account_info()
        except (Retryable, TimeoutError):
            return False
        return True

    async def close(self) -> None:
        """Let go of the connection, and stop the server if it is ours."""
        for task in self._ready.values():
            task.cancel()
        await asyncio.gather(*self._ready.values(), return_exceptions=True)
        try:
            if self.ledger is not None:
                await self.ledger.close()
            await self.connection.close()
        finally:
            if self.on_close is not None:
                await self.on_close()


def _exhumed(raw: api.RawStreamMsg) -> Envelope:
    stream = (raw.subject or "").split(".")[-1]
    return from_headers(raw.headers or {}, raw.data or b"", stream=stream, offset=raw.seq or 0)


def _dead(raw: api.RawStreamMsg) -> Dead:
    headers, envelope = raw.headers or {}, _exhumed(raw)
    at = int(headers.get("Loomidi-At", "0"))
    cause, reader = headers.get("Loomidi-Cause", ""), headers.get("Loomidi-Reader", "")
    return Dead(raw.seq or 0, envelope.stream, envelope.id, cause, at, reader, envelope.payload)


async def opened(settings: BusSettings) -> NatsBus:
    """A bus on the servers that the URL names."""
    bus = NatsBus(settings)
    await bus.connect()
    return bus
