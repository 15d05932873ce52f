"""One kind of object of the Kubernetes API, listed and then watched without a gap.

Called by `kubernetes`. In: an HTTP client, a path. Out: whole lists and single changes, in order. A watch that ends or
falls silent goes on from its last resource version; when the API has forgotten that (410), all is listed anew. Refusals
and lost connections are counted and tried again with pauses that grow. Leaves meaning to `owning`.
"""

import asyncio
import contextlib
import dataclasses
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx

from loomidi.contracts.errors import Retryable

Object = dict[str, Any]
_GONE = 410
_DENIED = (401, 403)
_LISTS = 3  # tries of one list


@dataclasses.dataclass(frozen=True, slots=True)
class ListSettings:
    """How patiently an API is watched."""

    watch_s: float = 300.0
    # Asked of the API as the length of one watch; it goes on with the next one.
    silence_s: float = 120.0
    # Without even a bookmark, which come about once a minute, a connection counts as dead.
    page: int = 500
    # Objects of one answer of a list.
    first_pause_s: float = 0.5
    # After a failure; it doubles up to the next one.
    longest_pause_s: float = 30.0
    # A control plane that comes back is met within this time.


@dataclasses.dataclass(frozen=True, slots=True)
class Resource:
    """What is watched."""

    path: str
    kind: str


@dataclasses.dataclass(frozen=True, slots=True)
class Listeners:
    """Who is told. Times are ns since the epoch."""

    listed: Callable[[str, list[Object], int, int], None]  # kind, objects, now, when the last news had come (0: first)
    changed: Callable[[str, str, Object, int], None]  # kind, ADDED MODIFIED DELETED, object, now


class Denied(Retryable):
    """The API does not let us; it may once its RBAC is mended."""


class Forgotten(Retryable):
    """The API no longer knows the resource version."""


class Watcher:
    """Lists and watches one resource until told to end."""

    def __init__(
        self, client: httpx.AsyncClient, resource: Resource, listeners: Listeners, settings: ListSettings | None = None
    ) -> None:
        self.resource, self.settings = resource, settings or ListSettings()
        self.counts: Counter[str] = Counter()
        self.problem = "not listed yet"  # why it is not up to date; empty: it is
        self.seen_ns = 0  # when the API was last heard
        self._client, self._listeners = client, listeners
        self._version = ""

    async def list_all(self) -> None:
        """Everything there is. Raises Retryable."""
        items, version = await self._whole()
        before, self.seen_ns = self.seen_ns, time.time_ns()
        self.counts["lists"] += 1
        self._listeners.listed(self.resource.kind, items, self.seen_ns, before)
        self._version, self.problem = version, ""

    async def _whole(self) -> tuple[list[Object], str]:
        """A list that took so long that the API forgot its beginning is begun anew, a few times."""
        for _ in range(_LISTS):
            with contextlib.suppress(Forgotten):
                return await self._pages()
            self.counts["lists begun anew"] += 1
        raise Retryable(f"{self.resource.path}: the API forgets its lists before they are read; is it overloaded?")

    async def run(self, ending: asyncio.Event) -> None:
        """Until `ending`; never raises for what the API does."""
        pause_s = self.settings.first_pause_s
        while not ending.is_set():
            began = time.monotonic()
            try:
                if not self._version:
                    await _either(self.list_all(), ending)
                else:
                    await _either(self._watch(), ending)
                pause_s = self.settings.first_pause_s
                continue
            except Forgotten:
                self._version = ""
                self.counts["relists"] += 1
                continue
            except Retryable as error:
                self.problem = str(error)
                self.counts["refused" if isinstance(error, Denied) else "broken connections"] += 1
            if time.monotonic() - began > self.settings.longest_pause_s:
                pause_s = self.settings.first_pause_s
            await _either(asyncio.sleep(pause_s * random.uniform(0.5, 1.0)), ending)
            pause_s = min(pause_s * 2, self.settings.longest_pause_s)

    async def _pages(self) -> tuple[list[Object], str]:
        items, params = list[Object](), {"limit": str(self.settings.page)}
        while True:
            answer = await self._get(params)
            items += [item for item in answer.get("items") or [] if isinstance(item, dict)]
            about = answer.get("metadata") or {}
            if not about.get("continue"):
                return items, str(about.get("resourceVersion") or "")
            params["continue"] = str(about["continue"])

    async def _get(self, params: dict[str, str]) -> Object:
        try:
            response = await self._client.get(self.resource.path, params=params)
            self._check(response)
            answer: Object = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Retryable(f"{self.resource.path}: {str(error) or type(error).__name__}") from error
        return answer

    async def _watch(self) -> None:
        """One connection, to its end."""
        asked = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(round(self.settings.watch_s * random.uniform(0.8, 1.0))),
        }
        patience = httpx.Timeout(30.0, read=self.settings.silence_s)
        self.counts["watches"] += 1
        try:
            async with self._client.stream("GET", self.resource.path, params=asked, timeout=patience) as response:
                self._check(response)
                self.problem = ""
                await self._take_all(response)
        except (httpx.HTTPError, ValueError) as error:
            raise Retryable(f"{self.resource.path}: {str(error) or type(error).__name__}") from error

    async def _take_all(self, response: httpx.Response) -> None:
        async for line in response.aiter_lines():
            if line.strip():
                self._take(json.loads(line))

    def _take(self, event: Object) -> None:
        kind, item = str(event.get("type")), event.get("object") or {}
        if kind == "ERROR":
            told = f"{self.resource.path}: {item.get('message') or item.get('reason') or 'error in a watch'}"
            raise (Forgotten if item.get("code") == _GONE else Retryable)(told)
        self.seen_ns = time.time_ns()
        self._version = str((item.get("metadata") or {}).get("resourceVersion") or self._version)
        if kind == "BOOKMARK":
            self.counts["bookmarks"] += 1
            return
        self.counts["changes"] += 1
        self._listeners.changed(self.resource.kind, kind, item, self.seen_ns)

    def _check(self, response: httpx.Response) -> None:
        if response.status_code == _GONE:
            raise Forgotten(f"{self.resource.path}: the API has forgotten where we were")
        if response.status_code in _DENIED:
            raise Denied(f"{self.resource.path}: the API says {response.status_code}; let us list and watch it (RBAC)")
        if response.is_error:
            raise Retryable(f"{self.resource.path}: the API says {response.status_code}")


async def _either(work: Any, ending: asyncio.Event) -> None:
    """Do it, or be told to end meanwhile, which cancels it."""
    task, told = asyncio.ensure_future(work), asyncio.ensure_future(ending.wait())
    try:
        await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        for one in (task, told):
            one.cancel()
            with contextlib.suppress(asyncio.CancelledError, Retryable):
                await one
