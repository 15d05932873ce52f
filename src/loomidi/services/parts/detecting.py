"""The live detectors beside the bus, as a part of the pipeline: flows in, findings out, with names.

Called by `answering`. In: the streams `flows` and `entities`. Out: rows of `findings` on the bus, and where a cluster
is named each finding to `folding`. It is `Watch`, asked of the bus instead of links: what it finds is the same. Open
findings live in memory: after a restart they are found anew.
"""

import asyncio
import queue
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts.schemas import ENTITIES, FLOW_RECORDS, FLOWS
from loomidi.contracts.streams import Message, Reader, Stream
from loomidi.garden.graph.naming import AddressBook
from loomidi.kit import logging
from loomidi.loom.bus import BadBatch
from loomidi.loom.bus.envelopes import decode
from loomidi.loom.flows.links import LinkId
from loomidi.services.shared.findings import finding_row
from loomidi.services.shared.naming_part import recall
from loomidi.services.shared.plant import Plant
from loomidi.services.shared.probes import Sample
from loomidi.services.sightings import OVER, Sighting, Trouble
from loomidi.services.watching import SLACK_S, Watch, WatchSettings

_log = logging.logger("services.detecting")
COMPONENT = "detect"
_MOST = 64  # messages fetched at once
_WAITING = 64  # batches between the bus and the detectors: when they are behind, the bus keeps the rest
_POLL_S = 0.2
Answer = Callable[[Sighting], None]


class BusFlows:
    """What `Watch` asks of links, answered by the bus. The address book is learned on the watch's own thread."""

    def __init__(self, book: AddressBook) -> None:
        self.book, self.ended = book, False
        self.counts: Counter[str] = Counter()
        self._flows: queue.Queue[pa.RecordBatch] = queue.Queue(_WAITING)
        self._names: queue.Queue[pa.RecordBatch] = queue.Queue()

    def put(self, batch: pa.RecordBatch) -> None:
        """Flows; waits while the detectors are behind."""
        while not self.ended:
            try:
                self._flows.put(batch, timeout=_POLL_S)
            except queue.Full:
                continue
            return

    def learn(self, batch: pa.RecordBatch) -> None:
        """Who owned which address."""
        self._names.put(batch)

    def take(self, timeout_s: float = 0.0) -> list[tuple[LinkId, pa.RecordBatch]]:
        """What has come, by the link that told it."""
        try:
            batches = [self._flows.get(timeout=timeout_s or None)]
        except queue.Empty:
            batches = []
        while not self._flows.empty():
            batches.append(self._flows.get_nowait())
        while not self._names.empty():
            self.counts["entities"] += self.book.learn(self._names.get_nowait())
        self.counts["flows"] += sum(batch.num_rows for batch in batches)
        return [pair for batch in batches for pair in _by_link(batch)]

    @property
    def links(self) -> tuple[LinkId, ...]:
        """The bus."""
        return (LinkId("", "bus", 0),)

    @property
    def problems(self) -> tuple[str, ...]:
        """None of its own."""
        return ()

    def balance(self) -> dict[LinkId, dict[str, int]]:
        """The agents tell it."""
        return {}

    def figures(self) -> dict[LinkId, dict[str, int]]:
        """The agents tell them."""
        return {}

    def stop(self) -> None:
        """Nothing more is given."""
        self.ended = True

    def close(self) -> None:
        """Nothing is held."""


class Detecting:
    """One pipeline's."""

    def __init__(self, plant: Plant, watch: WatchSettings, answer: Answer | None = None) -> None:
        """`answer`: called on a thread with every sighting that is not over."""
        self._plant, self._watch, self._answer = plant, watch, answer
        self.counts: Counter[str] = Counter()
        plant.sampled[COMPONENT] = self.samples

    async def run(self, told: asyncio.Event) -> None:
        """Until told."""
        source = BusFlows(AddressBook(slack_s=SLACK_S))
        known = await asyncio.to_thread(recall, self._plant, source.learn)
        bus, publisher = await self._plant.bus(), await self._plant.publisher(COMPONENT)
        flows = await bus.reader(Stream.FLOWS, self._plant.reader(COMPONENT))
        names = await bus.reader(Stream.ENTITIES, self._plant.reader(COMPONENT), after=known)
        judging = asyncio.create_task(asyncio.to_thread(self._judge, source, publisher.offer))
        try:
            while not told.is_set() and not judging.done():
                await self._read(names, source.learn, ENTITIES)
                await self._read(flows, source.put, FLOW_RECORDS)
        finally:
            source.stop()
            await judging
            await flows.close()
            await names.close()

    async def _read(self, reader: Reader, take: Callable[[pa.RecordBatch], None], schema: pa.Schema) -> None:
        messages: Sequence[Message] = await reader.fetch(_MOST, _POLL_S)
        for message in messages:
            try:
                await asyncio.to_thread(take, decode(message.envelope, schema))
            except BadBatch:  # the committer of the same stream keeps it as a dead letter
                self.counts["unreadable_batches"] += 1
        if messages:
            await reader.commit({one.partition: one.offset for one in messages})

    def _judge(self, source: BusFlows, offer: Callable[[str, pa.RecordBatch], None]) -> None:
        """On a thread of its own."""
        with Watch((), self._watch, book=source.book, source=source) as watch:
            for event in watch:
                if isinstance(event, Trouble):
                    _log.warning("the detectors met a problem", problem=event.message)
                if isinstance(event, Sighting):
                    self._tell(event, offer)

    def _tell(self, seen: Sighting, offer: Callable[[str, pa.RecordBatch], None]) -> None:
        finding = seen.named.finding
        self.counts[seen.state] += 1
        offer(Stream.FINDINGS, finding_row(finding, seen.state, seen.folds, seen.at_ns))
        if self._answer is not None and seen.state != OVER:
            self._answer(seen)

    def samples(self) -> Iterator[Sample]:
        """For /metrics."""
        for what, value in sorted(self.counts.items()):
            about = "Findings in flows, by the state in which they were told"
            yield Sample("loomidi_detect_total", "counter", about, value, {"what": what})


def _by_link(batch: pa.RecordBatch) -> Iterator[tuple[LinkId, pa.RecordBatch]]:
    links = pc.binary_join_element_wise(batch.column("exporter"), batch.column("link"), "\n")
    flows = pa.RecordBatch.from_arrays(batch.columns[: len(FLOWS)], schema=FLOWS)
    for link in pc.unique(links).to_pylist():
        exporter, _, name = link.partition("\n")
        yield LinkId(exporter, name, 0), flows.filter(pc.equal(links, link))
