"""One suite for every bus: in memory, NATS JetStream, Apache Kafka; the latter two are real servers.

Each test has a prefix of its own on a server that all tests share. What a bus cannot do by its nature is skipped by
name, with the reason.
"""

import asyncio
import itertools
import os
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts.errors import Retryable, UsageError
from loomidi.contracts.streams import Envelope, Message, Reader
from loomidi.loom.bus import BusSettings, TendedBus, open_bus
from loomidi.loom.bus.envelopes import BadBatch
from loomidi.loom.bus.memory import MemoryBus
from tests.integration.bus.brokers import KafkaBroker, NatsBroker, again

_prefixes = itertools.count()
KINDS = ["memory", "nats", pytest.param("kafka", marks=[pytest.mark.slow, pytest.mark.required])]


class Venue:
    """Where buses of one kind are opened, and how their server is taken away and brought back."""

    def __init__(self, kind: str, broker: KafkaBroker | NatsBroker | None, url: str, patience_s: float = 2.0) -> None:
        self.kind, self.broker, self.url, self.patience_s = kind, broker, url, patience_s
        self.prefix = f"t{os.getpid()}x{next(_prefixes)}"
        self._memory: list[MemoryBus] = []

    async def open(self, **changes: Any) -> TendedBus:
        settings = BusSettings(
            **{
                "url": self.url,
                "prefix": self.prefix,
                "stream_octets": 64 << 20,
                "patience_s": self.patience_s,
                **changes,
            }
        )
        if self.kind != "memory":
            return await open_bus(settings)
        if not self._memory:
            self._memory.append(MemoryBus(settings))
        return self._memory[0]

    def down(self) -> None:
        if self.kind == "memory":
            self._memory[0].away = True
        elif self.broker is None:
            pytest.skip("a broker that is named by a variable is not ours to kill")
        else:
            self.broker.down()

    def up(self) -> None:
        if self.kind == "memory":
            self._memory[0].away = False
        elif self.broker is not None:
            self.broker.start()


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, KafkaBroker | NatsBroker]]:
    started: dict[str, KafkaBroker | NatsBroker] = {}
    yield started
    for broker in started.values():
        broker.stop()


@pytest.fixture(params=KINDS)
def venue(request: pytest.FixtureRequest, brokers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Venue:
    kind = request.param
    if kind == "memory":
        return Venue(kind, None, "memory://")
    if kind == "kafka" and os.environ.get("KAFKA"):
        return Venue(kind, None, f"kafka://{os.environ['KAFKA']}", patience_s=10.0)
    if kind not in brokers:
        folder: Path = tmp_path_factory.mktemp(kind)
        broker = KafkaBroker(folder) if kind == "kafka" else NatsBroker(folder)
        broker.start()
        brokers[kind] = broker
    return Venue(kind, brokers[kind], brokers[kind].url, patience_s=10.0 if kind == "kafka" else 2.0)


def run(claim: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(120):
            await claim()

    asyncio.run(in_time())


def envelope(seq: int, stream: str = "flows", octets: int = 100, **changes: Any) -> Envelope:
    told = {"producer": "node-1", "epoch": 5, "rows": 3, "sampling_interval": 2, "created_ns": 7, **changes}
    return Envelope(stream=stream, seq=seq, payload=bytes([seq % 256]) * octets, **told)


def envelopes(count: int, start: int = 0, **changes: Any) -> list[Envelope]:
    return [envelope(seq, **changes) for seq in range(start, start + count)]


async def read(reader: Reader, count: int) -> list[Message]:
    """So many messages, however many fetches that takes."""
    found: list[Message] = []
    while len(found) < count:
        found += await reader.fetch(count - len(found), 5.0)
    return found


def seqs(messages: list[Message]) -> list[int]:
    return [one.envelope.seq for one in messages]


def test_what_is_published_is_read_whole_and_in_order(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open() as bus:
            given = envelopes(20)
            acks = await bus.publish(given)
            assert [(ack.id, ack.duplicate) for ack in acks] == [(one.id, False) for one in given]
            messages = await read(await bus.reader("flows", "lake"), 20)
            assert [one.envelope for one in messages] == given
            offsets = [one.offset for one in messages]
            assert offsets == sorted(set(offsets))

    run(claim)


def test_large_envelopes_in_large_flights_arrive(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open(flight_octets=1 << 20) as bus:
            given = envelopes(60, octets=256 << 10)
            await bus.publish(given)
            assert [one.envelope for one in await read(await bus.reader("flows", "lake"), 60)] == given

    run(claim)


def test_flights_of_one_producer_keep_their_order(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open(partitions=3) as bus:
            for start in range(0, 100, 10):
                await bus.publish(envelopes(10, start))
            assert seqs(await read(await bus.reader("flows", "lake"), 100)) == list(range(100))

    run(claim)


def test_an_id_that_is_held_is_not_held_twice(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open() as bus:
            await bus.publish(envelopes(5))
            acks = await bus.publish([*envelopes(4, 3), envelope(6)])
            assert [ack.duplicate for ack in acks] == [True, True, False, False, True]
            reader = await bus.reader("flows", "lake")
            assert seqs(await read(reader, 7)) == list(range(7))
            assert await reader.fetch(10, 0.2) == []

    run(claim)


def test_streams_do_not_mix(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open() as bus:
            await bus.publish([envelope(0), envelope(0, "metrics"), envelope(1)])
            assert seqs(await read(await bus.reader("flows", "lake"), 2)) == [0, 1]
            assert seqs(await read(await bus.reader("metrics", "lake"), 1)) == [0]

    run(claim)


def test_a_fetch_waits_for_the_first_and_takes_no_more_than_asked(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open() as bus:
            reader = await bus.reader("flows", "lake")
            assert await reader.fetch(10, 0.1) == []
            waiting = asyncio.create_task(reader.fetch(10, 20.0))
            await bus.publish(envelopes(1))
            assert seqs(await waiting) == [0]
            await bus.publish(envelopes(5, 1))
            assert len(await read(reader, 2)) == 2
            assert seqs(await read(reader, 3)) == [3, 4, 5]

    run(claim)


def test_a_fetch_that_is_cancelled_loses_nothing(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open() as bus:
            reader, found, dice = await bus.reader("flows", "lake"), list[Message](), random.Random(1)
            for seq in range(0, 100, 4):
                fetching = asyncio.create_task(reader.fetch(3, 5.0))
                await bus.publish(envelopes(4, seq))
                await asyncio.sleep(dice.random() * 0.004)
                fetching.cancel()
                (given,) = await asyncio.gather(fetching, return_exceptions=True)
                found += given if isinstance(given, list) else []
            found += await read(reader, 100 - len(found))
            assert seqs(found) == list(range(100))

    run(claim)


def test_a_later_reader_of_the_name_goes_on_behind_what_was_committed(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open() as bus:
            await bus.publish(envelopes(10))
            first = await bus.reader("flows", "lake")
            messages = await read(first, 7)
            await first.commit({messages[3].partition: messages[3].offset})
            await first.close()
        async with await venue.open() as bus:
            again = await read(await bus.reader("flows", "lake"), 6)
            assert seqs(again) == [4, 5, 6, 7, 8, 9]
            assert seqs(await read(await bus.reader("flows", "other"), 10)) == list(range(10))

    run(claim)


def test_commits_never_go_back(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open() as bus:
            await bus.publish(envelopes(5))
            reader = await bus.reader("flows", "lake")
            messages = await read(reader, 5)
            await reader.commit({0: messages[3].offset})
            await reader.commit({0: messages[1].offset})
            await reader.close()
            assert seqs(await read(await bus.reader("flows", "lake"), 1)) == [4]

    run(claim)


def test_a_position_that_is_given_counts_whatever_was_committed(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open() as bus:
            await bus.publish(envelopes(6))
            reader = await bus.reader("flows", "lake")
            messages = await read(reader, 6)
            await reader.commit({0: messages[5].offset})
            await reader.close()
            behind = await bus.reader("flows", "lake", after={0: messages[2].offset})
            assert seqs(await read(behind, 3)) == [3, 4, 5]
            await behind.close()
            anew = await bus.reader("flows", "lake", after={})
            assert seqs(await read(anew, 6)) == [0, 1, 2, 3, 4, 5]
            await anew.close()
            assert seqs(await read(await bus.reader("flows", "lake"), 6)) == [0, 1, 2, 3, 4, 5]

    run(claim)


def test_the_lineage_of_a_stream_stays_and_is_its_own(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open() as bus:
            first = await bus.lineage("flows")
            await bus.publish([envelope(0)])
            assert await bus.lineage("metrics") != first
        async with await venue.open() as bus:
            assert await bus.lineage("flows") == first

    run(claim)


def test_lag_is_what_is_not_committed(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open() as bus:
            await bus.publish(envelopes(8))
            reader = await bus.reader("flows", "lake")
            messages = await read(reader, 8)
            assert (await reader.lag()).messages == 8
            await reader.commit({0: messages[5].offset})
            lag = await reader.lag()
            assert lag.messages == 2
            assert lag.octets is None or lag.octets > 100
            await bus.publish(envelopes(2, 8))
            assert (await reader.lag()).messages == 4

    run(claim)


def test_a_dead_letter_is_kept_with_its_cause_and_can_be_published_anew(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open() as bus:
            await bus.publish([*envelopes(3), envelope(0, "metrics")])
            reader = await bus.reader("flows", "lake")
            messages = await read(reader, 3)
            (other,) = await read(await bus.reader("metrics", "lake"), 1)
            await bus.bury(messages[1], reader="lake", cause=str(BadBatch("two\nlines")))
            await bus.bury(other, reader="lake", cause="metrics too")
            dead = await bus.dead()
            assert [(one.stream, one.envelope_id, one.cause, one.reader) for one in dead] == [
                ("flows", messages[1].envelope.id, "two lines", "lake"),
                ("metrics", other.envelope.id, "metrics too", "lake"),
            ]
            assert dead[0].payload == messages[1].envelope.payload
            assert [one.stream for one in await bus.dead(stream="metrics")] == ["metrics"]
            assert len(await bus.dead(most=1)) == 1
            assert await bus.exhume([dead[0].id, 4711]) == 1
            assert [one.envelope for one in await read(reader, 1)] == [messages[1].envelope]
            assert [one.id for one in await bus.dead()] == [dead[1].id]
            assert await bus.exhume([dead[0].id]) == 0

    run(claim)


def test_a_message_that_is_buried_once_more_after_a_crash_is_one_letter(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open() as bus:
            await bus.publish(envelopes(2))
            messages = await read(await bus.reader("flows", "lake"), 2)
            for message in (messages[0], messages[0], messages[1]):
                await bus.bury(message, reader="lake", cause="bad")
            await bus.bury(messages[0], reader="windows", cause="bad here as well")
            dead = await bus.dead()
            assert [(one.envelope_id, one.reader) for one in dead] == [
                (messages[0].envelope.id, "lake"),
                (messages[1].envelope.id, "lake"),
                (messages[0].envelope.id, "windows"),
            ]
            assert await bus.exhume([dead[0].id]) == 1
            assert [one.id for one in await bus.dead()] == [dead[1].id, dead[2].id]

    run(claim)


def test_a_letter_can_die_twice(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open() as bus:
            await bus.publish(envelopes(1))
            reader = await bus.reader("flows", "lake")
            for _ in range(2):
                (message,) = await read(reader, 1)
                await bus.bury(message, reader="lake", cause="bad")
                (dead,) = await bus.dead()
                assert await bus.exhume([dead.id]) == 1
            assert seqs(await read(reader, 1)) == [0]

    run(claim)


@pytest.mark.parametrize("venue", ["memory", "nats"], indirect=True)
def test_a_full_stream_refuses_and_forgets_nothing(venue: Venue) -> None:
    """Not of Kafka: its limits forget, so they are off, and the disk is the limit."""

    async def claim() -> None:
        async with await venue.open(stream_octets=20_000) as bus:
            held, refusal = 0, ""
            while not refusal:
                try:
                    await bus.publish([envelope(held, octets=1000)])
                    held += 1
                except Retryable as error:
                    refusal = str(error)
            assert "full" in refusal
            reader = await bus.reader("flows", "lake")
            messages = await read(reader, held)
            assert seqs(messages) == list(range(held))
            await reader.commit({0: messages[-1].offset})
            assert await bus.trim(0.0) == held
            await bus.publish([envelope(held, octets=1000)])
            assert seqs(await read(reader, 1)) == [held]

    run(claim)


def test_only_what_every_reader_has_committed_is_trimmed(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open() as bus:
            await bus.publish(envelopes(10))
            assert await bus.trim(0.0) == 0
            fast, slow = await bus.reader("flows", "fast"), await bus.reader("flows", "slow")
            messages = await read(fast, 10)
            await fast.commit({0: messages[9].offset})
            assert await bus.trim(0.0) == 0
            await slow.commit({0: messages[3].offset})
            assert await bus.trim(3600.0) == 0
            assert await bus.trim(0.0) == 4
            anew = await bus.reader("flows", "third", after={})
            assert seqs(await read(anew, 6)) == [4, 5, 6, 7, 8, 9]

    run(claim)


def test_trimming_passes_over_a_stream_that_is_empty(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open() as bus:
            reader = await bus.reader("events", "r")
            await reader.commit({0: 0})
            assert await bus.trim(0.0) == 0
            await reader.close()

    run(claim)


def test_a_reader_that_is_forgotten_holds_trimming_no_longer(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open() as bus:
            await bus.publish(envelopes(5))
            gone, there = await bus.reader("flows", "gone"), await bus.reader("flows", "there")
            await gone.close()
            messages = await read(there, 5)
            await there.commit({0: messages[4].offset})
            assert await bus.trim(0.0) == 0
            assert await bus.forget("flows", "gone")
            assert not await bus.forget("flows", "gone")
            assert await bus.trim(0.0) == 5

    run(claim)


def test_standings_tell_streams_readers_and_dead_letters(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open() as bus:
            await bus.publish([*envelopes(4), envelope(0, "metrics")])
            reader = await bus.reader("flows", "lake")
            messages = await read(reader, 4)
            await reader.commit({0: messages[0].offset})
            await bus.bury(messages[1], reader="lake", cause="bad")
            told = {one.stream: one for one in await bus.standings()}
            assert list(told) == ["flows", "metrics", "dead"]
            assert told["flows"].messages == 4
            assert [(one.name, one.messages) for one in told["flows"].readers] == [("lake", 3)]
            assert told["dead"].messages == 1

    run(claim)


@pytest.mark.parametrize("name", ["", "a.b", "a b", "x" * 65])
def test_a_reader_has_a_name_that_every_bus_takes(venue: Venue, name: str) -> None:
    async def claim() -> None:
        async with await venue.open() as bus:
            with pytest.raises(UsageError):
                await bus.reader("flows", name)

    run(claim)


def test_a_bus_that_is_away_says_so_and_goes_on_when_it_is_back(venue: Venue) -> None:
    async def claim() -> None:
        async with await venue.open(patience_s=1.0) as bus:
            await bus.publish(envelopes(2))
            reader = await bus.reader("flows", "lake")
            assert seqs(await read(reader, 2)) == [0, 1]
            venue.down()
            try:
                assert not await bus.reachable()
                with pytest.raises(Retryable):
                    await bus.publish(envelopes(1, 2))
                assert await refused(reader)
            finally:
                venue.up()
            while not await bus.reachable():
                await asyncio.sleep(0.05)
            await again(lambda: bus.publish(envelopes(3, 2)))
            await again(lambda: reader.fetch(0, 0.0))
            found = set[int]()
            while found < {2, 3, 4}:
                found |= set(seqs(await again(lambda: reader.fetch(10, 2.0))))

    run(claim)


async def refused(reader: Reader) -> bool:
    """A reader may look once or twice in vain before it knows."""
    try:
        while await reader.fetch(10, 0.5) == []:
            pass
    except Retryable:
        return True
    return False


@pytest.mark.parametrize("venue", KINDS[1:], indirect=True)
def test_what_was_acknowledged_and_committed_survives_a_killed_broker(venue: Venue) -> None:
    """Not of memory: what is there is durable as long as the process."""

    async def claim() -> None:
        async with await venue.open() as bus:
            await bus.publish(envelopes(50, octets=10_000))
            reader = await bus.reader("flows", "lake")
            messages = await read(reader, 50)
            await bus.bury(messages[0], reader="lake", cause="bad")
            await reader.commit({0: messages[19].offset})
            await bus.publish(envelopes(50, 50, octets=10_000))
            venue.down()
            venue.up()
        async with await venue.open(patience_s=20.0) as bus:
            after, found = await again(lambda: bus.reader("flows", "lake")), list[int]()
            while len(found) < 80:
                found += seqs(await again(lambda: after.fetch(64, 5.0)))
            assert found == list(range(20, 100))
            assert [one.cause for one in await again(bus.dead)] == ["bad"]

    run(claim)


@pytest.mark.parametrize("url", ["nats://127.0.0.1:1", "kafka://127.0.0.1:1"])
def test_nobody_there_is_one_line_and_may_be_tried_again(url: str) -> None:
    async def claim() -> None:
        with pytest.raises(Retryable, match=r"127\.0\.0\.1:1"):
            await open_bus(BusSettings(url=url, patience_s=1.0))

    run(claim)


@pytest.mark.parametrize("url", ["amqp://x", "localhost:4222", "nonsense"])
def test_a_url_of_no_kind_that_we_know_is_refused(url: str) -> None:
    async def claim() -> None:
        with pytest.raises(UsageError, match="use one of"):
            await open_bus(BusSettings(url=url))

    run(claim)
