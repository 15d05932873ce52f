"""The bus on Apache Kafka: a topic for each stream, an idempotent producer, every in-sync replica has what is answered.

Called by `loom.bus.open_bus` for kafka:// URLs. In: settings. Out: a `TendedBus`. Kafka's idempotence covers what the
producer itself sends again; an id that is published a second time is recognised only by the process that published it
the first time, within the window. The ids travel in headers, so the lake closes the rest. A dead letter that is exhumed
is struck out by a record behind it, for a log forgets nothing in its middle. Leaves reading to `kafka_reading`.
"""

import asyncio
import collections
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka import Message as Raw
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # it is not in their __all__

from loomidi.contracts.errors import Retryable
from loomidi.contracts.streams import Ack, Dead, Envelope, Message, Position
from loomidi.loom.bus.envelopes import burial, from_headers, to_headers
from loomidi.loom.bus.kafka_connecting import MOST_OCTETS, as_ours, client, mapped
from loomidi.loom.bus.kafka_reading import KafkaReader, as_bytes, headers
from loomidi.loom.bus.settings import BusSettings
from loomidi.loom.bus.standings import ReaderStanding, StreamStanding, checked

DEAD = "dead"
_STRUCK, _BURIAL = "Loomidi-Exhumed", "Loomidi-Burial"
_ANSWER_S, _AGAIN_S = 10.0, 0.2
_NO_LEADER = frozenset({KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE})
_MOST_IDS = 200_000  # remembered of what we have published
Answer = TypeVar("Answer")


class KafkaBus:
    """All streams on one Kafka cluster."""

    name = "kafka"

    def __init__(self, settings: BusSettings) -> None:
        self.settings = settings
        self._config = client(settings)
        more = {
            "enable.idempotence": True,
            "acks": "all",
            "delivery.timeout.ms": max(int(settings.patience_s * 1000), 1000),
            "linger.ms": 2,
            "batch.size": 1 << 20,
            "message.max.bytes": MOST_OCTETS,
            "compression.type": "none",  # envelopes are compressed
        }
        self._producer = Producer({**self._config, **more})
        self._admin = AdminClient(self._config)
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="loomidi-kafka")
        self._partitions: dict[str, int] = {}  # topic -> how many, once it is there
        self._held: collections.OrderedDict[tuple[str, str], float] = collections.OrderedDict()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _call(self, work: Callable[..., Answer], *given: Any) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)

    # -- publishing --------------------------------------------------------------------------------------------

    async def publish(self, envelopes: Sequence[Envelope]) -> list[Ack]:
        """One flight; a producer's envelopes share a partition, so their order stays."""
        for stream in {envelope.stream for envelope in envelopes}:
            await self._ensure(stream)
        return await self._call(self._publish, envelopes)

    def _publish(self, envelopes: Sequence[Envelope]) -> list[Ack]:
        self._forget()
        known = [(one.stream, one.id) in self._held for one in envelopes]
        fresh = [one for one, held in zip(envelopes, known, strict=True) if not held]
        seen, single = set[tuple[str, str]](), list[Envelope]()
        for one in fresh:
            if (one.stream, one.id) not in seen:
                single.append(one)
            seen.add((one.stream, one.id))
        self._send([(self._topic(one.stream), one.producer, one.payload, to_headers(one)) for one in single], single)
        acks, first = list[Ack](), set(seen)
        for one, held in zip(envelopes, known, strict=True):
            acks.append(Ack(one.id, duplicate=held or (one.stream, one.id) not in first))
            first.discard((one.stream, one.id))
        return acks

    def _send(
        self, records: Sequence[tuple[str, str, bytes, dict[str, str]]], envelopes: Sequence[Envelope] = ()
    ) -> None:
        """Produce and wait for every answer. Raises the first error; what was held is remembered."""
        answers: dict[int, KafkaError | None] = {}
        until = time.monotonic() + max(self.settings.patience_s, 1.0) + 1.0  # librdkafka gives up a second before
        for number, (topic, key, payload, told) in enumerate(records):
            self._produce(topic, key, payload, told, lambda error, _, number=number: answers.update({number: error}))
        while len(answers) < len(records) and time.monotonic() < until:
            self._producer.poll(0.05)
        now = time.monotonic()
        for number, one in enumerate(envelopes):
            if number in answers and answers[number] is None:
                self._held[one.stream, one.id] = now
        failed = next((error for error in answers.values() if error is not None), None)
        if failed is not None:
            raise as_ours(failed, "publishing")
        if len(answers) < len(records):
            raise Retryable("publishing: the broker did not acknowledge in time; try again")

    def _produce(self, topic: str, key: str, payload: bytes, told: dict[str, str], answered: Any) -> None:
        until = time.monotonic() + max(self.settings.patience_s, 1.0)
        while True:
            try:
                with mapped("publishing"):
                    self._producer.produce(
                        topic, value=payload, key=key or None, headers=list(told.items()), on_delivery=answered
                    )
            except BufferError as error:
                if time.monotonic() > until:
                    raise Retryable("publishing: more waits than the client may hold; try again") from error
                self._producer.poll(0.05)
                continue
            self._producer.poll(0)
            return

    def _forget(self) -> None:
        """Ids that are older than the window, or too many."""
        before = time.monotonic() - self.settings.duplicate_window_s
        while self._held and (len(self._held) > _MOST_IDS or next(iter(self._held.values())) < before):
            self._held.popitem(last=False)

    async def _ensure(self, stream: str) -> None:
        if self._topic(stream) not in self._partitions:
            await self._call(self._create, stream)

    def _create(self, stream: str) -> None:
        topic = self._topic(stream)
        copies = self.settings.replicas
        config = {
            "retention.ms": "-1",  # only `trim` removes
            "retention.bytes": "-1",
            "max.message.bytes": str(MOST_OCTETS),
            "min.insync.replicas": str(2 if copies > 2 else 1),
        }
        wanted = NewTopic(topic, 1 if stream == DEAD else self.settings.partitions, copies, config=config)
        with mapped(topic):
            try:
                self._admin.create_topics([wanted], request_timeout=self._patience())[topic].result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
            until = time.monotonic() + self._patience()
            while not (there := self._known().get(topic, 0)):  # the brokers tell one another
                if time.monotonic() > until:
                    raise Retryable(f"{topic}: made, but no broker leads it yet; try again")
            self._partitions[topic] = there

    def _patience(self) -> float:
        return max(self.settings.patience_s, 1.0)

    def _known(self) -> dict[str, int]:
        """Topics of ours -> partitions."""
        topics = self._admin.list_topics(timeout=self._patience()).topics
        return {
            name: len(topic.partitions)
            for name, topic in topics.items()
            if name.startswith(self._topic("")) and topic.error is None
        }

    def _topic(self, stream: str) -> str:
        return f"{self.settings.prefix}.{stream}"

    def _group(self, name: str) -> str:
        return f"{self.settings.prefix}-{name}"

    # -- reading -----------------------------------------------------------------------------------------------

    async def reader(self, stream: str, name: str, *, after: Position | None = None) -> KafkaReader:
        """The durable consumer of that name."""
        await self._ensure(str(stream))
        topic = self._topic(str(stream))
        config = {**self._config, "group.id": self._group(checked(name))}
        reader = KafkaReader(config, topic, str(stream), name)
        try:
            await self._opened(reader, self._partitions[topic], after)
        except BaseException:
            await reader.close()
            raise
        return reader

    async def _opened(self, reader: KafkaReader, partitions: int, after: Position | None) -> None:
        """A cluster that has just come up first has to find who keeps the group."""
        until = time.monotonic() + self._patience()
        while True:
            try:
                await reader.open(partitions, after)
                return
            except Retryable:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(_AGAIN_S)

    async def lineage(self, stream: str) -> str:
        """The topic's id: one that was deleted and made again has another."""
        await self._ensure(str(stream))
        return await self._call(self._lineage, self._topic(str(stream)))

    def _lineage(self, topic: str) -> str:
        with mapped(topic):
            asked = self._admin.describe_topics(TopicCollection([topic]), request_timeout=self._patience())
            return f"kafka/{asked[topic].result().topic_id}"

    async def bury(self, message: Message, *, reader: str, cause: str) -> None:
        """Keep it with the reason."""
        await self._ensure(DEAD)
        told = {"Loomidi-Cause": " ".join(cause.split()), "Loomidi-Reader": reader, "Loomidi-At": str(time.time_ns())}
        told[_BURIAL] = burial(message, reader)
        envelope = message.envelope
        await self._call(self._send, [(self._topic(DEAD), "", envelope.payload, {**to_headers(envelope), **told})])

    async def dead(self, *, most: int = 100, stream: str | None = None) -> list[Dead]:
        """The oldest dead letters."""
        letters = await self._letters()
        found = [_dead(one, told) for one, told in letters.items() if stream in (None, told["Loomidi-Stream"])]
        return found[:most]

    async def _letters(self) -> "dict[_Letter, dict[str, str]]":
        await self._ensure(DEAD)
        return await self._call(lambda: _unstruck(list(self._all(self._topic(DEAD)))))

    def _all(self, topic: str) -> Iterator[Raw]:
        """Every record of a topic of one partition, up to where it ends now."""
        with self._asking() as consumer, mapped(topic):
            low, high = _watermarks(consumer, TopicPartition(topic, 0))
            consumer.assign([TopicPartition(topic, 0, low)])
            until = time.monotonic() + _ANSWER_S
            while low < high:
                raw = consumer.poll(0.5)
                error = raw.error() if raw is not None else None
                if raw is not None and error is None:
                    low, until = (raw.offset() or 0) + 1, time.monotonic() + _ANSWER_S
                    yield raw
                elif error is not None and error.code() == KafkaError._PARTITION_EOF:
                    return  # what follows are marks of transactions, such as Flink's
                elif time.monotonic() > until:
                    raise Retryable(f"{topic}: the broker does not answer; try again")

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Consumer]:
        """A consumer that asks and commits nothing."""
        more = {"group.id": self._group("asking"), "enable.auto.commit": False, "enable.partition.eof": True}
        consumer = Consumer({**self._config, **more})
        try:
            yield consumer
        finally:
            consumer.close()

    async def exhume(self, ids: Sequence[int]) -> int:
        """Publish each anew, whatever was published before, then strike it out."""
        known = {one.offset: one for one in await self._letters()}
        wanted = [known[one] for one in dict.fromkeys(ids) if one in known]
        envelopes = [one.envelope() for one in wanted]
        for stream in {one.stream for one in envelopes}:
            await self._ensure(stream)
        sent = [(self._topic(one.stream), one.producer, one.payload, to_headers(one)) for one in envelopes]
        struck = [(self._topic(DEAD), "", b"", {_STRUCK: str(one.offset)}) for one in wanted]
        await self._call(self._send, sent)
        await self._call(self._send, struck)
        return len(wanted)

    # -- keeping -----------------------------------------------------------------------------------------------

    async def standings(self) -> list[StreamStanding]:
        """All topics, dead letters last."""
        letters = await self._letters()
        told = await self._call(self._standings)
        octets = sum(len(one.payload) for one in letters)
        return [*told, StreamStanding(DEAD, len(letters), octets, None, ())]

    def _standings(self) -> list[StreamStanding]:
        told = list[StreamStanding]()
        with mapped("standings"):
            offsets = self._offsets()
            for topic, count in sorted(self._known().items()):
                if topic == self._topic(DEAD):
                    continue
                ends = self._ends(topic, count)
                readers = tuple(
                    ReaderStanding(name, _behind(ends, at[topic]), None) for name, at in offsets.items() if topic in at
                )
                stream = topic.removeprefix(self._topic(""))
                told.append(StreamStanding(stream, sum(high - low for low, high in ends.values()), None, None, readers))
        return told

    def _ends(self, topic: str, count: int) -> dict[int, tuple[int, int]]:
        """Partition -> first offset, offset after the last."""
        with self._asking() as consumer:
            parts = [TopicPartition(topic, number) for number in range(count)]
            return {part.partition: _watermarks(consumer, part) for part in parts}

    def _offsets(self) -> dict[str, dict[str, dict[int, int]]]:
        """Reader -> topic -> partition -> offset of the next message that it wants."""
        found = dict[str, dict[str, dict[int, int]]]()
        groups = self._admin.list_consumer_groups(request_timeout=self._patience()).result().valid or []
        for group in sorted(one.group_id for one in groups if one.group_id.startswith(self._group(""))):
            asked = [ConsumerGroupTopicPartitions(group)]
            answer = self._admin.list_consumer_group_offsets(asked)[group].result()
            for part in answer.topic_partitions or []:
                name = group.removeprefix(self._group(""))
                found.setdefault(name, {}).setdefault(part.topic, {})[part.partition] = part.offset
        return found

    async def trim(self, older_than_s: float | None = None) -> int:
        """Remove what all readers have committed and what is older."""
        age = self.settings.retention_s if older_than_s is None else older_than_s
        return await self._call(self._trim, int((time.time() - age) * 1000))

    def _trim(self, before_ms: int) -> int:
        with mapped("trimming"):
            offsets, gone = self._offsets(), 0
            for topic, count in self._known().items():
                readers = [at[topic] for at in offsets.values() if topic in at]
                cuts = self._cuts(topic, count, readers, before_ms) if readers and topic != self._topic(DEAD) else {}
                parts = [TopicPartition(topic, partition, until) for partition, (_, until) in cuts.items()]
                for done in self._admin.delete_records(parts).values() if parts else ():
                    done.result()
                gone += sum(until - low for low, until in cuts.values())
        return gone

    def _cuts(
        self, topic: str, count: int, readers: Sequence[dict[int, int]], before_ms: int
    ) -> dict[int, tuple[int, int]]:
        """Partition -> first offset, first offset that stays."""
        cuts = {}
        for partition, (low, high) in self._ends(topic, count).items():
            with self._asking() as consumer:
                (young,) = consumer.offsets_for_times([TopicPartition(topic, partition, before_ms)], timeout=_ANSWER_S)
            floor = min(at.get(partition, 0) for at in readers)
            until = min(floor, young.offset if young.offset >= 0 else high)
            if until > low:
                cuts[partition] = (low, until)
        return cuts

    async def forget(self, stream: str, reader: str) -> bool:
        """It holds `trim` no longer, nor on other streams."""
        return await self._call(self._forget_reader, stream, reader)

    def _forget_reader(self, stream: str, reader: str) -> bool:
        with mapped("forgetting"):
            if self._topic(stream) not in self._offsets().get(reader, {}):
                return False
            for done in self._admin.delete_consumer_groups([self._group(reader)]).values():
                done.result()
        return True

    async def recover(self) -> None:
        """Nothing: brokers have their own keepers."""

    async def reachable(self) -> bool:
        """Whether a broker answers."""
        try:
            await self._call(self._greet)
        except Retryable:
            return False
        return True

    def _greet(self) -> None:
        with mapped(self.settings.url.split("://")[-1]):
            self._admin.list_topics(timeout=self._patience())

    async def connect(self) -> None:
        """Raises Retryable when nobody answers, EnvironmentLacks when we are not let in."""
        await self._call(self._greet)

    async def close(self) -> None:
        """Whoever still publishes is waited for."""
        await self._call(self._producer.flush, self._patience())
        self._threads.shutdown(wait=False)


class _Letter:
    """A record of the topic of dead letters."""

    def __init__(self, raw: Raw) -> None:
        self.offset, self.told = raw.offset() or 0, headers(raw)
        self.payload = as_bytes(raw.value() or b"")

    def envelope(self) -> Envelope:
        """What was buried."""
        return from_headers(self.told, self.payload, stream=self.told.get("Loomidi-Stream", ""), offset=self.offset)


def _watermarks(consumer: Consumer, part: TopicPartition) -> tuple[int, int]:
    """First offset and the one after the last. A topic that was made just now may have no leader for a moment."""
    until = time.monotonic() + _ANSWER_S
    while True:
        try:
            ends: tuple[int, int] = consumer.get_watermark_offsets(part, timeout=_ANSWER_S)
            return ends
        except KafkaException as error:
            if error.args[0].code() not in _NO_LEADER or time.monotonic() > until:
                raise
            time.sleep(_AGAIN_S)


def _unstruck(records: Sequence[Raw]) -> dict[_Letter, dict[str, str]]:
    """Those that no later record strikes out, the oldest first, and of one that was buried twice the first."""
    letters = [_Letter(raw) for raw in records]
    struck = {one.told[_STRUCK] for one in letters if _STRUCK in one.told}
    first: dict[str, int] = {}
    for one in letters:
        first.setdefault(one.told.get(_BURIAL, str(one.offset)), one.offset)
    kept = set(first.values())
    buried = [one for one in letters if _STRUCK not in one.told and one.offset in kept]
    return {one: one.told for one in buried if str(one.offset) not in struck}


def _dead(letter: _Letter, told: dict[str, str]) -> Dead:
    envelope = letter.envelope()
    at, cause, reader = int(told["Loomidi-At"]), told["Loomidi-Cause"], told["Loomidi-Reader"]
    return Dead(letter.offset, envelope.stream, envelope.id, cause, at, reader, letter.payload)


def _behind(ends: dict[int, tuple[int, int]], at: dict[int, int]) -> int:
    return sum(high - max(at.get(partition, 0), low) for partition, (low, high) in ends.items())


async def opened(settings: BusSettings) -> KafkaBus:
    """A bus on the brokers that the URL names."""
    bus = KafkaBus(settings)
    try:
        await bus.connect()
    except BaseException:
        await bus.close()
        raise
    return bus
