"""The node agent: flows of this node's links to the bus, and the counts that prove that none is missing.

Called by `loomidi serve agent` and `pipeline`. In: a publisher, settings. Out: batches of `FLOW_RECORDS` and, with each
of them, rows of `COUNTERS`. One round, by number:

    1 take the flows that have ended       3 keep the counts, so that a successor can close our books
    2 offer them to the publisher          4 tell them: every packet of every link is somewhere

A publisher never holds the agent up. Ended by `ending`: the last flows are drained, published and counted. Leaves
capture to `loom.sources`, back-pressure and the spool to the publisher, names to `naming_flows`.
"""

import asyncio
import dataclasses
import fcntl
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

import pyarrow as pa

from loomidi.contracts.errors import Conflict
from loomidi.contracts.streams import Stream
from loomidi.kit import logging
from loomidi.kit.waiting import told_within
from loomidi.loom.flows.recording import as_records
from loomidi.loom.sources.capturing import Capture, Taken, Tally, joined
from loomidi.services.agents.books import Books, closed, closing, counts_of, keep, kept
from loomidi.services.settings.agent import AgentSettings
from loomidi.services.shared.counting import Count, Counter, published
from loomidi.services.shared.probes import Sample

COMPONENT = "agent"
Opened = Callable[[frozenset[str]], Capture]
"""Opens the capture; is told the identities of shields that a former run has counted."""

_log = logging.logger("services.agent")
Result = TypeVar("Result")


class Publishing(Protocol):
    """What is asked of `loom.bus.Publisher`."""

    epoch: int
    away: bool

    def offer(self, stream: str, batch: pa.RecordBatch) -> None:
        """Never blocks."""

    def counters(self) -> list[tuple[str, str, str, int]]:
        """Stream, name, unit, value."""

    async def flush(self) -> None:
        """All that was offered is on the bus or in the spool."""


class Agent:
    """One per node and state folder."""

    def __init__(
        self, publisher: Publishing, opened: Opened, node: str, state: Path, settings: AgentSettings | None = None
    ) -> None:
        """`state`: folder for what the next run must know. Raises Conflict when another agent has it."""
        self.settings = settings or AgentSettings()
        self.counter = Counter(node, COMPONENT, publisher.epoch)
        self._publisher, self._opened = publisher, opened
        self._capture: Capture | None = None
        state.mkdir(parents=True, exist_ok=True)
        self._books, self._lock = state / "agent.json", _locked(state / "agent.lock")
        self._tallies: dict[str, Tally] = {}
        self._told: dict[str, Tally] = {}
        self._before: dict[str, Tally] = {}  # of an agent of this same run that failed and is tried again
        self._gone: list[Count] = []  # what had become of the flows when it was told last
        self._round_took_s = 0.0
        self._rounds = self._counted_ns = 0

    async def run(self, ending: asyncio.Event) -> None:
        """Until `ending`. Raises EnvironmentLacks, InputError or UsageError when nothing can be captured."""
        # One thread for everything that touches the capture: it enters network namespaces.
        with ThreadPoolExecutor(1, "loomidi-agent") as thread:
            aside = functools.partial(_aside, thread)
            former = kept(self._books)
            known = former.known if former else frozenset[str]()
            self._capture = capture = await aside(lambda: self._opened(known))
            try:
                if self._close_former(former, capture):
                    await self._publisher.flush()  # before our own books take the place of those
                while not await told_within(ending, self.settings.drain_s):
                    await self._round(aside, capture.take)
                await self._round(aside, capture.finish, last=True)
                await self._publisher.flush()
                self._offer_counts(self._counts())  # what became of the last flows
                await self._publisher.flush()
                await asyncio.to_thread(keep, self._books, self._now(ended=True))
            finally:
                await aside(capture.close)
                self._lock.close()

    def ready(self) -> list[str]:
        """Why the agent is not as it should be, one line each; empty: it is."""
        if self._capture is None:
            return ["agent: the capture is not open yet"]
        named = any(set("*?[").isdisjoint(link) for link in self.settings.links)  # a node without pods fits no glob
        reasons = ["agent: no link fits; `ip link` lists them"] if named and not self._tallies else []
        if self._publisher.away:
            reasons.append("agent: the bus is away; flows go to the spool")
        return reasons

    @property
    def waits(self) -> bool:
        """Whether no link is captured yet."""
        return not self._tallies

    def describe(self) -> str:
        """One line for a person: the rung and how many links."""
        rungs = sorted({tally.rung for tally in self._tallies.values()}) or [
            self._capture.rung if self._capture else ""
        ]
        return f"{len(self._tallies)} links by {', '.join(rungs)}"

    def problems(self) -> Sequence[str]:
        """What could not be captured."""
        return self._capture.problems if self._capture else ()

    def samples(self) -> Iterator[Sample]:
        """For /metrics."""
        for link, tally in self._tallies.items():
            for count in counts_of(link, tally):
                labels = {"link": link, "rung": tally.rung, "stage": count.stage, "name": count.name}
                about = f"{count.unit.capitalize()} of each link by what became of them (docs/agent.md)"
                kind = "gauge" if count.name == "open" else "counter"
                yield Sample(f"loomidi_agent_{count.unit}", kind, about, count.value, labels)
        yield Sample("loomidi_agent_rounds_total", "counter", "Drains so far", self._rounds)
        yield Sample("loomidi_agent_round_seconds", "gauge", "How long the last drain took", self._round_took_s)

    # -- one round ---------------------------------------------------------------------------------------------------

    async def _round(self, aside: Any, take: Callable[[], list[Taken]], *, last: bool = False) -> None:
        began = time.monotonic()
        taken, tallies = await aside(lambda: _taken(take, self._capture))  # 1
        for link, flows in taken:
            if flows.num_rows:
                record = as_records(flows, exporter=self.counter.node, link=link)
                self._publisher.offer(Stream.FLOWS, record)  # 2
        self._tallies = self._before | {link: joined(self._before.get(link), one) for link, one in tallies.items()}
        counts = self._counts(everything=last)
        await asyncio.to_thread(keep, self._books, self._now(ended=False))  # 3
        self._offer_counts(counts)  # 4
        self._rounds += 1
        self._round_took_s = time.monotonic() - began

    def _now(self, *, ended: bool) -> Books:
        gone = tuple(self._gone)
        return Books(self.counter.node, self.counter.epoch, ended, self._tallies, gone, self._counted_ns)

    def _counts(self, *, everything: bool = False) -> list[Count]:
        """Of each link that has counted something since it was last told, all of one moment."""
        before, self._told = {} if everything else self._told, self._tallies
        told = [
            count
            for link, tally in self._tallies.items()
            if before.get(link) != tally
            for count in counts_of(link, tally)
        ]
        gone = [count for count in published(self._publisher.counters()) if count.stream != Stream.COUNTERS]
        if not told and gone == self._gone:
            return []  # counters that only tell of counters would never end
        self._gone = gone
        # A clock that steps back must not put a later count before an earlier one: the last in time is the value.
        self._counted_ns = max(time.time_ns(), self._counted_ns + 1)
        return told + gone

    def _offer_counts(self, counts: list[Count]) -> None:
        if counts:
            self._publisher.offer(Stream.COUNTERS, self.counter.batch(counts, self._counted_ns))

    def _close_former(self, former: Books | None, capture: Capture) -> bool:
        """What a run before us has left open is told under its epoch; whether there was any."""
        if former is None:
            return False
        adopted = capture.adopted()
        if former.epoch == self.counter.epoch:
            self._before = closed(former, adopted)
            return False
        told = closing(former, adopted)
        if not told:
            return False
        uncovered = sum(count.value for count in told if count.name == "uncovered")
        _log.warning("closed the books of a former run", epoch=former.epoch, uncovered=uncovered, links=len(adopted))
        before = Counter(former.node, COMPONENT, former.epoch)
        self._publisher.offer(Stream.COUNTERS, before.batch(told, max(time.time_ns(), former.counted_ns + 1)))
        return True


def _taken(take: Callable[[], list[Taken]], capture: Capture | None) -> tuple[list[Taken], dict[str, Tally]]:
    """In the capture's thread: flows first, then the counts, which can only be larger."""
    taken = take()
    return taken, capture.tallies() if capture is not None else {}


async def _aside(thread: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
    return await asyncio.get_running_loop().run_in_executor(thread, work)


def _locked(path: Path) -> IO[str]:
    """Ours until closed; the kernel lets go of it when we die."""
    lock = path.open("a", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise Conflict(f"another agent runs here ({path}); end it, or name another state folder") from error
    return lock


def capture_of(settings: AgentSettings, known: frozenset[str]) -> Capture:
    """The capture that the settings ask for, on the best rung that holds."""
    from loomidi.loom.sources.mixing import MixedCapture
    from loomidi.loom.sources.shields import ShieldCapture, ShieldCaptureSettings
    from loomidi.loom.sources.sockets import SocketCapture

    filters = [(netns, link) for netns in settings.netns or ("",) for link in settings.links]
    meter = metering(settings)
    shielding = ShieldCaptureSettings(mode=settings.mode, pin=settings.pin, meter=meter)
    if settings.capture == "sockets":
        return SocketCapture(filters, meter)
    shields = ShieldCapture(filters, shielding, known)
    if settings.capture == "auto":
        return MixedCapture(shields, meter)
    if shields.refused and not shields.tallies():
        shields.close()
        raise next(iter(shields.refused.values()))
    return shields


def metering(settings: AgentSettings) -> Any:
    """When flows end, live."""
    from loomidi.loom.flows.links import LIVE

    return dataclasses.replace(LIVE, active_s=settings.active_s, idle_s=settings.idle_s)
