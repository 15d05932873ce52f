"""Findings of the bus told to others, as a part of the pipeline: bus -> queue on disk -> a worker for each sink.

Called by `pipeline`. In: the stream `findings`, the group `events`. Out: letters at the sinks that are on. A batch is
committed on the bus when its letters are on the disk, so a crash tells again and loses nothing, and a sink that is slow
or away holds up neither the bus nor another sink. Sending is left to `posting`.
"""

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

from loomidi.contracts import Conflict
from loomidi.contracts.schemas import FINDINGS
from loomidi.contracts.streams import Message, Stream
from loomidi.ionic.holding import hold
from loomidi.kit import logging
from loomidi.loom.bus import BadBatch
from loomidi.loom.bus.envelopes import decode
from loomidi.services.events.choosing import Chosen, chosen
from loomidi.services.events.outbox import FILE_NAME, Outbox
from loomidi.services.events.posting import Posting
from loomidi.services.events.rendering import Telling, about, letter, rows
from loomidi.services.shared.plant import Plant
from loomidi.services.shared.probes import Sample

COMPONENT = "events"
_MOST, _POLL_S = 64, 0.5
_ENDING_S = 12.0  # for workers to end: longer than a request may take
_log = logging.logger("services.events")


class EventsHeld(Conflict):
    """Another process sends from this queue."""


class Events:
    """One pipeline's."""

    def __init__(self, plant: Plant) -> None:
        self._plant, self._settings = plant, plant.settings.events.checked()
        self._about = about(plant.settings.node.name)
        self.counts: Counter[str] = Counter()
        self._outbox: Outbox | None = None
        self._postings: list[Posting] = []
        plant.sampled[COMPONENT] = self.samples

    @property
    def path(self) -> Path:
        """Of the queue."""
        return self._plant.state(COMPONENT) / FILE_NAME

    async def run(self, told: asyncio.Event) -> None:
        """Until told. Raises what a sink's settings are wrong in, Conflict when another process sends from here."""
        lock = hold(self.path, "events", EventsHeld)
        try:
            sinks = await asyncio.to_thread(chosen, self._settings, self._plant.settings.node.name)
            outbox = self._outbox = Outbox(
                self.path, most_waiting=self._settings.most_waiting, most_dead=self._settings.most_dead
            )
            await self._send_while(self._follow(outbox, sinks, told), outbox, sinks)
        finally:
            os.close(lock)

    async def _send_while(self, following: Coroutine[Any, Any, None], outbox: Outbox, sinks: Sequence[Chosen]) -> None:
        """The workers run while the bus is followed."""
        stop = threading.Event()
        self._postings = [Posting(outbox, one.sink, self._settings) for one in sinks]
        threads = [
            threading.Thread(target=one.run, args=(stop,), name=f"loomidi-events-{one.sink.name}", daemon=True)
            for one in self._postings
        ]
        for thread in threads:
            thread.start()
        try:
            await following
        finally:
            stop.set()
            for one in self._postings:
                one.wake()
            await asyncio.to_thread(_joined, threads)
            self._outbox = None
            outbox.close()

    async def _follow(self, outbox: Outbox, sinks: Sequence[Chosen], told: asyncio.Event) -> None:
        bus = await self._plant.bus()
        reader = await bus.reader(Stream.FINDINGS, self._plant.reader(COMPONENT))
        try:
            while not told.is_set():
                messages: Sequence[Message] = await reader.fetch(_MOST, _POLL_S)
                if messages:
                    await asyncio.to_thread(self._queue, outbox, sinks, messages)
                    await reader.commit({one.partition: one.offset for one in messages})
        finally:
            await reader.close()

    def _queue(self, outbox: Outbox, sinks: Sequence[Chosen], messages: Sequence[Message]) -> None:
        """On the disk when it returns."""
        found = [one for message in messages for one in self._read(message)]
        for to, posting in zip(sinks, self._postings, strict=True):
            made = [letter(one, to.format, self._about) for one in found]
            outbox.offer(to.sink.name, [one for one in made if one is not None])
            posting.wake()

    def _read(self, message: Message) -> Iterator[Telling]:
        try:
            batch = decode(message.envelope, FINDINGS)
        except BadBatch:  # the committer of the same stream keeps it as a dead letter
            self.counts["unreadable_batches"] += 1
            return
        for one in rows(batch):
            if isinstance(one, Telling):
                self.counts["findings"] += 1
                yield one
            else:
                self.counts["unreadable_findings"] += 1
                _log.warning("a finding cannot be told to others", cause=one)

    def samples(self) -> Iterator[Sample]:
        """For /metrics."""
        for what, value in sorted(self.counts.items()):
            yield Sample(
                "loomidi_events_read_total", "counter", "Findings taken from the bus to be told", value, {"what": what}
            )
        outbox = self._outbox
        if outbox is None:
            return
        for (sink, what, reason), value in outbox.counts().items():
            labels = {"sink": sink, "what": what, "reason": reason}
            yield Sample("loomidi_events_total", "counter", "Events by what became of them, since ever", value, labels)
        for sink, (waiting, oldest_ns, dead) in outbox.standing().items():
            labels = {"sink": sink}
            oldest_s = (time.time_ns() - oldest_ns) / 1e9 if oldest_ns else 0.0
            yield Sample("loomidi_events_waiting", "gauge", "Events in the queue of a sink", waiting, labels)
            yield Sample("loomidi_events_dead", "gauge", "Dead letters of a sink", dead, labels)
            yield Sample(
                "loomidi_events_oldest_seconds", "gauge", "Age of the oldest event that waits", oldest_s, labels
            )
        for one in self._postings:
            about_it = "1: the sink takes what it is sent"
            yield Sample("loomidi_events_sink_up", "gauge", about_it, int(not one.problem), {"sink": one.sink.name})


def _joined(threads: Sequence[threading.Thread]) -> None:
    until = time.monotonic() + _ENDING_S
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
        if thread.is_alive():
            _log.warning("a sink did not end in time; what it has under way is sent again", worker=thread.name)
