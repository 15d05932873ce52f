"""The Kubernetes watch: every change of every kind that matters, raw, without a gap.

Called by the recorder. In: the API. Out: changes, in order per kind. After a broken connection the watch goes on from
the last resource version; when the API no longer has that (410), everything is listed anew, and what differs from what
we knew is handed out as changes `via` relist. Leaves rows and names to `objects` and `entities`.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from loomidi.contracts.errors import LoomidiError
from loomidi_lab.recording.balances import Balance
from loomidi_lab.recording.sources.working import Workers

GONE = 410
WATCH_S = 60
RETRY_S = 0.5

Object = dict[str, Any]


class Api(Protocol):
    """What is asked of the lab's API client."""

    def get(self, path: str, **params: Any) -> Object:
        """One object, or a list with its items."""

    def watch(self, path: str, resource_version: str = "", timeout_s: float = 0, **params: Any) -> Iterator[Object]:
        """Watch events as dicts with `type` and `object`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Resource:
    """What is watched: where, and what the items are (a list's items do not say it)."""

    path: str
    kind: str
    api_version: str


RESOURCES = (
    Resource("/api/v1/nodes", "Node", "v1"),
    Resource("/api/v1/namespaces", "Namespace", "v1"),
    Resource("/apis/apps/v1/replicasets", "ReplicaSet", "apps/v1"),
    Resource("/apis/apps/v1/deployments", "Deployment", "apps/v1"),
    Resource("/apis/apps/v1/statefulsets", "StatefulSet", "apps/v1"),
    Resource("/apis/apps/v1/daemonsets", "DaemonSet", "apps/v1"),
    Resource("/apis/batch/v1/cronjobs", "CronJob", "batch/v1"),
    Resource("/apis/batch/v1/jobs", "Job", "batch/v1"),
    Resource("/api/v1/services", "Service", "v1"),
    Resource("/apis/discovery.k8s.io/v1/endpointslices", "EndpointSlice", "discovery.k8s.io/v1"),
    Resource("/apis/networking.k8s.io/v1/networkpolicies", "NetworkPolicy", "networking.k8s.io/v1"),
    Resource("/api/v1/pods", "Pod", "v1"),
    Resource("/api/v1/events", "Event", "v1"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One change of one object."""

    change: str  # LISTED ADDED MODIFIED DELETED
    via: str  # list watch relist
    kind: str
    api_version: str
    object: Object
    text: str  # the object as JSON, unknown fields kept

    @property
    def metadata(self) -> Object:
        """The object's metadata; never None."""
        found = self.object.get("metadata")
        return found if isinstance(found, dict) else {}


class Watch:
    """One resource, watched until told to stop. `listed` is set once the first list has been handed out."""

    def __init__(self, api: Api, resource: Resource, on_change: Callable[[Change], None], notes: Balance) -> None:
        self.resource = resource
        self._api, self._on_change, self._notes = api, on_change, notes
        self._known: dict[str, tuple[str, str]] = {}  # uid -> resource version, object: what a relist is compared with
        self._version = ""

    def relist(self) -> None:
        """Everything there is, as LISTED the first time, as differences afterwards."""
        first = not self._version
        found = self._api.get(self.resource.path)
        self._version = str(found.get("metadata", {}).get("resourceVersion", ""))
        items = [item for item in found.get("items") or [] if isinstance(item, dict)]
        if first:
            for item in items:
                self._hand("LISTED", "list", item)
            return
        self._notes.note("relists")
        for change, item in list(self._differences(items)):
            self._notes.note("differences found by a relist")
            self._hand(change, "relist", item)

    def follow(self, workers: Workers) -> None:
        """Watch until `workers` stop. Call `relist` before."""
        while not workers.stopping.is_set():
            try:
                gone = self._once(workers)
            except LoomidiError as error:
                gone = getattr(error, "status", 0) == GONE
                self._notes.note("broken watches")
                workers.pause(RETRY_S)
            if gone and not workers.stopping.is_set():
                self._list_again(workers)

    def _list_again(self, workers: Workers) -> None:
        while True:
            try:
                return self.relist()
            except LoomidiError:
                self._notes.note("lists that failed")
                if workers.pause(RETRY_S):
                    return None

    def _once(self, workers: Workers) -> bool:
        """One connection; True when the API has forgotten where we were."""
        self._notes.note("watches opened")
        events = self._api.watch(self.resource.path, self._version, timeout_s=WATCH_S, allowWatchBookmarks="true")
        for event in events:
            if workers.stopping.is_set():
                return False
            kind, item = event.get("type"), event.get("object") or {}
            if kind == "ERROR":
                self._notes.note("errors in a watch")
                return bool(item.get("code") == GONE)
            self._version = str(item.get("metadata", {}).get("resourceVersion", self._version))
            if kind == "BOOKMARK":
                self._notes.note("bookmarks")
            else:
                self._hand(str(kind), "watch", item)
        return False

    def _differences(self, items: list[Object]) -> Iterator[tuple[str, Object]]:
        seen = set()
        for item in items:
            uid, version = _identity(item)
            seen.add(uid)
            if uid not in self._known:
                yield "ADDED", item
            elif self._known[uid][0] != version:
                yield "MODIFIED", item
        for uid in [uid for uid in self._known if uid not in seen]:
            yield "DELETED", json.loads(self._known[uid][1])

    def _hand(self, change: str, via: str, item: Object) -> None:
        uid, version = _identity(item)
        text = json.dumps(item, separators=(",", ":"))
        if change == "DELETED":
            self._known.pop(uid, None)
        else:
            self._known[uid] = (version, text)
        self._on_change(Change(change, via, self.resource.kind, self.resource.api_version, item, text))


def _identity(item: Object) -> tuple[str, str]:
    metadata = item.get("metadata") or {}
    return str(metadata.get("uid", "")), str(metadata.get("resourceVersion", ""))
