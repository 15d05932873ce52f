"""What only Kafka does: transactions of others, whose marks lie between the messages."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from loomidi.contracts.streams import Envelope
from loomidi.loom.bus import BusSettings, open_bus
from loomidi.loom.bus.envelopes import to_headers
from tests.integration.bus.brokers import KafkaBroker

pytestmark = [pytest.mark.slow, pytest.mark.required]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    if os.environ.get("KAFKA"):
        yield f"kafka://{os.environ['KAFKA']}"
        return
    broker = KafkaBroker(tmp_path)
    broker.start()
    yield broker.url
    broker.stop()


def transact(url: str, topic: str, envelope: Envelope, more: dict[str, str], *, commit: bool) -> None:
    """As Flink's exactly-once sink does."""
    told = {"bootstrap.servers": url.removeprefix("kafka://"), "transactional.id": f"test-{commit}", "log_level": 0}
    producer = Producer(told)
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, envelope.payload, headers=list({**to_headers(envelope), **more}.items()))
    producer.flush(30)
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)


def test_letters_and_messages_of_transactions_are_read_and_what_was_taken_back_is_not(url: str) -> None:
    letter = {"Loomidi-Cause": "bad", "Loomidi-Reader": "flink", "Loomidi-At": "1"}

    async def claim() -> None:
        prefix = f"t{os.getpid()}"
        async with asyncio.timeout(100), await open_bus(BusSettings(url=url, prefix=prefix, patience_s=10.0)) as bus:
            assert await bus.dead() == []
            reader = await bus.reader("late", "lake")
            for seq, commit in enumerate((True, False, True)):
                one = Envelope("late", "flink", 1, seq, 1, b"x")
                await asyncio.to_thread(transact, url, f"{prefix}.dead", one, letter, commit=commit)
                await asyncio.to_thread(transact, url, f"{prefix}.late", one, {}, commit=commit)
            found = list[int]()
            while len(found) < 2:
                found += [one.envelope.seq for one in await reader.fetch(10, 5.0)]
            assert found == [0, 2]
            assert [one.envelope_id for one in await bus.dead()] == ["flink/1/0", "flink/1/2"]
            assert await bus.exhume([one.id for one in await bus.dead()]) == 2
            assert await bus.dead() == []

    asyncio.run(claim())
