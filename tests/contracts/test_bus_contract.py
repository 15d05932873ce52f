"""One suite for every bus: in memory, NATS JetStream, Apache Kafka; the latter two are real servers.

Each test has a prefix of its own on a server that all tests share. What a bus cannot do by its nature is skipped by
name, with the reason.
"""

import asyncio
import random

from loomidi.contracts.streams import Message
from tests.contracts.venues import Venue, envelope, envelopes, read, run, seqs


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
