"""A durable reader on Kafka: partitions assigned by hand, offsets committed when we say so.

Called by `kafka`. In: a topic, a name. Out: messages in the order of each partition. Where it is, is the committed
offset of a consumer group that has no members: no rebalancing, one reader of a name at a time. Each call runs in the
reader's own thread, for librdkafka blocks.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka import Message as Raw

from loomidi.contracts.streams import Lag, Message, Position
from loomidi.loom.bus.envelopes import from_headers
from loomidi.loom.bus.kafka_connecting import as_ours, mapped

_ANSWER_S = 10.0  # for offsets and watermarks
Answer = TypeVar("Answer")


class KafkaReader:
    """One durable consumer."""

    def __init__(self, config: dict[str, Any], topic: str, stream: str, name: str) -> None:
        self.stream, self.name = stream, name
        self._topic, self._away = topic, False
        self._ready = list[Message]()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"loomidi-kafka-{name}")
        more = {
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.message.max.bytes": 8 << 20,
            "queued.max.messages.kbytes": 32 << 10,
            "fetch.wait.max.ms": 100,
            "error_cb": self._failed,
        }
        self._consumer = Consumer({**config, **more})

    async def _call(self, work: Callable[..., Answer], *given: Any) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)

    async def open(self, partitions: int, after: Position | None) -> None:
        """Begin where it was, or behind `after`, and say so: a reader that nobody knows would not hold back `trim`."""
        await self._call(self._open, partitions, after)

    def _open(self, partitions: int, after: Position | None) -> None:
        parts = [TopicPartition(self._topic, number) for number in range(partitions)]
        with mapped(self._topic):
            if after is None:
                parts = self._consumer.committed(parts, timeout=_ANSWER_S)
            for part in parts:
                if part.error:
                    raise as_ours(part.error, self._topic)
                part.offset = max(part.offset, 0) if after is None else after.get(part.partition, -1) + 1
            self._committed = {part.partition: part.offset for part in parts}
            starts = [TopicPartition(part.topic, part.partition, part.offset or OFFSET_BEGINNING) for part in parts]
            self._consumer.assign(starts)
            self._consumer.commit(offsets=parts, asynchronous=False)

    async def fetch(self, most: int = 64, timeout_s: float = 1.0) -> list[Message]:
        """All that is there, else the first that comes."""
        await self._call(self._fill, most, timeout_s)
        taken, self._ready = self._ready[:most], self._ready[most:]
        return taken

    def _fill(self, most: int, timeout_s: float) -> None:
        """What a fetch that was cancelled has brought is still there, for the next one."""
        if not self._ready and most > 0:
            self._ready = self._fetch(most, timeout_s)

    def _fetch(self, most: int, timeout_s: float) -> list[Message]:
        with mapped(self._topic):
            taken = self._consumer.consume(1, timeout_s)
            if taken and most > 1:
                taken += self._consumer.consume(most - 1, 0.0)
        found = list[Message]()
        for raw in taken:
            error = raw.error()
            if error is None:
                found.append(self._message(raw))
            elif error.code() == KafkaError.OFFSET_OUT_OF_RANGE or not error.retriable():
                raise as_ours(error, self._topic)
        if found:
            self._away = False
        elif self._away:
            self._still_away()
        return found

    def _still_away(self) -> None:
        """librdkafka has said that no broker answers, and says nothing when one does again: ask."""
        with mapped(self._topic):
            self._consumer.list_topics(self._topic, timeout=1.0)
        self._away = False

    def _failed(self, error: KafkaError) -> None:
        if error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):
            self._away = True

    def _message(self, raw: Raw) -> Message:
        offset, partition = raw.offset() or 0, raw.partition() or 0
        payload = raw.value() or b""
        envelope = from_headers(headers(raw), as_bytes(payload), stream=self.stream, offset=offset)
        return Message(envelope, partition, offset)

    async def commit(self, position: Position) -> None:
        """Durable when it returns."""
        await self._call(self._commit, position)

    def _commit(self, position: Position) -> None:
        ahead = {at: offset + 1 for at, offset in position.items() if offset + 1 > self._committed.get(at, 0)}
        if not ahead:
            return
        parts = [TopicPartition(self._topic, partition, offset) for partition, offset in ahead.items()]
        with mapped(self._topic):
            for part in self._consumer.commit(offsets=parts, asynchronous=False) or ():
                if part.error:
                    raise as_ours(part.error, self._topic)
        self._committed |= ahead

    async def lag(self) -> Lag:
        """What is not committed, marks of transactions included; Kafka does not tell octets."""
        return Lag(await self._call(self._behind), None)

    def _behind(self) -> int:
        behind = 0
        for partition, offset in self._committed.items():
            with mapped(self._topic):
                ends = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), timeout=_ANSWER_S)
            behind += ends[1] - max(offset, ends[0])
        return behind

    async def close(self) -> None:
        """What was fetched and not committed comes again to the next reader of this name."""
        await self._call(self._consumer.close)
        self._thread.shutdown(wait=False)


def headers(raw: Raw) -> dict[str, str]:
    """Of a message, as text."""
    given = raw.headers() or []
    pairs = given.items() if isinstance(given, dict) else given
    return {name: as_bytes(value or b"").decode(errors="replace") for name, value in pairs}


def as_bytes(value: str | bytes) -> bytes:
    """librdkafka's types allow text where there are octets."""
    return value.encode() if isinstance(value, str) else value
