"""Who owned which address, for the committers of this process: read from the lake, then followed on the bus.

Called by `pipeline` as a part, and by the committer of flows for each batch. In: the stream `entities`. Out: flows with
the names of their moment. The lake tells what was known before this process began. Leaves the join to `naming_flows`.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pyarrow as pa

from loomidi.contracts.schemas import ENTITIES
from loomidi.contracts.streams import Message, Reader, Stream
from loomidi.kit import logging
from loomidi.loom.bus import BadBatch
from loomidi.loom.bus.envelopes import decode
from loomidi.services.shared.naming_flows import NamingFlows
from loomidi.services.shared.plant import Plant
from loomidi.services.shared.probes import Sample

_log = logging.logger("services.naming")
_TIDY_S = 600.0
_MOST = 64


def recall(plant: Plant, learn: Callable[[pa.RecordBatch], object]) -> dict[int, int]:
    """Give what the lake knows of addresses to `learn`, batch by batch; returns how far that is on the bus."""
    lake = plant.lake
    if Stream.ENTITIES not in lake.tables():
        return {}
    position = dict(lake.marks(Stream.ENTITIES).position)
    since_ns = time.time_ns() - round(plant.settings.naming.remember_s * 1e9)
    for batch in lake.read(Stream.ENTITIES, since_ns=since_ns).to_batches():
        learn(batch)
    return position


class Names:
    """Of one process."""

    def __init__(self, plant: Plant) -> None:
        self.settings = plant.settings.naming
        self._plant, self._flows = plant, NamingFlows(plant.settings.naming)
        self._lock = threading.Lock()  # committers name in threads
        self.known = asyncio.Event()  # what was there at the start has been read
        self._tidied_s = time.monotonic()
        plant.sampled["naming"] = self.samples

    @property
    def wanted(self) -> bool:
        """Whether flows are to be named by this process."""
        return bool(self._plant.settings.sources.kubeconfig) or self.settings.always

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The flows, named. From any thread."""
        with self._lock:
            return self._flows.namer(batch)

    async def run(self, told: asyncio.Event) -> None:
        """Until told."""
        position = await asyncio.to_thread(self._recall)
        bus = await self._plant.bus()
        reader = await bus.reader(Stream.ENTITIES, self._plant.reader("naming"), after=position)
        try:
            while not told.is_set():
                await self._follow(reader)
        finally:
            await reader.close()

    async def _follow(self, reader: Reader) -> None:
        messages = await reader.fetch(_MOST, 0.2)
        await asyncio.to_thread(self._learn, messages)
        if messages:
            await reader.commit({one.partition: one.offset for one in messages})
        else:
            self.known.set()
        if time.monotonic() - self._tidied_s > _TIDY_S:
            self._tidied_s = time.monotonic()
            with self._lock:
                self._flows.tidy(time.time_ns())

    def _recall(self) -> dict[int, int]:
        """All at once: who asks for a name meanwhile waits."""
        with self._lock:
            return recall(self._plant, self._flows.learn)

    def _learn(self, messages: list[Message]) -> None:
        with self._lock:
            for message in messages:
                try:
                    self._flows.learn(decode(message.envelope, ENTITIES))
                except BadBatch as error:  # the committer of the same stream keeps it as a dead letter
                    _log.warning("entities that cannot be read", id=message.envelope.id, cause=str(error))

    def samples(self) -> Iterator[Sample]:
        """For /metrics."""
        for what, value in self._flows.counts.items():
            yield Sample(
                "loomidi_naming_total",
                "counter",
                "Rows that named flows, by what became of them",
                value,
                {"what": what},
            )
