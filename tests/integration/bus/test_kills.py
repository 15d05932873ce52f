"""Brokers and publishers killed at random moments: nothing that was acknowledged, or spooled, is lost.

The seed is printed; LOOMIDI_SEED repeats a run.
"""

import asyncio
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from loomidi.contracts.errors import Retryable
from loomidi.contracts.streams import Envelope
from loomidi.loom.bus import BusSettings, Publisher, PublisherSettings, TendedBus, open_bus
from loomidi.loom.bus.envelopes import decode
from tests.integration.bus.brokers import KafkaBroker, NatsBroker

ROUNDS = {"nats": 12, "kafka": 4}
NUMBERS = pa.schema([pa.field("a", pa.int64(), nullable=False)])


def seeded() -> random.Random:
    seed = int(os.environ.get("LOOMIDI_SEED", time.time_ns() % 10**9))
    print(f"LOOMIDI_SEED={seed}")
    return random.Random(seed)


async def again(call: Callable[[], Awaitable[Any]]) -> Any:
    while True:
        try:
            return await call()
        except Retryable:
            await asyncio.sleep(0.02)


class Load:
    """Publishes flights one after the other and remembers what was acknowledged, and what was read."""

    def __init__(self, bus: TendedBus, dice: random.Random) -> None:
        self.bus, self.dice, self.stop, self.done = bus, dice, False, False
        self.acknowledged: list[str] = []
        self.read: list[str] = []

    async def publish(self) -> None:
        seq = 0
        while not self.stop:
            flight = [
                Envelope("flows", "n1", 1, seq + more, 1, os.urandom(self.dice.randrange(1, 20_000)))
                for more in range(self.dice.randrange(1, 20))
            ]
            seq += len(flight)
            for ack in await again(lambda: self.bus.publish(flight)):  # noqa: B023
                self.acknowledged.append(ack.id)
        self.done = True

    async def consume(self) -> None:
        """Read, commit now and then, end as a reader and begin anew now and then."""
        while not (self.done and set(self.acknowledged) <= set(self.read)):
            reader = await again(lambda: self.bus.reader("flows", "lake"))
            for _ in range(self.dice.randrange(1, 30)):
                messages = await again(lambda: reader.fetch(50, 0.2))  # noqa: B023
                self.read += [one.envelope.id for one in messages]
                if messages:
                    await again(lambda: reader.commit({0: messages[-1].offset}))  # noqa: B023
            await reader.close()


@pytest.mark.parametrize("kind", ["nats", pytest.param("kafka", marks=[pytest.mark.slow, pytest.mark.required])])
def test_nothing_acknowledged_is_lost_when_the_broker_is_killed_again_and_again(kind: str, tmp_path: Path) -> None:
    dice = seeded()
    broker = KafkaBroker(tmp_path) if kind == "kafka" else NatsBroker(tmp_path)
    broker.start()

    async def claim() -> None:
        settings = BusSettings(url=broker.url, stream_octets=1 << 30, patience_s=3.0)
        async with asyncio.timeout(240), await open_bus(settings) as bus:
            load = Load(bus, dice)
            tasks = [asyncio.create_task(load.publish()), asyncio.create_task(load.consume())]
            for _ in range(ROUNDS[kind]):
                held = len(load.acknowledged)
                while len(load.acknowledged) < held + dice.randrange(1, 400):
                    await asyncio.sleep(dice.random() * 0.05)
                broker.down()
                await asyncio.to_thread(broker.start)
            load.stop = True
            await asyncio.gather(*tasks)
        lost = set(load.acknowledged) - set(load.read)
        assert lost == set()
        if (
            kind == "nats"
        ):  # a reader that began anew behind its position met nothing twice, nor did the bus hold it twice
            assert len(load.read) == len(set(load.read))
        print(f"{len(load.acknowledged)} acknowledged, {len(load.read) - len(set(load.read))} read twice")

    try:
        asyncio.run(claim())
    finally:
        broker.stop()


QUICK = PublisherSettings(linger_s=0.01, retry_s=0.05, segment_octets=200_000)


def _publish_forever(url: str, spool: str, start: int, told: Any) -> None:
    """Offers batches of growing numbers; says how far the publisher has got, on the bus or in the spool."""

    async def publish() -> None:
        bus = await again(lambda: open_bus(BusSettings(url=url, stream_octets=1 << 30, patience_s=0.5)))
        publisher, at = Publisher(bus, producer="n1", spool=Path(spool), settings=QUICK), start
        while True:
            publisher.offer("events", pa.RecordBatch.from_arrays([pa.array(range(at, at + 100))], schema=NUMBERS))
            at += 100
            await publisher.flush()
            told.send(at)

    asyncio.run(publish())


def test_nothing_flushed_is_lost_or_doubled_when_broker_and_publisher_are_killed(tmp_path: Path) -> None:
    dice, broker = seeded(), NatsBroker(tmp_path / "nats")
    broker.start()
    spawn, sure, begin, spooled = multiprocessing.get_context("spawn"), set[int](), 0, tmp_path / "spool"
    try:
        for _ in range(4):
            ours, theirs = spawn.Pipe(duplex=False)
            process = spawn.Process(target=_publish_forever, args=(broker.url, str(spooled), begin, theirs))
            process.start()
            theirs.close()
            at = ours.recv()
            broker.down()  # from here on the spool takes it
            until = at + dice.randrange(1, 30) * 100
            while at < until:
                at = ours.recv()
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
            at = max([at, *_rest(ours)])
            sure |= set(range(begin, at))
            begin = at + 100_000  # what was offered after the last flush may or may not be there
            broker.start()
        found = asyncio.run(_all(broker.url, spooled))
    finally:
        broker.stop()
    assert sure <= set(found)
    assert len(found) == len(set(found))


def _rest(pipe: Any) -> list[int]:
    told = []
    try:
        while pipe.poll():
            told.append(pipe.recv())
    except EOFError:
        pass
    return told


async def _all(url: str, spool: Path) -> list[int]:
    """Let a last publisher bring what is in the spool, then read everything."""
    async with asyncio.timeout(60), await open_bus(BusSettings(url=url, stream_octets=1 << 30)) as bus:
        async with Publisher(bus, producer="n1", spool=spool, settings=QUICK) as publisher:
            await publisher.flush()
            assert not publisher.away
        reader, found = await bus.reader("events", "lake"), list[int]()
        while messages := await reader.fetch(500, 0.5):
            found += [one for each in messages for one in decode(each.envelope, NUMBERS).column("a").to_pylist()]
        return found
