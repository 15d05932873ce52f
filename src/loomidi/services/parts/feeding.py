"""Sources other than packets, as parts of the pipeline: the Kubernetes watch, log files, Prometheus targets.

Called by `pipeline`. In: the group `sources` of the configuration. Out: one part for each source that it names; what a
source says is on the bus, durably, before its position moves. Leaves reading and parsing to `loom.sources`.
"""

import asyncio
import hashlib
import os
import time
from collections import Counter as Tally
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from loomidi.contracts.streams import Stream
from loomidi.loom.bus.envelopes import encode
from loomidi.loom.sources import audit, falco, tetragon
from loomidi.loom.sources.clusters import access
from loomidi.loom.sources.kubernetes import KubernetesWatch, WatchSettings
from loomidi.loom.sources.prometheus import Scraper, Target, target_of
from loomidi.loom.sources.tailing import Follower, Parse, Tail
from loomidi.services.shared.counting import Count
from loomidi.services.shared.plant import Plant
from loomidi.services.shared.probes import Sample
from loomidi.services.shared.supervising import Part

_KEYED = "-keyed"  # ids that outlive a run: a piece of a file is sent again under the same one
_TAILS: dict[str, Parse] = {
    "audit": audit.parse_audit_lines,
    "falco": falco.parse_falco_lines,
    "tetragon": tetragon.parse_tetragon_lines,
}


def sources(plant: Plant) -> Iterator[Part]:
    """A part for each source that is configured."""
    chosen = plant.settings.sources
    if chosen.kubeconfig:
        yield Part("sources:kubernetes", lambda told: _watch(plant, told), lambda: plant.why("kubernetes"))
    for kind in _TAILS:
        for path in getattr(chosen, kind):
            yield Part(f"sources:{kind} {path}", Tailing(plant, kind, Path(path)).run)
    if chosen.prometheus:
        targets = [target_of(text) for text in chosen.prometheus]
        yield Part("sources:prometheus", lambda told: _scrape(plant, targets, told))


async def _watch(plant: Plant, told: asyncio.Event) -> None:
    chosen = plant.settings.sources
    publisher = await plant.publisher("kubernetes")
    path = None if chosen.kubeconfig == "auto" else Path(chosen.kubeconfig).expanduser()
    state = plant.state("kubernetes") / f"{chosen.cluster or 'cluster'}.json"
    async with access(path, os.environ).client() as client:
        watch = KubernetesWatch(
            client,
            lambda stream, batch: publisher.publish(stream, [batch]),
            WatchSettings(cluster=chosen.cluster, state=state),
        )
        plant.reasons["kubernetes"] = lambda: watch.ready
        plant.sampled["kubernetes"] = lambda: _counters("kubernetes", dict(watch.counters()))
        await watch.run(told)


async def _scrape(plant: Plant, targets: list[Target], told: asyncio.Event) -> None:
    publisher = await plant.publisher("prometheus")
    scraper = Scraper(
        targets,
        lambda batch: publisher.publish(Stream.METRICS, [batch]),
        plant.settings.sources.scrape,
    )
    plant.sampled["prometheus"] = lambda: _counters("prometheus", dict(scraper.counters()))
    await scraper.run(told)


class Tailing:
    """One file, followed; its pieces have ids of their own, the same after a restart."""

    def __init__(self, plant: Plant, kind: str, path: Path) -> None:
        digest = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:8]
        self._plant, self._kind, self._path = plant, kind, path
        self.counter = plant.counter(f"{kind}.{digest}{_KEYED}")
        self._tally = Tally[str]()
        plant.counted[self.counter.component] = self._counted

    async def run(self, told: asyncio.Event) -> None:
        """Until told."""
        self._bus = await self._plant.bus()
        tail = Tail(self._path, self._plant.state("tails") / f"{self.counter.component}.json")
        follower = Follower(tail, _TAILS[self._kind], self._send)
        labels = f"{self._kind} {self._path}"
        self._plant.sampled[labels] = lambda: _counters(labels, {**tail.counts, **follower.refusals})
        await follower.run(told)

    async def _send(self, batch: pa.RecordBatch, epoch: int, seq: int) -> None:
        envelope = encode(
            batch,
            stream=Stream.EVENTS,
            producer=self.counter.producer,
            epoch=epoch,
            seq=seq,
            created_ns=time.time_ns(),
        )
        (ack,) = await self._bus.publish([envelope])
        self._tally["offered"] += batch.num_rows
        self._tally["duplicate" if ack.duplicate else "published"] += batch.num_rows

    def _counted(self, at_ns: int) -> pa.RecordBatch:
        counts = [Count("publish", Stream.EVENTS, "", name, "rows", value) for name, value in self._tally.items()]
        return self.counter.batch(counts, at_ns)


def _counters(source: str, counters: dict[str, int]) -> Iterator[Sample]:
    for name, value in counters.items():
        about = "What a source has read, refused and sent"
        yield Sample("loomidi_source_total", "counter", about, value, {"source": source, "what": name})
