"""The ingestion API in a process of its own: bus, probes, counters, signals.

Called by `loomidi serve ingest`; `loomidi run` wires the same API among its own parts. In: settings. Out: it serves
until SIGINT or SIGTERM, answers what is in progress, publishes its last counters. Raises what a person must mend:
Conflict (port in use), Retryable (no bus at the start), UsageError (open door).
"""

import asyncio
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator

from loomidi.contracts.errors import Retryable
from loomidi.contracts.streams import Bus, Stream
from loomidi.kit import logging
from loomidi.kit.waiting import told_within
from loomidi.loom.bus import BusSettings, open_bus
from loomidi.loom.bus.envelopes import encode
from loomidi.services.http.authority import Door
from loomidi.services.ingest_api.serving import IngestApi
from loomidi.services.ingest_api.settings import IngestSettings
from loomidi.services.shared.probes import Probes
from loomidi.services.shared.supervising import Part, Supervisor

_log = logging.logger("services.ingest")
_COUNT_S = 5.0
Listening = Callable[[str, int], object]  # ingest or probes, and its port


@dataclasses.dataclass(frozen=True, slots=True)
class AloneSettings:
    """What it takes besides the API's own settings."""

    node: str
    # In ids and counters; one name for one service: two of the same name would give the same ids.
    bus: BusSettings = dataclasses.field(default_factory=BusSettings)
    # Which bus.
    ingest: IngestSettings = dataclasses.field(default_factory=IngestSettings)
    # The API.
    probes: Door | None = dataclasses.field(default_factory=lambda: Door(port=8079))
    # Health, readiness, metrics; None: nowhere.


async def run(settings: AloneSettings, listening: Listening) -> None:
    """Until a signal."""
    settings.ingest.door.check()  # before anything is started
    async with await open_bus(settings.bus) as bus:
        api = IngestApi(bus, settings.ingest, node=settings.node)
        await Supervisor(list(_parts(api, bus, settings, listening))).run_until_signal()


def _parts(api: IngestApi, bus: Bus, settings: AloneSettings, listening: Listening) -> Iterator[Part]:
    """In the order of their start; counters end after what they count."""
    probes = settings.probes
    if probes is not None:
        served = Probes(ready=api.ready, samples=api.samples)
        yield Part("probes", lambda told: served.serve(probes, told, listening=lambda port: listening("probes", port)))
    yield Part("count", lambda told: _count(api, bus, told))
    yield Part("ingest", lambda told: api.run(told, listening=lambda port: listening("ingest", port)))


async def _count(api: IngestApi, bus: Bus, told: asyncio.Event) -> None:
    """Counters onto the bus now and then, and at the end. Values grow: what does not get there is in the next ones."""
    producer, numbers = f"{api.counts.node}.ingest", itertools.count()
    while True:
        await told_within(told, _COUNT_S)
        batch = api.counters(time.time_ns())
        try:
            if batch.num_rows:
                at = {"epoch": api.counts.epoch, "seq": next(numbers), "created_ns": time.time_ns()}
                await bus.publish([encode(batch, stream=Stream.COUNTERS, producer=producer, **at)])
        except Retryable as error:
            _log.warning("counters could not be published, the next ones hold them", problem=str(error))
        if told.is_set():
            return
