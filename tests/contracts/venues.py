"""Where the contract of the bus is tried: buses of each kind, their servers, what is sent and read.

Called by `test_bus_*` of this folder. Each venue has a prefix of its own on a server that all tests share.
"""

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from loomidi.contracts.streams import Envelope, Message, Reader
from loomidi.loom.bus import BusSettings, TendedBus, open_bus
from loomidi.loom.bus.memory import MemoryBus
from tests.integration.bus.brokers import KafkaBroker, NatsBroker

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
