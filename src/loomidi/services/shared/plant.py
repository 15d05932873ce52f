"""What the parts of the pipeline share: who we are, one connection to the bus, one lake, publishers, what each counts.

Made by `pipeline`, handed to every part. The bus is opened by the first part that asks, which starts our own server
where none is named, and is closed last. Leaves what travels to the parts.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from loomidi.loom.bus import Publisher, TendedBus, open_bus
from loomidi.loom.lake import Lake
from loomidi.services.settings.run import RunSettings
from loomidi.services.shared.counting import Count, Counter, published
from loomidi.services.shared.early_windows import EarlyWindows
from loomidi.services.shared.probes import Sample

Counted = Callable[[int], pa.RecordBatch]  # at_ns -> rows of COUNTERS
Sampled = Callable[[], Iterable[Sample]]


class Committing(Protocol):
    """What a committer of a stream tells of itself."""

    def counts(self) -> list[Count]: ...
    def samples(self) -> Iterator[Sample]: ...


class Plant:
    """Of one run of the pipeline. Use it in one event loop."""

    def __init__(self, settings: RunSettings, *, component: str = "pipeline") -> None:
        """`component`: what this process counts as; two on one machine are two."""
        self.settings, self.component = settings, component
        self.epoch = time.time_ns()
        self.lake = Lake(settings.lake)
        self.counted: dict[str, Counted] = {}  # component -> what it has counted
        self.sampled: dict[str, Sampled] = {}  # part -> its metrics
        self.ready: Callable[[], list[str]] = lambda: ["starting"]  # why the pipeline is not ready
        self.reasons: dict[str, Callable[[], list[str]]] = {}  # of a part that runs and is not as it should be
        self.committing: list[Committing] = []
        self.early = EarlyWindows()
        self.counted["committer"] = self._committed
        self.making = asyncio.Lock()  # tables are made one after another: so is the catalog that they share
        self._bus: TendedBus | None = None
        self._opening = asyncio.Lock()
        self._publishers: dict[str, Publisher] = {}

    def counter(self, component: str) -> Counter:
        """Who counts under that name."""
        return Counter(self.settings.node.name, component, self.epoch)

    def reader(self, kind: str) -> str:
        """The name of this process's durable reader of a kind: 64 letters, digits, underscores and hyphens at most."""
        return re.sub(r"[^A-Za-z0-9_-]", "_", f"{kind}-{self.component}")[:64]

    def why(self, name: str) -> list[str]:
        """Why a part that runs is not as it should be; empty: it is."""
        return self.reasons[name]() if name in self.reasons else [f"{name}: not started yet"]

    def state(self, kind: str) -> Path:
        """A folder for what must outlive this run, made when it is not there."""
        folder = self.settings.node.state.expanduser() / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    async def bus(self) -> TendedBus:
        """The connection, opened when it is first asked for. Raises Retryable while nobody answers."""
        async with self._opening:
            if self._bus is None:
                self._bus = await open_bus(self.settings.bus)
            return self._bus

    async def publisher(self, component: str) -> Publisher:
        """One for each component, with a spool of its own; its counters become part of the balance."""
        bus = await self.bus()
        if component not in self._publishers:
            counter = self.counter(component)
            spool = self.state("spool") / component
            publisher = Publisher(
                bus, producer=counter.producer, spool=spool, settings=self.settings.publisher, epoch=self.epoch
            )
            self._publishers[component] = publisher
            self.counted.setdefault(component, lambda at: counter.batch(published(publisher.counters()), at))
        return self._publishers[component]

    def _committed(self, at_ns: int) -> pa.RecordBatch:
        counts = [count for committing in self.committing for count in committing.counts()]
        return self.counter("committer").batch(counts, at_ns)

    def samples(self) -> Iterator[Sample]:
        """All metrics, now."""
        for part in (*self.sampled.values(), *(committing.samples for committing in self.committing)):
            yield from part()
        for component, publisher in self._publishers.items():
            for stream, name, unit, value in publisher.counters():
                labels = {"component": component, "stream": stream, "outcome": name, "unit": unit}
                about = "Of what was offered to the bus, by what became of it"
                yield Sample("loomidi_publisher_total", "gauge", about, value, labels)

    async def close(self) -> None:
        """Publishers first: what they still hold goes to the bus, or to their spools."""
        for publisher in self._publishers.values():
            await publisher.close()
        if self._bus is not None:
            await self._bus.close()
            self._bus = None
        self.lake.close()
