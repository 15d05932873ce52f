"""A durable reader on NATS: strictly in order, from where it had committed, whatever breaks in between.

Called by `nats`. In: a stream, a name. Out: messages whose offsets are JetStream's sequence numbers. What it has
committed is one message on the stream of positions. It reads through a consumer that lives only as long as it does and
is made anew, behind the last message seen, when the server or the connection was away; so nothing is left out, and
nothing comes twice to one reader.
"""

import asyncio
import contextlib
import itertools
import json
import time
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import api
from nats.js.errors import APIError, NotFoundError

from loomidi.contracts.errors import Retryable
from loomidi.contracts.streams import Lag, Message, Position
from loomidi.loom.bus.envelopes import from_headers
from loomidi.loom.bus.nats_connecting import Connection, mapped

_IDLE_S = 300.0  # after which the server forgets a consumer of a reader that is gone
_PULL_OCTETS = 32 << 20  # of one answer
_SILENCE_S = 2.0  # without an answer that is due: the consumer is gone
_NO_MORE = frozenset({"404", "408", "409"})  # none now, none in time, not within the octets of one answer


class NatsReader:
    """One durable consumer."""

    def __init__(self, connection: Connection, stream: str, name: str) -> None:
        self.stream, self.name = stream, name
        self._connection, self._names = connection, connection.names
        self._committed = self._seen = 0
        self._openings = 1  # since the position has changed
        self._consumer = ""
        self._inbox: Subscription | None = None
        self._place, self._numbers = "", itertools.count()  # where answers come to; each request has a number there
        self._reply = ""  # of the last request
        self._expected = 1  # the consumer's own number of the next message
        self._due = 0  # messages that the last request may still bring
        self._losses = -1

    async def open(self, after: Position | None) -> None:
        """Find the position and note that we begin there."""
        told = await self._noted()
        self._committed = told["offset"] if after is None else after.get(0, 0)
        same = self._committed == told["offset"]
        self._openings = told["openings"] + 1 if same else 1
        self._seen = self._committed
        await self._note()

    async def _noted(self) -> dict[str, int]:
        jsm = await self._connection.api()
        with mapped("positions"):
            try:
                raw = await jsm.get_last_msg(self._names.stream("positions"), self._subject())
            except NotFoundError:
                return {"offset": 0, "openings": 0}
        return {"offset": 0, "openings": 0, **json.loads(raw.data or b"{}")}

    def _subject(self) -> str:
        return self._names.subject("positions", self.stream, self.name)

    async def _note(self) -> None:
        told = json.dumps({"offset": self._committed, "openings": self._openings}).encode()
        await self._connection.answer(await self._connection.send(self._subject(), told, {}))

    async def fetch(self, most: int = 64, timeout_s: float = 1.0) -> list[Message]:
        """What follows the last one that was fetched: all that is there, else the first that comes."""
        until = time.monotonic() + timeout_s
        await self._connection.client(timeout_s)
        while True:
            if self._inbox is None or self._losses != self._connection.losses:
                await self._begin()
            raw = await self._pull(most, 0.0)
            left = until - time.monotonic()
            if not raw and left > 0:
                raw = await self._pull(1, left)
            if raw or time.monotonic() >= until:
                return [self._message(one) for one in raw]
            await self._connection.client(max(until - time.monotonic(), 0.0))

    async def _begin(self) -> None:
        """A consumer behind the last message that we have seen."""
        await self._let_go()
        self._losses = self._connection.losses
        client = await self._connection.client()
        jsm, name = await self._connection.api(), self._names.stream(self.stream)
        config = api.ConsumerConfig(
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self._seen + 1,
            ack_policy=api.AckPolicy.NONE,
            inactive_threshold=_IDLE_S,
            mem_storage=True,
            num_replicas=1,
        )
        with mapped("stream " + self.stream):
            self._consumer = (await jsm.add_consumer(name, config)).name
            self._place = client.new_inbox()
            self._inbox = await client.subscribe(f"{self._place}.*", pending_bytes_limit=4 * _PULL_OCTETS)
        self._expected, self._due = 1, 0

    async def _pull(self, most: int, wait_s: float) -> list[Msg]:
        """One request and its answers; a hole in them, or a consumer that is gone, makes the next one begin anew.

        Where all came that was asked for there is more: the next request is under way while the caller works.
        """
        if self._inbox is None:
            return []
        try:
            if not self._due:
                await self._ask(most, wait_s)
            taken = await self._answers(self._inbox, most, wait_s)
            if len(taken) == most > 1 and not self._due and self._inbox is not None:
                await self._ask(most, 0.0)
        except (nats.errors.Error, OSError):
            await self._let_go()
            return []
        except asyncio.CancelledError:
            self._losses = -1  # what has come of this answer will be asked for again
            raise
        return taken

    async def _ask(self, most: int, wait_s: float) -> None:
        asked: dict[str, Any] = {"batch": most, "max_bytes": _PULL_OCTETS}
        asked |= {"expires": max(int(wait_s * 1e9), 1_000_000)} if wait_s else {"no_wait": True}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._names.stream(self.stream)}.{self._consumer}"
        client = await self._connection.client(0.0)
        self._reply = f"{self._place}.{next(self._numbers)}"
        await client.publish(subject, json.dumps(asked).encode(), reply=self._reply)
        self._due = most

    async def _answers(self, inbox: Subscription, most: int, wait_s: float) -> list[Msg]:
        """Messages until so many are there or the server says that there are no more for now."""
        taken, losses = list[Msg](), self._losses
        while len(taken) < most and self._due and self._connection.losses == losses:
            try:
                one = await inbox.next_msg(timeout=wait_s + _SILENCE_S)
            except TimeoutError:  # the server always says something; this one does not
                await self._let_go()
                break
            status = (one.headers or {}).get("Status")
            if status is not None and one.subject != self._reply:
                continue  # of a request before: a server also says of one that brought all that it is complete
            if status is not None:
                self._due = 0
                if status not in _NO_MORE:
                    await self._let_go()
                break
            if one.metadata.sequence.consumer != self._expected:
                await self._let_go()
                break
            self._expected += 1
            self._due -= 1
            taken.append(one)
        return taken

    def _message(self, raw: Msg) -> Message:
        offset = raw.metadata.sequence.stream
        self._seen = offset
        envelope = from_headers(raw.headers or {}, raw.data, stream=self.stream, offset=offset)
        return Message(envelope, 0, offset, self._openings)

    async def commit(self, position: Position) -> None:
        """Durable when it returns, like a message."""
        offset = position.get(0, 0)
        if offset <= self._committed:
            return
        before, self._committed, self._openings = self._committed, offset, 1
        try:
            await self._note()
        except Retryable:
            self._committed = before
            raise

    async def lag(self) -> Lag:
        """What is not committed; octets by the mean of the stream."""
        jsm = await self._connection.api()
        with mapped("stream " + self.stream):
            info = await jsm.stream_info(self._names.stream(self.stream))
        return Lag(*behind(info.state, self._committed))

    async def close(self) -> None:
        """The position stays, the consumer goes."""
        await self._let_go()

    async def _let_go(self) -> None:
        inbox, consumer = self._inbox, self._consumer
        self._inbox, self._consumer = None, ""
        if inbox is not None:
            with contextlib.suppress(nats.errors.Error):
                await inbox.unsubscribe()
        if consumer:
            with contextlib.suppress(nats.errors.Error, APIError, Retryable, TimeoutError):
                jsm = await self._connection.api(patience_s=0.0)
                async with asyncio.timeout(1.0):
                    await jsm.delete_consumer(self._names.stream(self.stream), consumer)


def behind(state: api.StreamState, offset: int) -> tuple[int, int]:
    """Messages and octets after an offset; octets by the mean of the stream."""
    messages = min(max(state.last_seq - max(offset, state.first_seq - 1), 0), state.messages)
    return messages, messages * state.bytes // max(state.messages, 1)
