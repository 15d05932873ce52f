"""A reader that waits asks a NATS server seldom, whatever it has been through: an idle pipeline costs nothing."""

import asyncio
from pathlib import Path

from loomidi.contracts.streams import Envelope
from loomidi.loom.bus import BusSettings
from loomidi.loom.bus.nats import NatsBus
from tests.integration.bus.brokers import NatsBroker

FETCHES = 10


async def asked(url: str) -> tuple[float, int]:
    """Requests a fetch that finds nothing, and how many of them wait at the server, after many short messages."""
    bus = NatsBus(BusSettings(url=url))
    await bus.connect()
    reader = await bus.reader("flows", "lake")
    for seq in range(40):
        await bus.publish([Envelope("flows", "n1", 1, seq, 1, b"x")])
        assert [one.envelope.seq for one in await reader.fetch(16, 5.0)] == [seq]
    client = await bus.connection.client()
    before = client.stats["out_msgs"]
    for _ in range(FETCHES):
        assert await reader.fetch(16, 0.1) == []
    per_fetch = (client.stats["out_msgs"] - before) / FETCHES
    jsm = await bus.connection.api()
    waiting = [one.num_waiting or 0 for one in await jsm.consumers_info("loomidi-flows")]
    await reader.close()
    await bus.close()
    return per_fetch, max(waiting)


def test_a_fetch_that_finds_nothing_asks_at_most_a_few_times_and_leaves_nothing_waiting(tmp_path: Path) -> None:
    broker = NatsBroker(tmp_path)
    broker.start()
    try:
        per_fetch, waiting = asyncio.run(asyncio.wait_for(asked(broker.url), 60))
    finally:
        broker.stop()
    assert per_fetch <= 4
    assert waiting <= 2
