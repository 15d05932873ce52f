"""The process that sends a load: keeps to the schedule whatever the answers are, and writes down what came of it.

Started by `driving` inside the lab's outside namespace as `python -m loomidi_lab.shop.load`. In: `Orders`. Out: a JSON
line per request, a summary, and Prometheus text on a port. Ends at SIGTERM or at the end of the schedule.
"""

import asyncio
import ipaddress
import json
import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from loomidi_lab.shop.load.people import Outcome, Person
from loomidi_lab.shop.load.planning import Planned, schedule
from loomidi_lab.shop.load.profiles import LoadProfile
from loomidi_lab.shop.load.summaries import Tally

REQUESTS, SUMMARY = "requests.jsonl", "summary.json"
_TIDY_S = 5.0
_KEY = '"key": "'
_MOST_IN_FLIGHT = 2000  # beyond it requests are not sent but counted: the sender must not be what breaks


@dataclass(frozen=True)
class Orders:
    """What the process is told."""

    url: str
    profile: LoadProfile
    seed: int
    out: Path
    duration_s: float
    start_ns: int  # wall clock; 0: now
    sources: str  # network of the people's addresses; empty: the system's choice
    metrics_port: int  # 0: none


class Sender:
    """One load."""

    def __init__(self, orders: Orders, lines: IO[str]) -> None:
        parts = urlsplit(orders.url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._orders = orders
        self._lines = lines
        self._people: dict[int, Person] = {}
        self._running: set[asyncio.Task[None]] = set()
        network = ipaddress.ip_network(orders.sources) if orders.sources else None
        self._sources = [str(address) for address in network.hosts()] if network else [""]
        self.start_ns = orders.start_ns or time.time_ns() + 200_000_000
        self.tally = Tally(orders.seed, self.start_ns)

    async def run(self, stop: asyncio.Event) -> None:
        """Send until the schedule or the event ends it; then wait for what is under way."""
        tidy = asyncio.create_task(self._tidy())
        plan = schedule(self._orders.profile, self._orders.seed, self._orders.duration_s)
        while not stop.is_set() and (planned := next(plan, None)) is not None:
            wait_s = (self._due_ns(planned) - time.time_ns()) / 1e9
            if wait_s > 0:
                await self._pause(stop, wait_s)
            if not stop.is_set():
                self._send(planned)
        if self._running:
            await asyncio.wait(self._running, timeout=self._orders.profile.patience_s + 1.0)
        tidy.cancel()
        for person in self._people.values():
            person.close()

    def _due_ns(self, planned: Planned) -> int:
        return self.start_ns + round(planned.at_s * 1e9)

    @staticmethod
    async def _pause(stop: asyncio.Event, seconds: float) -> None:
        if seconds < 0.2:
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await stop.wait()
        except TimeoutError:
            return

    def _send(self, planned: Planned) -> None:
        if len(self._running) >= _MOST_IN_FLIGHT:
            self._done(planned, Outcome(0, 0, 0, "not_sent"), time.time_ns())
            return
        task = asyncio.create_task(self._one(planned))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _one(self, planned: Planned) -> None:
        person = self._people.get(planned.user)
        if person is None:
            source = self._sources[planned.user % len(self._sources)]
            person = Person(self._host, self._port, source, self._orders.profile.connections)
            self._people[planned.user] = person
        step, begun_ns = planned.step, time.time_ns()
        self.tally.in_flight = len(self._running)
        outcome = await person.ask(
            step.method, step.path, planned.visitor, self._body(step.body), self._orders.profile.patience_s
        )
        self._done(planned, outcome, begun_ns)

    def _body(self, drawn: str) -> str:
        """An order's key is of this load: a shop that has seen the seed before would take it for one that it knows."""
        return drawn.replace(_KEY, f"{_KEY}{self.start_ns:x}-", 1)

    def _done(self, planned: Planned, outcome: Outcome, begun_ns: int) -> None:
        now_ns, due_ns = time.time_ns(), self._due_ns(planned)
        kind = outcome.error or str(outcome.status)
        self.tally.count(planned.step.route, kind, (now_ns - due_ns) / 1e6, max(0, begun_ns - due_ns) / 1e6, now_ns)
        line = {
            "intended_ns": due_ns,
            "sent_ns": outcome.sent_ns,
            "done_ns": now_ns,
            "status": outcome.status,
            "error": outcome.error,
            "bytes": outcome.received,
            "method": planned.step.method,
            "route": planned.step.route,
            "path": planned.step.path,
            "user": planned.user,
            "source": self._sources[planned.user % len(self._sources)],
            "visit": planned.visit,
            "journey": planned.journey,
        }
        self._lines.write(json.dumps(line) + "\n")

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(_TIDY_S)
            self._lines.flush()
            for person in self._people.values():
                person.tidy()


def work(orders: Orders) -> int:
    """Send a load; the exit code."""
    told: list[int] = []  # a wish to end that comes before the loop runs
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    orders.out.mkdir(parents=True, exist_ok=True)
    with (orders.out / REQUESTS).open("w") as lines:  # from here on `driving` may send signals
        sender = Sender(orders, lines)
        asyncio.run(_until_told(sender, orders, told))
    used = resource.getrusage(resource.RUSAGE_SELF)
    summary = sender.tally.summary(used.ru_utime + used.ru_stime)
    partial = orders.out / f".{SUMMARY}"
    partial.write_text(summary.as_json() + "\n")
    partial.rename(orders.out / SUMMARY)
    return 0


async def _until_told(sender: Sender, orders: Orders, told: list[int]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if told:
        stop.set()
    server = None
    if orders.metrics_port:
        server = await asyncio.start_server(_Scrapes(sender.tally).answer, "", orders.metrics_port)
    await sender.run(stop)
    if server is not None:
        server.close()


class _Scrapes:
    """Answers every request with the metrics: nothing else is asked of this port."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one answer."""
        try:
            async with asyncio.timeout(2.0):
                await reader.readuntil(b"\r\n\r\n")
                body = self._tally.prometheus().encode()
                head = f"HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {len(body)}"
                writer.write(f"{head}\r\nconnection: close\r\n\r\n".encode() + body)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a scraper that went away
        finally:
            writer.close()
