"""Windows beside the bus in one process: reads flows and metrics, publishes windows, goes on exactly after `kill -9`.

Called by `services.pipeline` and tests. In: a `Bus`, settings. Out: EDGE_WINDOWS, ENTITY_WINDOWS and LATE on the bus,
counters. Exactly once, in this order:
  1. absorb a message; 2. write the decision to close into the journal (positions, time), durable; 3. close; 4. publish;
  5. now and then snapshot the state with the positions in it, then commit these to the bus.
After a crash the snapshot is restored, the bus read again from its positions, and each decision of the journal carried
out again where it had been taken: the same envelopes with the same ids, which the bus and the lake drop.
"""

import asyncio
import contextlib
import functools
import json
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import pyarrow as pa
import structlog

from loomidi.contracts.errors import Conflict, Retryable
from loomidi.contracts.schemas import FLOW_RECORDS, METRICS
from loomidi.contracts.streams import Bus, Envelope, Message, Reader, Stream
from loomidi.kit.waiting import cancelled
from loomidi.loom.bus.envelopes import BadBatch, decode
from loomidi.loom.runners.checkpoints import Checkpoints, Decision
from loomidi.loom.runners.machines import WindowMachine
from loomidi.loom.runners.settings import RunnerSettings

STREAMS = {Stream.FLOWS: FLOW_RECORDS, Stream.METRICS: METRICS}
_FLIGHT = 64  # envelopes published together
_T = TypeVar("_T")
Naming = Callable[[pa.RecordBatch], pa.RecordBatch]
_log = structlog.get_logger(__name__)


class Early(Protocol):
    """Who wants windows before they are closed."""

    size_s: int  # of them, a pane at most
    every_s: float  # between two looks; 0: not now

    def put(self, windows: list[pa.RecordBatch], heard_ns: int) -> None:
        """Each of one window, as far as it has come, and when the newest flow in them was told."""


class LocalRunner:
    """`run` until `stop`; one for each folder."""

    def __init__(
        self, bus: Bus, settings: RunnerSettings, *, naming: Naming | None = None, early: Early | None = None
    ) -> None:
        """Raises Conflict when another runner holds the folder, InputError when its state cannot be read.

        `naming` gives flows the names of their ends. What it knows may have grown when a batch is absorbed again after
        a crash; windows that were published before keep the names that they had then, for their ids are held already.
        `early` is given windows that are open, as far as they have come.
        """
        self.settings, self._naming, self._early = settings, naming, early
        self.counters = {"messages": 0, "dead_letters": 0, "windows_published": 0, "published_again": 0, "snapshots": 0}
        self._bus, self._checkpoints = bus, Checkpoints(settings.folder)
        self._stopping = asyncio.Event()
        self._positions: dict[str, dict[int, int]] = {stream.value: {} for stream in STREAMS}
        self._lineages: dict[str, str] = {}
        self._safe = self._positions  # of the older of the two snapshots that are kept
        self._heard_ns = time.monotonic_ns()  # when anything came last; a bus that is away is not silence
        self._held: list[tuple[Stream, Message]] = []
        state, self._decided = self._checkpoints.load()
        for problem in self._checkpoints.problems:
            _log.warning("snapshot_spoiled", problem=problem)
        if state is None:
            self.machine = WindowMachine(settings.windows, epoch=time.time_ns())
            self._save()
        else:
            self._restore(state)

    def _follow(self, stream: str, lineage: str) -> None:
        """Where the bus has begun to count anew, a position says nothing: all that it holds is taken."""
        if self._lineages.get(stream, lineage) != lineage:
            _log.warning("bus_counts_anew", stream=stream)
            self._positions[stream], self._safe[stream], self._decided = {}, {}, []
        self._lineages[stream] = lineage

    def stop(self) -> None:
        """Take a last snapshot and return from `run`; open windows stay open for the next start."""
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`. Raises what is not a passing fault of the bus."""
        for stream in STREAMS:
            self._follow(stream.value, await self._patiently(functools.partial(self._bus.lineage, stream.value)))
        inbox: asyncio.Queue[tuple[Stream, list[Message]]] = asyncio.Queue(self.settings.waiting)
        readers = {stream: await self._reader(stream) for stream in STREAMS}
        feeding = [asyncio.create_task(self._feed(stream, readers[stream], inbox)) for stream in STREAMS]
        working = asyncio.create_task(self._work(inbox, readers))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([*feeding, working, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping.set()
            await cancelled(*feeding, stopping)
        try:
            await working
            for task in feeding:
                if not task.cancelled() and (error := task.exception()) is not None:
                    raise error
            await self._checkpoint(readers)
        finally:
            for reader in readers.values():
                with contextlib.suppress(Retryable):
                    await reader.close()

    def close(self) -> None:
        """Let others have the folder; call it after `run`."""
        self._checkpoints.close()

    def figures(self) -> dict[str, int]:
        """Counters of the loop and of the operators."""
        return self.counters | self.machine.figures()

    # -- reading ---------------------------------------------------------------------------------------------------

    async def _reader(self, stream: Stream) -> Reader:
        after = self._positions[stream.value]
        return await self._patiently(lambda: self._bus.reader(stream.value, self.settings.name, after=after))

    async def _feed(self, stream: Stream, reader: Reader, inbox: "asyncio.Queue[tuple[Stream, list[Message]]]") -> None:
        while not self._stopping.is_set():
            found = await self._patiently(lambda: reader.fetch(self.settings.fetch, 1.0))
            if found:
                await inbox.put((stream, found))

    async def _patiently(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Try again while the bus is away, with pauses that grow and differ. Gives up only when told to stop."""
        pause = 0.05
        while True:
            try:
                return await attempt()
            except Retryable as error:
                if self._stopping.is_set():
                    raise
                self._heard_ns = time.monotonic_ns()
                _log.warning("bus_away", error=str(error))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause * (0.5 + random.random()))
                pause = min(pause * 2, self.settings.patience_s)

    # -- working ---------------------------------------------------------------------------------------------------

    async def _work(self, inbox: "asyncio.Queue[tuple[Stream, list[Message]]]", readers: dict[Stream, Reader]) -> None:
        saved = looked = time.monotonic()
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                stream, messages = await asyncio.wait_for(inbox.get(), self._pause_s())
                await self._take(stream, messages)
            await self._close_what_is_due()
            if self._early is not None and time.monotonic() - looked >= self._early.every_s > 0:
                looked = time.monotonic()
                self._early.put(*await asyncio.to_thread(self.machine.early, self._early.size_s))
            if time.monotonic() - saved >= self.settings.checkpoint_s:
                await self._checkpoint(readers)
                saved = time.monotonic()

    def _pause_s(self) -> float:
        """How long nothing may come before it is looked around."""
        wanted = self._early.every_s / 2 if self._early is not None else 0.0
        return min(self.settings.tick_s, wanted) if wanted else self.settings.tick_s

    async def _take(self, stream: Stream, messages: Sequence[Message]) -> None:
        """Absorb them; while decisions of the journal are carried out again, each as far as it had come."""
        self._heard_ns = time.monotonic_ns()
        self._held += [(stream, message) for message in messages]
        while True:
            due = self._decided[0].positions if self._decided else None
            waiting = list[tuple[Stream, Message]]()
            for one in self._held:
                known = self._positions[one[0].value].get(one[1].partition, -1)
                if one[1].offset <= known:
                    continue
                if due is not None and one[1].offset > due[one[0].value].get(one[1].partition, -1):
                    waiting.append(one)
                else:
                    await self._absorb(*one)
            self._held = waiting
            if due is None or not self._reached(due):
                return
            await self._carry_out(self._decided.pop(0), again=True)

    def _reached(self, due: dict[str, dict[int, int]]) -> bool:
        """Whether all up to these positions was absorbed, or is no longer on the bus."""
        beyond = {(stream.value, message.partition) for stream, message in self._held}
        return all(
            self._positions[stream].get(partition, -1) >= offset or (stream, partition) in beyond
            for stream, some in due.items()
            for partition, offset in some.items()
        )

    async def _absorb(self, stream: Stream, message: Message) -> None:
        self.counters["messages"] += 1
        try:
            batch = decode(message.envelope, STREAMS[stream])
            if stream is Stream.FLOWS and self._naming is not None:
                batch = await asyncio.to_thread(self._naming, batch)
        except BadBatch as error:
            cause = str(error)
            self.counters["dead_letters"] += 1
            await self._patiently(lambda: self._bus.bury(message, reader=self.settings.name, cause=cause))
        else:
            if stream is Stream.FLOWS:
                created = message.envelope.created_ns
                heard = min(created, time.time_ns())  # a clock that is ahead closes nothing
                await asyncio.to_thread(self.machine.absorb, batch, created_ns=created, heard_ns=heard)
            else:
                await asyncio.to_thread(self.machine.absorb_metrics, batch)
        self._positions[stream.value][message.partition] = message.offset

    async def _close_what_is_due(self) -> None:
        if self._decided:
            await self._take(Stream.FLOWS, [])  # a decision whose messages are all there already
            return
        to_ns = self.machine.due(time.monotonic_ns() - self._heard_ns)
        if to_ns is not None:
            decision = Decision({stream: dict(some) for stream, some in self._positions.items()}, to_ns)
            await asyncio.to_thread(self._checkpoints.decide, decision)
            await self._carry_out(decision)

    async def _carry_out(self, decision: Decision, *, again: bool = False) -> None:
        envelopes = await asyncio.to_thread(self.machine.close, decision.to_ns)
        for begin in range(0, len(envelopes), _FLIGHT):
            await self._publish(envelopes[begin : begin + _FLIGHT])
        self.counters["published_again" if again else "windows_published"] += len(envelopes)

    async def _publish(self, envelopes: Sequence[Envelope]) -> None:
        await self._patiently(lambda: self._bus.publish(envelopes))

    # -- checkpoints -----------------------------------------------------------------------------------------------

    async def _checkpoint(self, readers: dict[Stream, Reader]) -> None:
        """Snapshot, then tell the bus what no restart will ask for again: the positions of the older snapshot."""
        if self._decided:
            return  # the journal is not carried out yet: the snapshot that it follows still holds
        older, self._safe = self._safe, {stream: dict(some) for stream, some in self._positions.items()}
        await asyncio.to_thread(self._save)
        for stream, reader in readers.items():
            if older[stream.value]:
                with contextlib.suppress(Retryable):  # only lag is told too high until the next time
                    await reader.commit(older[stream.value])

    def _save(self) -> None:
        windows = self.settings.windows
        head = {
            "positions": self._positions,
            "lineages": self._lineages,
            "base_s": windows.base_s,
            "grain": windows.grain,
        }
        self._checkpoints.save(json.dumps(head).encode() + b"\n" + self.machine.to_bytes())
        self.counters["snapshots"] += 1

    def _restore(self, state: bytes) -> None:
        line, _, rest = state.partition(b"\n")
        head, windows = json.loads(line), self.settings.windows
        if (head["base_s"], head["grain"]) != (windows.base_s, windows.grain):
            raise Conflict(
                f"the state in {self.settings.folder} is of windows by {head['grain']}, {head['base_s']} s and longer; "
                "run it with those, or move the folder away to begin anew"
            )
        self._lineages = head.get("lineages", {})
        self._positions = {
            stream: {int(partition): offset for partition, offset in some.items()}
            for stream, some in head["positions"].items()
        }
        self._safe = {stream: dict(some) for stream, some in self._positions.items()}
        self.machine = WindowMachine.from_bytes(rest, windows)
