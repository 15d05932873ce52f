"""What a collection holds at the moment, kept in step by list and watch on a thread of its own.

Called by `fold.operator` and `services.parts.diagnosing`. In: a client, a path. Out: objects by `namespace/name`, and a
word to whoever waits for changes. A watch that is silent ends by itself and begins again; one that broke is begun again
after a pause, with a fresh list, and until then nothing is `filled`: whoever counts by it waits.
"""

import json
import threading
from collections.abc import Callable
from typing import Any

import httpx

from loomidi.contracts import LoomidiError, Retryable
from loomidi.kit.logging import logger

PAUSE_S = 1.0  # before what broke is begun again
PAGE = 100  # objects that are listed at once: a page of 500 pods, read as Python, is 30 MB that are never given back
_WHY = "grant list and watch there (deployments/rbac), or try again"
Object = dict[str, Any]
_LOG = logger("loom.sources")


class Shelf:
    """One collection."""

    def __init__(
        self,
        client: httpx.Client,
        path: str,
        changed: Callable[[str], None],
        watched_s: int,
        *,
        slim: Callable[[Object], Object] | None = None,
    ) -> None:
        """`changed`: called with the key of each object that came, changed or went. A watch lasts `watched_s`.

        `slim`: what is kept of an object; its name and version are needed here.
        """
        self._client, self._path, self._changed = client, path, changed
        self._watched_s, self._slim = watched_s, slim or dict
        self._objects: dict[str, Object] = {}
        self._lock = threading.Lock()
        self.filled = threading.Event()

    def all(self) -> list[Object]:
        """What is there, as it was told last."""
        with self._lock:
            return list(self._objects.values())

    def get(self, key: str) -> Object | None:
        """One of them (`namespace/name`), as it was told last."""
        with self._lock:
            return self._objects.get(key)

    def keep(self, stop: threading.Event) -> None:
        """List and watch until told to stop."""
        while not stop.is_set():
            try:
                self._follow(self.fill(), stop)
            except (LoomidiError, httpx.HTTPError, ValueError, KeyError) as error:
                self.filled.clear()
                _LOG.warning("a watch broke off", path=self._path, error=str(error))
                stop.wait(PAUSE_S)

    def fill(self) -> str:
        """List all, page by page; the version from which to watch."""
        told: dict[str, Object] = {}
        version, params = "", {"limit": str(PAGE)}
        while True:
            answer = self._client.get(self._path, params=params)
            if answer.is_error:
                raise Retryable(f"GET {self._path}: {answer.status_code}; {_WHY}")
            page = answer.json()
            version = version or str(page["metadata"]["resourceVersion"])
            told |= {_key(one): self._slim(one) for one in page.get("items") or ()}
            if not page["metadata"].get("continue"):
                break
            params |= {"continue": page["metadata"]["continue"]}
        self._replace(told, int(version))
        self.filled.set()
        return version

    def _replace(self, told: dict[str, Object], version: int) -> None:
        """What the list does not have is gone, unless it came after the list was drawn."""
        with self._lock:
            gone = [key for key, one in self._objects.items() if key not in told and _version(one) <= version]
        for key in gone:
            self._drop(key)
        for one in told.values():
            self._take_in(one)

    def put(self, obj: Object) -> None:
        """It is so now; what is older than what is known is not news."""
        self._take_in(self._slim(obj))

    def _take_in(self, obj: Object) -> None:
        key = _key(obj)
        with self._lock:
            if key in self._objects and _version(self._objects[key]) >= _version(obj):
                return
            self._objects[key] = obj
        self._changed(key)

    def _drop(self, key: str) -> None:
        with self._lock:
            self._objects.pop(key, None)
        self._changed(key)

    def _follow(self, version: str, stop: threading.Event) -> None:
        asked = {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(self._watched_s)}
        patience = httpx.Timeout(10.0, read=self._watched_s + 10.0)
        with self._client.stream("GET", self._path, params=asked, timeout=patience) as response:
            if response.is_error:
                raise Retryable(f"watch of {self._path}: {response.status_code}; {_WHY}")
            for line in response.iter_lines():
                if stop.is_set() or not self._take(json.loads(line)):
                    return

    def _take(self, event: Object) -> bool:
        """False when the list has to be drawn again."""
        if event["type"] == "ERROR":
            return False
        if event["type"] == "DELETED":
            self._drop(_key(event["object"]))
        else:
            self.put(event["object"])
        return True


def _key(obj: Object) -> str:
    return f"{obj['metadata'].get('namespace', '')}/{obj['metadata']['name']}"


def _version(obj: Object) -> int:
    """The API server counts up, for all objects of a kind."""
    return int(obj["metadata"]["resourceVersion"])
