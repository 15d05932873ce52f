"""Kubernetes objects and events as rows.

Called by the recorder. In: changes of `watching`. Out: rows of the streams `objects` and `events`; each change also
goes to those who asked for it (the address book, symptom checks). Leaves connections and gaps to `watching`.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from loomidi_lab.recording.balances import Balance
from loomidi_lab.recording.parting import Stream
from loomidi_lab.recording.sources.watching import RESOURCES, Api, Change, Resource, Watch
from loomidi_lab.recording.sources.working import Workers

Listener = Callable[[Change, int], None]


class Objects:
    """All watches together."""

    def __init__(
        self, api: Api, objects: Stream, events: Stream, workers: Workers, resources: Sequence[Resource] = RESOURCES
    ) -> None:
        self.listeners: list[Listener] = []
        self.notes = Balance()
        self._streams = (objects, events)
        self._workers = workers
        self._watches = [Watch(api, resource, self._changed, self.notes) for resource in resources]

    def start(self) -> None:
        """List everything, in an order in which owners come before pods, then watch. Raises what the API raises."""
        for watch in self._watches:
            watch.relist()
        for watch in self._watches:
            self._workers.spawn("watch", lambda watch=watch: watch.follow(self._workers))  # type: ignore[misc]

    def notes_of(self) -> dict[str, Any]:
        """Reconnects, relists and what they found."""
        found: dict[str, Any] = self.notes.as_dict()["notes"]
        return found

    def _changed(self, change: Change) -> None:
        if self._workers.stopping.is_set():
            return
        now = time.time_ns()
        objects, events = self._streams
        if change.kind == "Event":
            events.add([event_row(change, now)])
        else:
            objects.add([(now, *_identity(change), change.text)])
        for listener in self.listeners:
            listener(change, now)


def _identity(change: Change) -> tuple[str, ...]:
    metadata = change.metadata
    names = (str(metadata.get(key, "")) for key in ("namespace", "name", "uid", "resourceVersion"))
    return (change.kind, change.api_version, *names, change.change, change.via)


def event_row(change: Change, now_ns: int) -> tuple[Any, ...]:
    """A row of the stream `events`."""
    event, involved = change.object, change.object.get("involvedObject") or {}
    series = event.get("series") or {}
    return (
        now_ns,
        *_identity(change),
        str(event.get("type", "")),
        str(event.get("reason", "")),
        *(str(involved.get(key, "")) for key in ("kind", "namespace", "name")),
        str(event.get("message", "")),
        int(series.get("count") or event.get("count") or 1),
        change.text,
    )
