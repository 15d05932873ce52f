"""Who offers is never held up; every row that was offered is found where the counters say."""

import asyncio
import collections
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from loomidi.contracts.errors import Retryable, UsageError
from loomidi.contracts.schemas import FLOW_RECORDS
from loomidi.contracts.streams import Ack, Envelope
from loomidi.loom.bus import BusSettings, Publisher, PublisherSettings
from loomidi.loom.bus.envelopes import decode
from loomidi.loom.bus.memory import MemoryBus
from tests.unit.loom.bus.test_thinning import flows

QUICK = PublisherSettings(linger_s=0.01, retry_s=0.01, patience_s=0.05)
NUMBERS = pa.schema([pa.field("a", pa.int64(), nullable=False)])


def numbers(start: int, rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(range(start, start + rows), pa.int64())], schema=NUMBERS)


def run(claim: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(30):
            await claim()

    asyncio.run(in_time())


async def held(bus: MemoryBus, stream: str = "events") -> list[Envelope]:
    reader = await bus.reader(stream, "test", after={})
    return [message.envelope for message in await reader.fetch(10_000, 0.0)]


async def values(bus: MemoryBus) -> list[int]:
    return [one for envelope in await held(bus) for one in decode(envelope, NUMBERS).column("a").to_pylist()]


def rows(publisher: Publisher, stream: str = "events") -> dict[str, int]:
    return {name: value for of, name, unit, value in publisher.counters() if of == stream and unit == "rows"}


def adds_up(counted: dict[str, int]) -> bool:
    gone = {name: value for name, value in counted.items() if name.startswith("dropped_")}
    named = sum(counted.get(name, 0) for name in ("published", "spilled", "sampled_out", "waiting"))
    return counted["offered"] == named + sum(gone.values())


def test_small_batches_travel_together_and_in_order() -> None:
    async def claim() -> None:
        bus = MemoryBus()
        async with Publisher(bus, producer="n1", settings=QUICK) as publisher:
            for start in range(0, 1000, 10):
                publisher.offer("events", numbers(start, 10))
            await publisher.flush()
            assert await values(bus) == list(range(1000))
            assert len(await held(bus)) < 20
            assert rows(publisher) == {"offered": 1000, "published": 1000, "waiting": 0}

    run(claim)


def test_large_batches_are_cut_to_what_brokers_like() -> None:
    async def claim() -> None:
        bus = MemoryBus()
        given = pa.RecordBatch.from_arrays([pa.array([str(one) * 40 for one in range(60_000)])], names=["a"])
        async with Publisher(bus, producer="n1", settings=QUICK) as publisher:
            for at in range(0, 60_000, 20_000):
                publisher.offer("events", given.slice(at, 20_000))
                await publisher.flush()
        sizes = [len(one.payload) for one in await held(bus)]
        assert max(sizes) < 300 << 10
        assert [one.seq for one in await held(bus)] == list(range(len(sizes)))

    run(claim)


def test_offers_come_from_any_thread() -> None:
    async def claim() -> None:
        bus = MemoryBus()
        async with Publisher(bus, producer="n1", settings=QUICK) as publisher:
            offers = [threading.Thread(target=publisher.offer, args=("events", numbers(at, 5))) for at in range(8)]
            for one in offers:
                one.start()
            await asyncio.to_thread(lambda: [one.join() for one in offers])
            await publisher.flush()
            assert rows(publisher)["published"] == 40

    run(claim)


def test_what_is_published_is_acknowledged_or_said_to_be_retried() -> None:
    async def claim() -> None:
        bus = MemoryBus()
        async with Publisher(bus, producer="n1", settings=QUICK) as publisher:
            acks = await publisher.publish("events", [numbers(0, 3), numbers(3, 3)])
            assert acks == [Ack(f"n1/{publisher.epoch}/0", duplicate=False)]
            bus.away = True
            with pytest.raises(Retryable):
                await publisher.publish("events", [numbers(0, 3)])
            assert rows(publisher) == {"offered": 6, "published": 6, "unacknowledged": 3, "waiting": 0}

    run(claim)


def test_pressure_lowers_detail_then_samples_then_drops_and_counts_each() -> None:
    async def claim() -> None:
        bus = MemoryBus()
        bus.away = True
        small = PublisherSettings(queue_octets=400_000, linger_s=60, retry_s=0.01)
        publisher = Publisher(bus, producer="n1", settings=small)
        given = flows(40)
        for _ in range(400):
            publisher.offer("flows", given)
        counted = rows(publisher, "flows")
        assert all(counted[name] > 0 for name in ("lowered", "sampled_out", "dropped_queue_full"))
        assert adds_up(counted)
        bus.away = False
        await publisher.close()
        intervals = collections.Counter[int]()
        for one in await held(bus, "flows"):
            batch = decode(one, FLOW_RECORDS)
            assert set(batch.column("sampling_interval").to_pylist()) == {one.sampling_interval}
            intervals[one.sampling_interval] += batch.num_rows
        assert intervals[1] > 0
        assert len(intervals) > 1
        assert sum(intervals.values()) == rows(publisher, "flows")["published"]
        assert adds_up(rows(publisher, "flows"))

    run(claim)


def test_what_is_no_flow_is_never_thinned() -> None:
    async def claim() -> None:
        bus = MemoryBus()
        small = PublisherSettings(queue_octets=10_000, linger_s=60)
        publisher = Publisher(bus, producer="n1", settings=small)
        for at in range(50):
            publisher.offer("events", numbers(at * 100, 100))
        await publisher.close()
        counted = rows(publisher)
        assert counted["dropped_queue_full"] > 0
        assert set(counted) == {"offered", "published", "dropped_queue_full", "waiting"}
        assert adds_up(counted)

    run(claim)


def test_while_the_bus_is_away_the_spool_takes_it_and_gives_it_back_in_order(tmp_path: Path) -> None:
    async def claim() -> None:
        bus = MemoryBus()
        bus.away = True
        async with Publisher(bus, producer="n1", spool=tmp_path, settings=QUICK) as publisher:
            for at in range(0, 500, 100):
                publisher.offer("events", numbers(at, 100))
                await publisher.flush()
            assert rows(publisher) == {"offered": 500, "spilled": 500, "spool": 500, "waiting": 0}
            bus.away = False
            publisher.offer("events", numbers(500, 100))
            while rows(publisher)["spool"] or rows(publisher)["waiting"]:
                await asyncio.sleep(0.01)
            assert await values(bus) == list(range(600))
            counted = rows(publisher)
            assert counted["recovered"] == counted["spilled"]
            assert adds_up(counted)

    run(claim)


def test_what_was_spooled_is_published_by_the_next_start_under_its_old_ids(tmp_path: Path) -> None:
    async def claim() -> None:
        bus = MemoryBus()
        bus.away = True
        first = Publisher(bus, producer="n1", spool=tmp_path, settings=QUICK, epoch=1)
        first.offer("events", numbers(0, 100))
        await first.close()
        bus.away = False
        async with Publisher(bus, producer="n1", spool=tmp_path, settings=QUICK, epoch=2) as second:
            await second.flush()
            assert [one.id for one in await held(bus)] == ["n1/1/0"]
            assert rows(second) == {"found": 100, "recovered": 100, "spool": 0, "waiting": 0}

    run(claim)


def test_a_full_spool_drops_and_says_so(tmp_path: Path) -> None:
    async def claim() -> None:
        bus = MemoryBus()
        bus.away = True
        tight = PublisherSettings(linger_s=0.01, retry_s=0.01, spool_octets=2_000)
        async with Publisher(bus, producer="n1", spool=tmp_path, settings=tight) as publisher:
            for at in range(0, 500, 100):
                publisher.offer("events", numbers(at, 100))
                await publisher.flush()
            counted = rows(publisher)
            assert counted["spilled"] > 0
            assert counted["dropped_spool_full"] > 0
            assert adds_up(counted)

    run(claim)


def test_without_a_spool_it_waits_for_the_bus_and_loses_nothing() -> None:
    async def claim() -> None:
        bus = MemoryBus()
        bus.away = True
        async with Publisher(bus, producer="n1", settings=QUICK) as publisher:
            publisher.offer("events", numbers(0, 100))
            while not publisher.away:
                await asyncio.sleep(0.01)
            bus.away = False
            await publisher.flush()
            assert await values(bus) == list(range(100))

    run(claim)


class Picky(MemoryBus):
    """Never takes the second envelope of any producer."""

    async def publish(self, envelopes: Sequence[Envelope]) -> list[Ack]:
        if any(one.seq == 1 for one in envelopes):
            raise UsageError("too large")
        return await super().publish(envelopes)


def test_one_envelope_that_is_refused_does_not_cost_the_others() -> None:
    async def claim() -> None:
        bus = Picky(BusSettings(url="memory://"))
        bus.away = True
        publisher = Publisher(bus, producer="n1", settings=QUICK)
        for at in range(3):
            publisher.offer("events", numbers(at, 1))
            while len(publisher._outbox) <= at:
                await asyncio.sleep(0.01)
        bus.away = False
        await publisher.close()
        assert await values(bus) == [0, 2]
        assert rows(publisher) == {"offered": 3, "published": 2, "dropped_refused": 1, "waiting": 0}

    run(claim)
