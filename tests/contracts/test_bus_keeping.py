"""What every bus keeps and lets go: dead letters, full streams, trimming, servers that are away; one suite for all."""

import asyncio

import pytest

from loomidi.contracts.errors import Retryable, UsageError
from loomidi.contracts.streams import Reader
from loomidi.loom.bus import BusSettings, open_bus
from loomidi.loom.bus.envelopes import BadBatch
from tests.contracts.venues import KINDS, Venue, envelope, envelopes, read, run, seqs
from tests.integration.bus.brokers import again


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
