"""A stream of the bus into its table, as a part of the pipeline.

Called by `pipeline`, once for each stream. In: messages. Out: snapshots; the bus may forget what they hold. The lake
says where to go on, so a reader that was behind or ahead does no harm. What nobody can use is buried with its cause
before the position passes it. A full or absent lake makes the part pause: nothing is taken, nothing is lost. While one
snapshot is written, the messages of the next are taken: reading and writing each have a core.
"""

import asyncio
import collections
import dataclasses
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from loomidi.contracts.streams import Message, Reader
from loomidi.kit import logging
from loomidi.loom.bus import TendedBus
from loomidi.loom.lake import Committed, Committer
from loomidi.loom.lake.committing import COMMITTER
from loomidi.services.shared.counting import Count
from loomidi.services.shared.naming_part import Names
from loomidi.services.shared.plant import Plant
from loomidi.services.shared.probes import Sample

_log = logging.logger("services.committing")
_MOST = 16  # messages at once: some 2 MiB of the bus, twenty times that as columns
_MOST_HELD = 256  # that wait for names; what comes meanwhile stays on the bus
_WAIT_S = 0.2
_BURY_S = 30.0
_AGES_S = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, float("inf"))


@dataclasses.dataclass(slots=True)
class _Done:
    """Since the start."""

    rows: int = 0
    batches: int = 0
    duplicates: int = 0
    buried_rows: int = 0
    buried: int = 0
    commits: int = 0
    seconds: float = 0.0  # in commits
    ages: list[int] = dataclasses.field(default_factory=lambda: [0] * len(_AGES_S))  # rows not older when committed
    age_s: float = 0.0  # summed over rows


class Committing:
    """One stream."""

    def __init__(self, plant: Plant, stream: str, *, names: Names | None = None) -> None:
        """`names`: of flows, which then wait a moment, so that the watch can tell of a fresh pod first."""
        self.stream, self._plant, self._names = str(stream), plant, names
        self._held = collections.deque[Message]()
        self._done = _Done()
        self._lag = 0
        self._made: list[tuple[int, int]] = []  # created_ns and rows of what waits for its commit

    async def run(self, told: asyncio.Event) -> None:
        """Until told, and what is on the bus by then. Raises Retryable while bus or lake is away or full."""
        bus = await self._plant.bus()
        bury = self._burying(bus, asyncio.get_running_loop())
        async with self._plant.making:
            lineage = await bus.lineage(self.stream)
            committer = await asyncio.to_thread(self._opened, bury, lineage)
        if committer.restarted:
            _log.warning("the bus counts anew: all that it holds is taken, doubles are dropped", stream=self.stream)
        try:
            reader = await bus.reader(self.stream, COMMITTER, after=committer.position)
            try:
                await self._follow(committer, reader, told)
            finally:
                await reader.close()
        finally:
            await asyncio.to_thread(committer.close)

    def _opened(self, bury: Callable[[Message, str], None], lineage: str) -> Committer:
        return Committer(self._plant.lake, self.stream, transform=self._names, bury=bury, lineage=lineage)

    async def _follow(self, committer: Committer, reader: Reader, told: asyncio.Event) -> None:
        if self._names is not None:
            await self._names.known.wait()
        self._held.clear()
        self._made = []
        writing: asyncio.Task[None] | None = None
        try:
            while True:
                ending = told.is_set()
                fetched = await reader.fetch(_MOST, _WAIT_S) if len(self._held) < _MOST_HELD else await _pause()
                self._held.extend(fetched)
                messages = self._due(ending)
                if messages:
                    await asyncio.to_thread(committer.take, messages)
                    self._made += [(one.envelope.created_ns, one.envelope.rows) for one in messages]
                idle = ending and not messages and not fetched
                if writing is not None and (writing.done() or idle or committer.due()):
                    await writing
                    writing = None
                if committer.due() or (idle and any(dataclasses.astuple(committer.waiting))):
                    committer.seal()
                    writing = asyncio.create_task(self._commit(committer, reader, self._made))
                    self._made = []
                elif idle:
                    return
        finally:
            if writing is not None:  # its thread goes on whatever we do: the table is let go after it
                await asyncio.wait([writing])

    def _due(self, ending: bool) -> list[Message]:
        """Those that have waited long enough for names, in order."""
        hold_ns = 0 if self._names is None or ending else round(self._names.settings.hold_s * 1e9)
        before_ns, due = time.time_ns() - hold_ns, list[Message]()
        while self._held and len(due) < _MOST and self._held[0].envelope.created_ns <= before_ns:
            due.append(self._held.popleft())
        return due

    async def _commit(self, committer: Committer, reader: Reader, made: list[tuple[int, int]]) -> None:
        """What is sealed; `made`: age and rows of its messages."""
        began = time.monotonic()
        done: Committed = await asyncio.to_thread(committer.commit)
        await reader.commit(done.position)
        counts = self._done
        counts.rows += done.rows
        counts.batches += done.batches
        counts.duplicates += done.duplicates
        counts.commits += 1
        counts.seconds += time.monotonic() - began
        self._note_ages(made, time.time_ns())
        self._lag = (await reader.lag()).messages
        _log.debug("committed", stream=self.stream, rows=done.rows, batches=done.batches, lag=self._lag)

    def _note_ages(self, made: list[tuple[int, int]], now_ns: int) -> None:
        """How old each row was when a query could first see it."""
        for created_ns, rows in made:
            age_s = max((now_ns - created_ns) / 1e9, 0.0)
            self._done.age_s += age_s * rows
            for at, limit in enumerate(_AGES_S):
                self._done.ages[at] += rows if age_s <= limit else 0

    def _burying(self, bus: TendedBus, loop: asyncio.AbstractEventLoop) -> Callable[[Message, str], None]:
        """For the committer's thread: durable when it returns."""

        def bury(message: Message, cause: str) -> None:
            work: Coroutine[Any, Any, None] = bus.bury(message, reader=COMMITTER, cause=cause)
            asyncio.run_coroutine_threadsafe(work, loop).result(_BURY_S)
            self._done.buried += 1
            self._done.buried_rows += message.envelope.rows
            _log.warning("dead letter", stream=self.stream, id=message.envelope.id, cause=cause)

        return bury

    def counts(self) -> list[Count]:
        """For the loss balance."""
        done = self._done
        rows = {"committed": done.rows, "buried": done.buried_rows}
        batches = {"committed": done.batches, "duplicate": done.duplicates, "buried": done.buried}
        told = [Count("commit", self.stream, "", name, "rows", value) for name, value in rows.items()]
        return told + [Count("commit", self.stream, "", name, "batches", value) for name, value in batches.items()]

    def samples(self) -> Iterator[Sample]:
        """For /metrics."""
        labels, done = {"stream": self.stream}, self._done
        for name, value in (("committed", done.batches), ("duplicate", done.duplicates), ("buried", done.buried)):
            about = "Batches of the bus by what became of them at the lake"
            yield Sample("loomidi_lake_batches_total", "counter", about, value, labels | {"outcome": name})
        yield Sample("loomidi_lake_rows_total", "counter", "Rows committed to tables", done.rows, labels)
        yield Sample("loomidi_lake_commits_total", "counter", "Snapshots committed", done.commits, labels)
        yield Sample("loomidi_lake_commit_seconds_total", "counter", "Seconds in commits", done.seconds, labels)
        yield Sample("loomidi_bus_lag_batches", "gauge", "Batches that are not committed", self._lag, labels)
        about = "From a batch's making to the commit that shows it, in rows"
        for limit, rows in zip(_AGES_S, done.ages, strict=True):
            le = "+Inf" if limit == float("inf") else f"{limit:g}"
            yield Sample("loomidi_lake_freshness_seconds_bucket", "counter", about, rows, labels | {"le": le})
        yield Sample("loomidi_lake_freshness_seconds_sum", "counter", about, done.age_s, labels)
        yield Sample("loomidi_lake_freshness_seconds_count", "counter", about, done.ages[-1], labels)


async def _pause() -> list[Message]:
    await asyncio.sleep(_WAIT_S)
    return []
