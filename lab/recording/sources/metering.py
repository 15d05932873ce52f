"""Flows of every pod's and every node's link, with the place they were seen at.

Called by the recorder. In: Loomidi's own meters (`LinkMeters`), the lab's table of links. Out: rows of the stream
`flows`, each batch also to those who asked (symptom checks), and a balance per link that adds up to what the kernel
counted.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from loomidi.contracts.errors import LoomidiError
from loomidi.loom.flows.accounts import LinkId
from loomidi_lab.recording.parting import Stream
from loomidi_lab.recording.sources.watching import Change
from loomidi_lab.recording.sources.working import Workers

TAKE_S = 0.25
GATHER_S = 0.5  # a hundred batches of a few rows cost more than one of many
QUEUE = 4096  # batches that the meters may have waiting meanwhile
REFRESH_S = 1.0  # asking the lab which link is whose costs it some calls
HOLD_S = 5.0  # flows of a link that the lab does not know yet wait so long
STOP_S = 20.0
PATTERNS = ("veth*", "lxc*", "eth0")
UNKNOWN = ("unknown", "", "")

Where = tuple[str, str, str]  # kind, namespace, pod
Listener = Callable[[LinkId, pa.RecordBatch], None]


class Meters(Protocol):
    """What is asked of `loomidi.loom.flows.links.LinkMeters`."""

    @property
    def ended(self) -> bool:
        """Stopped, and everything taken."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read."""

    def take(self, timeout_s: float = 0.0) -> list[tuple[LinkId, pa.RecordBatch]]:
        """Batches that are there."""

    def balance(self) -> dict[LinkId, dict[str, int]]:
        """Per link, in packets."""

    def figures(self) -> dict[LinkId, dict[str, int]]:
        """Per link, beside the balance."""

    def stop(self) -> None:
        """Read no further."""

    def close(self) -> None:
        """Let go of everything."""


class LabLink(Protocol):
    """What is asked of the lab's links."""

    @property
    def netns(self) -> str:
        """Of its node."""

    @property
    def name(self) -> str:
        """In that namespace."""

    @property
    def kind(self) -> str:
        """pod, node."""

    @property
    def namespace(self) -> str:
        """Of the pod behind it."""

    @property
    def pod(self) -> str:
        """Its name."""


class Flows:
    """Takes batches in one thread, learns in another whose links are whose: asking must not hold the meters up."""

    def __init__(
        self,
        meters: Meters,
        nodes: Mapping[str, str],
        links: Callable[[], Sequence[LabLink]],
        stream: Stream,
        workers: Workers,
    ) -> None:
        """`nodes`: network namespace to node name; `links`: which link is whose, now."""
        self.listeners: list[Listener] = []
        self._meters, self._nodes, self._links = meters, dict(nodes), links
        self._stream, self._workers = stream, workers
        self._where: dict[tuple[str, str], Where] = {}  # (namespace, name); the names of pods' links are random
        self._held: list[tuple[float, LinkId, pa.RecordBatch]] = []  # until when, for those whose pod is not known yet
        self._ask = threading.Event()

    def start(self) -> None:
        """Take until `stop`."""
        self._learn()
        self._workers.spawn("flows", self._take)
        self._workers.spawn("links", self._learn_on)

    def stop(self) -> dict[str, Any]:
        """End the meters, take what still comes, give the balance of the links. Call it when the threads have ended."""
        self._learn()
        self._meters.stop()
        until = time.monotonic() + STOP_S
        while not self._meters.ended and time.monotonic() < until:
            self._write(self._meters.take(TAKE_S))
        self._release(everything=True)
        self._meters.close()
        return self.links_balance()

    def links_balance(self) -> dict[str, Any]:
        """Per link: packets received and where each went, and the figures beside."""
        figures = self._meters.figures()
        links = {
            f"{link}#{link.index}": {"packets": counts, "figures": figures.get(link, {}), "pod": self._pod(link)}
            for link, counts in sorted(self._meters.balance().items())
        }
        return {"links": links, "problems": list(self._meters.problems)}

    def changed(self, change: Change, _now_ns: int) -> None:
        """A pod came or changed: learn whose link is whose before it goes again."""
        if change.kind == "Pod":
            self._ask.set()

    def _pod(self, link: LinkId) -> str:
        _, namespace, pod = self._where.get((link.netns, link.name), UNKNOWN)
        return f"{namespace}/{pod}" if pod else ""

    def _take(self) -> None:
        while not self._workers.pause(GATHER_S):
            self._write(self._meters.take(TAKE_S))
            self._release()

    def _write(self, taken: Iterable[tuple[LinkId, pa.RecordBatch]]) -> None:
        for link, batch in _joined(taken):
            for listener in self.listeners:
                listener(link, batch)
            where = self._where.get((link.netns, link.name))
            if where is None:
                self._held.append((time.monotonic() + HOLD_S, link, batch))
                self._ask.set()
            else:
                self._add(link, batch, where)

    def _release(self, *, everything: bool = False) -> None:
        """Write what was held: as soon as its pod is known, or without when nobody has told in time."""
        held, self._held = self._held, []
        for until, link, batch in held:
            where = self._where.get((link.netns, link.name))
            if where is None and not everything and time.monotonic() < until:
                self._held.append((until, link, batch))
                continue
            if where is None:
                self._stream.balance.note("rows of a link whose pod was never known", batch.num_rows)
            self._add(link, batch, where or UNKNOWN)

    def _add(self, link: LinkId, batch: pa.RecordBatch, where: Where) -> None:
        node = self._nodes.get(link.netns, link.netns)
        self._stream.add_flows(batch, (node, link.netns, link.name, link.index, *where))

    def _learn_on(self) -> None:
        while not self._workers.stopping.is_set():
            if self._ask.wait(REFRESH_S):
                self._ask.clear()
                self._learn()
                self._workers.pause(REFRESH_S)

    def _learn(self) -> None:
        try:
            links = self._links()
        except (LoomidiError, OSError):
            self._stream.balance.note("times the lab could not say whose links are whose")
            return
        found = {(link.netns, link.name): (link.kind, link.namespace, link.pod) for link in links}
        self._where = self._where | found


def _joined(taken: Iterable[tuple[LinkId, pa.RecordBatch]]) -> Iterator[tuple[LinkId, pa.RecordBatch]]:
    """One batch per link, with memory of its own: a part of what a meter gave would keep all of it."""
    by_link: dict[LinkId, list[pa.RecordBatch]] = {}
    for link, batch in taken:
        by_link.setdefault(link, []).append(batch)
    for link, batches in by_link.items():
        yield link, pa.concat_batches(batches)
