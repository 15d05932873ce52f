"""The reference: what is usual here, learned from the pipeline's windows, kept in the state folder, renewed with time.

Called by `standing_alone` as parts, and by `handling`, which asks for it. In: the table `edge_windows`; where the lake
has none, the stream of that name. Out: a `Reference`, or why there is none yet. What is asked about over HTTP is never
learned.
"""

import asyncio
import collections
import time
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts import InputError, LoomidiError, UsageError
from loomidi.contracts.schemas import EDGE_WINDOWS
from loomidi.contracts.streams import Message, Stream
from loomidi.kit import logging
from loomidi.kit.clock import Clock, SystemClock
from loomidi.kit.waiting import told_within
from loomidi.loom.bus import BadBatch, open_bus
from loomidi.loom.bus.envelopes import decode
from loomidi.loom.lake import Lake
from loomidi.origami.scoring.references import Reference
from loomidi.services.transformer_api.settings import TransformerSettings

FILE_NAME = "reference.npz"  # in the state folder
READER = "transformer-learn"  # on the bus
_MOST, _POLL_S = 64, 1.0
_DAY_NS = 86_400 * 10**9
_LOOK_S = 30.0  # between two looks whether the lake holds enough
_log = logging.logger("services.transformer")


class Learning:
    """One service's."""

    def __init__(self, settings: TransformerSettings, lake: Lake, clock: Clock | None = None) -> None:
        """Takes what is in the state folder. Raises InputError for a file that is damaged."""
        self.counts: Counter[str] = Counter()
        self.reference: Reference | None = None
        self.why = "the lake was not looked at yet"
        self._settings, self._lake, self._clock = settings, lake, clock or SystemClock()
        self._collected: collections.deque[pa.RecordBatch] = collections.deque()  # of the bus, the newest last
        self._rows = 0
        self._path = settings.state / FILE_NAME
        if self._path.is_file():
            self.reference = Reference.load(self._path)

    async def run(self, told: asyncio.Event) -> None:
        """Until told."""
        pause_s = 0.0
        while not await told_within(told, pause_s):
            if self.due():
                await asyncio.to_thread(self.look)
            pause_s = _LOOK_S

    async def collect(self, told: asyncio.Event) -> None:
        """Keep the windows of a bus in memory, bounded: all that it still has, then what comes. Raises what it does."""
        bus = await open_bus(self._settings.bus)
        try:
            reader = await bus.reader(Stream.EDGE_WINDOWS, READER, after={})
            while not told.is_set():
                for message in await reader.fetch(_MOST, _POLL_S):
                    self.take(message)
            await reader.close()
        finally:
            await bus.close()

    def take(self, message: Message) -> None:
        """One batch of the bus; the oldest goes where there are too many rows."""
        try:
            batch = decode(message.envelope, EDGE_WINDOWS)
        except BadBatch:  # the committer of the same stream keeps it as a dead letter
            self.counts["unreadable batches"] += 1
            return
        self._collected.append(batch)
        self._rows += batch.num_rows
        while self._rows > self._settings.learn_rows:
            self._rows -= self._collected.popleft().num_rows

    def due(self) -> bool:
        """Whether there is none, or one that is old."""
        if self.reference is None:
            return True
        age_s = time.time() - self._path.stat().st_mtime if self._path.is_file() else float("inf")
        return 0 < self._settings.learn_again_s < age_s

    def look(self) -> None:
        """Learn, if the lake holds enough; what was learned before stays otherwise."""
        try:
            made = Reference()
            made.fit(self._windows())
            made.save(self._path)
        except (UsageError, InputError) as error:
            self.why = str(error)
            self.counts["too few"] += 1
        except LoomidiError as error:
            self.why = str(error)
            self.counts["failed"] += 1
            _log.warning("the reference could not be learned", problem=str(error))
        else:
            self.reference, self.why = made, ""
            self.counts["learned"] += 1
            _log.info("the reference is learned", **made.facts)

    def _windows(self) -> pa.RecordBatch:
        """The newest windows of the wanted size. Raises InputError where there are none."""
        since_ns = self._clock.now_ns() - round(self._settings.learn_days * _DAY_NS)
        if Stream.EDGE_WINDOWS in self._lake.tables():
            rows = self._lake.read(Stream.EDGE_WINDOWS, since_ns=since_ns)
        else:
            rows = pa.Table.from_batches(list(self._collected), EDGE_WINDOWS)
        ours = pc.and_(pc.equal(rows["window_size_s"], self._settings.window_s), rows["window_aligned"])
        rows = rows.filter(ours).sort_by("window_end")
        if not rows.num_rows:
            raise InputError(f"lake and bus hold no windows of {self._settings.window_s} s yet")
        kept = rows.slice(max(rows.num_rows - self._settings.learn_rows, 0))
        return kept.combine_chunks().to_batches()[0]
