"""The Kubernetes watch: who owns which address when, and the cluster's events.

Called by `services` (pipeline, or a command of its own). In: access to an API. Out: batches of `ENTITIES` and `EVENTS`,
handed to `send`, which returns when they are durable. What was open when this ended is kept in a file, so that the next
start ends what vanished meanwhile. Leaves lists and watches to `listing`, times to `owning`.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import httpx
import pyarrow as pa

from loomidi.contracts.errors import InputError, Retryable
from loomidi.contracts.streams import Stream
from loomidi.kit.waiting import told_within
from loomidi.loom.sources import rows
from loomidi.loom.sources.listing import Listeners, ListSettings, Object, Resource, Watcher
from loomidi.loom.sources.objects import event_row
from loomidi.loom.sources.owning import Ownership

# In this order they are listed: whoever owns is known before what it owns.
RESOURCES = (
    Resource("/apis/apps/v1/replicasets", "ReplicaSet"),
    Resource("/apis/batch/v1/jobs", "Job"),
    Resource("/api/v1/nodes", "Node"),
    Resource("/api/v1/services", "Service"),
    Resource("/apis/discovery.k8s.io/v1/endpointslices", "EndpointSlice"),
    Resource("/api/v1/pods", "Pod"),
)
EVENTS = Resource("/api/v1/events", "Event")
Send = Callable[[Stream, pa.RecordBatch], Awaitable[object]]


@dataclasses.dataclass(frozen=True, slots=True)
class WatchSettings:
    """What is watched, and how it is handed on."""

    cluster: str = ""
    # Name of the cluster, written into each row.
    events: bool = True
    # Also the cluster's Event objects.
    gather_s: float = 0.2
    # Changes of so long go into one batch.
    tell_again_s: float = 6 * 3600.0
    # Open rows are told at the start and then this often: a reader that goes back a day knows whoever is there.
    retry_s: float = 1.0
    # Between two tries to hand a batch on.
    state: Path | None = None
    # File that keeps the open rows over a restart; without it, what vanishes while nobody watches stays open.
    listing: ListSettings = dataclasses.field(default_factory=ListSettings)
    # How patiently the API is watched.


class KubernetesWatch:
    """Watches one cluster until it is told to end."""

    def __init__(self, client: httpx.AsyncClient, send: Send, settings: WatchSettings | None = None) -> None:
        """Raises InputError for a state file that is not ours."""
        self.settings = settings or WatchSettings()
        self.ownership = Ownership(self.settings.cluster)
        self.retries, self._began_ns = 0, time.time_ns()
        self._send, self._news, self._events = send, asyncio.Event(), list[Object]()
        self._known: set[str] = set()  # ids of events that were met
        listeners = Listeners(self._listed, self._changed)
        chosen = (*RESOURCES, EVENTS) if self.settings.events else RESOURCES
        self.watchers = [Watcher(client, one, listeners, self.settings.listing) for one in chosen]
        self._restore()

    @property
    def ready(self) -> list[str]:
        """One line for each resource that is not up to date."""
        return [f"kubernetes: {watcher.problem}" for watcher in self.watchers if watcher.problem]

    @property
    def heard_ns(self) -> int:
        """When the quietest of the watches was last heard; 0 before all are listed."""
        return min(watcher.seen_ns for watcher in self.watchers)

    def counters(self) -> Mapping[str, int]:
        """Lists, watches, changes, relists, refusals by kind of object."""
        counted = {f"{one.resource.kind}: {name}": n for one in self.watchers for name, n in one.counts.items()}
        return counted | {"open": self.ownership.open_rows, "batches sent again": self.retries}

    async def run(self, ending: asyncio.Event) -> None:
        """Until `ending`; what was learnt by then is handed on."""
        told = asyncio.Event()
        sending = asyncio.create_task(self._hand_on(told))
        try:
            await self._list_in_order(ending)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tell_again(ending))
                for watcher in self.watchers:
                    group.create_task(watcher.run(ending))
        finally:
            told.set()
            self._news.set()
            await sending

    async def _tell_again(self, ending: asyncio.Event) -> None:
        before_ns = self._began_ns
        while not ending.is_set():
            if self.ownership.tell_again(before_ns, time.time_ns()):
                self._news.set()
            await told_within(ending, self.settings.tell_again_s)
            before_ns = time.time_ns() - round(self.settings.tell_again_s / 2 * 1e9)

    async def _list_in_order(self, ending: asyncio.Event) -> None:
        """What fails is listed by its watcher later; nobody waits for it."""
        for watcher in self.watchers:
            if not ending.is_set():
                with contextlib.suppress(Retryable):
                    await watcher.list_all()

    # -- told by the watchers ----------------------------------------------------------------------------------------

    def _listed(self, kind: str, items: list[Object], now_ns: int, heard_ns: int) -> None:
        if kind == EVENTS.kind:
            fresh = [item for item in items if _event_id(item) not in self._known] if heard_ns else []
            self._known = {_event_id(item) for item in items}
            self._events += [event_row(item, now_ns) for item in fresh]
        else:
            self.ownership.listed(kind, items, now_ns, heard_ns or self._kept_ns)
        self._news.set()

    def _changed(self, kind: str, change: str, item: Object, now_ns: int) -> None:
        if kind != EVENTS.kind:
            self.ownership.changed(kind, change, item, now_ns)
        elif change == "DELETED":
            self._known.discard(_event_id(item))
        else:
            self._known.add(_event_id(item))
            self._events.append(event_row(item, now_ns))
        self._news.set()

    # -- handing on --------------------------------------------------------------------------------------------------

    async def _hand_on(self, told: asyncio.Event) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            if not told.is_set():
                await told_within(told, self.settings.gather_s)
            await self._flush(told)
            if told.is_set() and not self._news.is_set():
                return

    async def _flush(self, told: asyncio.Event) -> None:
        entities = self.ownership.take()
        events, self._events = self._events, []
        if entities is not None:
            await self._sent(Stream.ENTITIES, entities, told)
            self._keep()
        if events:
            await self._sent(Stream.EVENTS, rows.events(events), told)

    async def _sent(self, stream: Stream, batch: pa.RecordBatch, told: asyncio.Event) -> None:
        """Until it is durable; a last time when we are to end. Raises Retryable then."""
        while True:
            try:
                await self._send(stream, batch)
                return
            except Retryable:
                if told.is_set():
                    raise
                self.retries += 1
                await told_within(told, self.settings.retry_s)

    # -- over a restart ----------------------------------------------------------------------------------------------

    def _restore(self) -> None:
        self._kept_ns = 0  # when the state was kept
        state = self.settings.state
        if state is None or not state.exists():
            return
        try:
            held = json.loads(state.read_text(encoding="utf-8"))
            if held["cluster"] != self.settings.cluster:
                raise ValueError(f"it is of cluster {held['cluster']!r}")
            self.ownership.restore([row | {"labels": [tuple(one) for one in row["labels"]]} for row in held["rows"]])
            self._kept_ns = state.stat().st_mtime_ns
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{state} is no state of this cluster's watch ({error}); remove it to begin anew"
            ) from error

    def _keep(self) -> None:
        """After the rows are durable: whoever starts next knows at least as much as the lake."""
        state = self.settings.state
        if state is None:
            return
        state.parent.mkdir(parents=True, exist_ok=True)
        beside = state.with_name(state.name + ".new")
        with beside.open("w", encoding="utf-8") as file:
            json.dump({"cluster": self.settings.cluster, "rows": self.ownership.held()}, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(state)


def _event_id(item: Object) -> str:
    return f"{rows.inner(item, 'metadata', 'uid')}/{rows.inner(item, 'metadata', 'resourceVersion')}"
