"""What was seen lately: flow batches of every link, the API server's audit log, Kubernetes events.

Made by the commands, the recorder and the fixtures; read by symptoms. In: batches (`absorb`, or `metering`, which feeds
them from live links). Out: Arrow tables of the flows at some links since a moment. Parses no packets.
"""

import collections
import contextlib
import dataclasses
import datetime
import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from loomidi.contracts.errors import LoomidiError

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab

_KEEP_S = 900.0
_LINKS_AGE_S = 1.0
COLUMNS = (
    "flow_start_nanoseconds",
    "flow_end_nanoseconds",
    "protocol_identifier",
    "source_ip_address",
    "destination_ip_address",
    "source_transport_port",
    "destination_transport_port",
    "packet_delta_count",
    "octet_delta_count",
    "payload_octet_count",
    "tcp_syn_total_count",
    "reverse_packet_delta_count",
    "reverse_octet_delta_count",
    "reverse_payload_octet_count",
    "reverse_tcp_rst_total_count",
)
LinkName = tuple[str, str]  # network namespace, interface


class FlowWindow:
    """The last minutes of flow records by link. Safe to fill from one thread and read from another."""

    def __init__(self, keep_s: float = _KEEP_S) -> None:
        self._keep_ns = int(keep_s * 1e9)
        self._batches: dict[LinkName, collections.deque[tuple[int, pa.RecordBatch]]] = {}
        self._lock = threading.Lock()

    def absorb(self, link: LinkName, batch: pa.RecordBatch) -> None:
        """Take a batch of the schema `FLOWS` in, keeping the columns that symptoms ask for."""
        now = time.time_ns()
        with self._lock:
            held = self._batches.setdefault(link, collections.deque())
            held.append((now, batch.select(list(COLUMNS))))
            while held and held[0][0] < now - self._keep_ns:
                held.popleft()

    def since(self, start_ns: int, links: Iterable[LinkName] | None = None) -> pa.Table:
        """Records of flows that ended after a moment, on some links or on all."""
        with self._lock:
            chosen = self._batches if links is None else {link: self._batches.get(link, ()) for link in set(links)}
            batches = [batch for held in chosen.values() for at_ns, batch in held if at_ns >= start_ns]
        if not batches:
            return _EMPTY
        table = pa.Table.from_batches(batches)
        ends = table["flow_end_nanoseconds"].cast(pa.int64())
        return table.filter(pa.compute.greater_equal(ends, start_ns))

    def links(self) -> list[LinkName]:
        """Links that had any flow."""
        with self._lock:
            return list(self._batches)


class Observer:
    """Everything that symptoms look at, for one lab."""

    def __init__(self, lab: "Lab", *, lag_s: float = 3.0, keep_s: float = _KEEP_S) -> None:
        """`lag_s`: how long after its last packet the meter may hold a flow back; symptoms wait that much longer."""
        self.lab, self.lag_s = lab, lag_s
        self.window = FlowWindow(keep_s)
        self._links: dict[LinkName, Any] = {}  # every link that there ever was: a pod may be gone when it is asked for
        self._lock = threading.Lock()  # over the links: the meters' thread learns them too
        self._looked_s = 0.0
        self._audit = AuditTail(lab)

    def absorb(self, link: LinkName, batch: pa.RecordBatch) -> None:
        """Take in a batch of a link; (netns, interface)."""
        if link not in self._links:
            self.refresh()
        self.window.absorb(link, batch)

    def refresh(self) -> None:
        """Ask the lab which pod each link belongs to; at most once a second."""
        with self._lock:
            if time.monotonic() - self._looked_s < _LINKS_AGE_S:
                return
            for link in self.lab.links():
                if link.pod or (link.netns, link.name) not in self._links:
                    self._links[link.netns, link.name] = link
            self._looked_s = time.monotonic()

    def _known(self) -> list[tuple[LinkName, Any]]:
        self.refresh()
        with self._lock:
            return list(self._links.items())

    def links_of(self, namespace: str, pods: Sequence[str]) -> list[LinkName]:
        """Host-side links of some pods, also of those that have gone since."""
        wanted = set(pods)
        return [name for name, link in self._known() if link.namespace == namespace and link.pod in wanted]

    def node_links(self, node: str = "") -> list[LinkName]:
        """The links of one node (or all nodes) to the lab's network."""
        return [name for name, link in self._known() if link.kind == "node" and node in ("", link.node)]

    def pod_links(self) -> list[LinkName]:
        """The links of all pods."""
        return [name for name, link in self._known() if link.kind == "pod"]

    def flow_count(self, start_ns: int) -> int:
        """Records on any link since a moment."""
        return int(self.window.since(start_ns).num_rows)

    def audit(self, start_ns: int) -> list[dict[str, Any]]:
        """Completed audit events since a moment."""
        return self._audit.since(start_ns)

    def events(self, start_ns: int) -> list[dict[str, Any]]:
        """Kubernetes events that happened (again) since a moment."""
        return [event for event in self.lab.api.list("/api/v1/events") if event_ns(event) >= start_ns]


class AuditTail:
    """The API server's audit log, read on from where it stood."""

    def __init__(self, lab: "Lab") -> None:
        self._path = lab.api_log
        self._position = self._path.stat().st_size if self._path.exists() else 0
        self._rest = b""
        self._events: collections.deque[tuple[int, dict[str, Any]]] = collections.deque(maxlen=200_000)
        self._lock = threading.Lock()

    def since(self, start_ns: int) -> list[dict[str, Any]]:
        """Events that arrived after a moment. What was logged before this object was made is not read."""
        with self._lock:
            self._read_on()
            return [event for at_ns, event in self._events if at_ns >= start_ns]

    def _read_on(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            data = self._rest + file.read()
            self._position = file.tell()
        lines = data.split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            event = json.loads(line)
            if event.get("stage") == "ResponseComplete":
                self._events.append((moment_ns(event["requestReceivedTimestamp"]), event))


def moment_ns(text: str) -> int:
    """RFC 3339 as the API writes it -> ns since the epoch; 0 for none."""
    if not text:
        return 0
    at = datetime.datetime.fromisoformat(text)
    return int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1000


def event_ns(event: dict[str, Any]) -> int:
    """When a Kubernetes event last happened; whole seconds are counted to their end."""
    series = (event.get("series") or {}).get("lastObservedTime")
    if exact := series or event.get("eventTime"):
        return moment_ns(exact)
    last = event.get("lastTimestamp") or event["metadata"].get("creationTimestamp", "")
    return moment_ns(last) + 999_999_999


@contextlib.contextmanager
def metering(observer: Observer) -> Iterator[Any]:
    """Feed the observer from every link of its lab while the block runs; yields the meters (for their balance)."""
    from loomidi.loom.flows.links import LIVE, LinkMeters

    settings = dataclasses.replace(LIVE, idle_s=2.0, active_s=5.0)
    meters = LinkMeters(link_patterns(observer.lab), settings, rescan_s=0.5)
    failures: list[LoomidiError] = []

    def feed() -> None:
        try:
            for link, batch in meters:
                observer.absorb((link.netns, link.name), batch)
        except LoomidiError as error:
            failures.append(error)

    thread = threading.Thread(target=feed, name="observer", daemon=True)
    thread.start()
    try:
        yield meters
    finally:
        meters.stop()
        thread.join(timeout=10)
        meters.close()
    if failures:
        raise failures[0]


def link_patterns(lab: "Lab") -> list[tuple[str, str]]:
    """Every pod's and every node's link, as `LinkMeters` takes them."""
    pods = "lxc*" if lab.network == "cilium" else "veth*"
    return [(node.netns, pattern) for node in lab.nodes for pattern in (pods, "eth0")]


def _empty() -> pa.Table:
    from loomidi.contracts.schemas import FLOWS

    return pa.Table.from_batches([], schema=pa.schema([FLOWS.field(name) for name in COLUMNS]))


_EMPTY = _empty()
