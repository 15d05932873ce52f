"""Flows of every pod's and every node's link, with the place they were seen at.

Called by the recorder. In: Loomidi's own meters (`LinkMeters`), the lab's table of links. Out: rows of the stream
`flows`, each batch also to those who asked (symptom checks), and a balance per link that adds up to what the kernel
counted.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from loomidi.contracts.errors import LoomidiError
from loomidi.loom.flows.accounts import LinkId
from loomidi_lab.recording.parting import Stream
from loomidi_lab.recording.sources.working import Workers

TAKE_S = 0.25
REFRESH_S = 1.0  # asking the lab which link is whose costs it some calls
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
    """Takes batches in one thread."""

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
        self._where: dict[LinkId, Where] = {}
        self._asked = 0.0

    def start(self) -> None:
        """Take until `stop`."""
        self._workers.spawn("flows", self._take)

    def stop(self) -> dict[str, Any]:
        """End the meters, take what still comes, give the balance of the links. Call it when the thread has ended."""
        self._meters.stop()
        until = time.monotonic() + STOP_S
        while not self._meters.ended and time.monotonic() < until:
            self._write(self._meters.take(TAKE_S))
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

    def changed(self, *_: object) -> None:
        """A pod came or changed: learn whose link is whose before it goes again."""
        self._asked = 0.0

    def _pod(self, link: LinkId) -> str:
        _, namespace, pod = self._where.get(link, UNKNOWN)
        return f"{namespace}/{pod}" if pod else ""

    def _take(self) -> None:
        while not self._workers.stopping.is_set():
            self._write(self._meters.take(TAKE_S))

    def _write(self, taken: Iterable[tuple[LinkId, pa.RecordBatch]]) -> None:
        for link, batch in taken:
            kind, namespace, pod = self._whose(link)
            node = self._nodes.get(link.netns, link.netns)
            where = (node, link.netns, link.name, link.index, kind, namespace, pod)
            kept = self._stream.add_flows(batch, where)
            for listener in self.listeners:
                listener(link, kept)

    def _whose(self, link: LinkId) -> Where:
        if link not in self._where and time.monotonic() - self._asked >= REFRESH_S:
            self._asked = time.monotonic()
            self._ask()
        if link not in self._where and link.name == "eth0":
            return ("node", "", "")
        found = self._where.get(link)
        if found is None:
            self._stream.balance.note("batches of a link whose pod is not known")
            return UNKNOWN
        return found

    def _ask(self) -> None:
        try:
            links = self._links()
        except (LoomidiError, OSError):
            self._stream.balance.note("times the lab could not say whose links are whose")
            return
        by_name = {(link.netns, link.name): (link.kind, link.namespace, link.pod) for link in links}
        for link in self._meters.balance():
            found = by_name.get((link.netns, link.name))
            if found is not None:
                self._where[link] = found
