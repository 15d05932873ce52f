"""The Kubernetes API for whoever changes something: plain dicts, one request after the other, bounded tries.

Called by everything in this folder and by `ionic.policies`. In: an HTTP client (made by `services`), paths as the API
has them. Out: objects, or an error of this house with the API's own words. Busy answers (429, 5xx) and lost connections
are tried again as the API asks; a 409 is a `Clash`, which only the caller can settle, since it has to read again.
"""

import contextlib
import dataclasses
import email.utils
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from loomidi.ionic.errors import ChangedMeanwhile, Clash, ClusterAway, ClusterDenies, ClusterRejects
from loomidi.kit.clock import Clock, SystemClock

Object = dict[str, Any]
MANAGER = "loomidi/act"  # the field manager of every write
_OFFERED_NS = 60 * 10**9
_BUSY = frozenset({429, 500, 502, 503, 504})
_UNSEEN = "loomidi.io/at-hand", "loomidi-at-hand"  # an admission policy that may not have seen our last write yet
# Words of answers that say busy and are not: 429 of the eviction subresource, 500 of an apply of wrong fields.
_FINAL = ("DisruptionBudget", "failed to create typed patch object")


@dataclasses.dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long a busy API is asked."""

    tries: int = 4
    # Requests in all: what is longer than a hiccup is left to the engine, which undoes or comes again.
    pause_s: float = 0.2
    # Before the second try; it doubles up to the next one.
    longest_s: float = 5.0
    # Of one pause, whatever Retry-After says: a plan waits under a lock.


class KubeApi:
    """Reads and writes."""

    def __init__(self, client: httpx.Client, patience: Patience | None = None, *, clock: Clock | None = None) -> None:
        self._client = client
        self._patience = patience or Patience()
        self._clock = clock or SystemClock()
        self.discoveries = 0  # how often it was asked what a group has
        self._offered: dict[str, tuple[int, frozenset[str]]] = {}  # group and version -> until when, its resources
        self._dated = ("", 0)  # the API server's clock in its last answer, our monotonic one in ns when it came

    def earliest_ns(self) -> int:
        """What time it is at least, ns since the epoch: by our clock or the API server's, whichever is behind.

        Whoever says that something has ended by itself asks here, not a clock of its own that may have jumped."""
        date, came_ns = self._dated
        server_ns, own_ns = _date_ns(date), self._clock.now_ns()
        return min(own_ns, server_ns + self._clock.monotonic_ns() - came_ns) if server_ns else own_ns

    def get(self, path: str) -> Object | None:
        """One object, or None when there is none."""
        response = self._ask("GET", path, {})
        return None if response.status_code == httpx.codes.NOT_FOUND else _body(response)

    def offers(self, group: str) -> frozenset[str]:
        """The resources of a group and version, such as `cilium.io/v2`; none where the cluster lacks it.

        Kept for a minute: what is installed meanwhile is seen then, what is gone is refused by the API itself."""
        now_ns = self._clock.now_ns()
        until_ns, known = self._offered.get(group, (0, frozenset[str]()))
        if now_ns < until_ns:
            return known
        self.discoveries += 1
        told = self.get(f"/apis/{group}") or {}
        found = frozenset(str(one["name"]) for one in told.get("resources") or ())
        self._offered[group] = (now_ns + _OFFERED_NS, found)
        return found

    def items(self, path: str, chosen: str = "") -> list[Object]:
        """All objects of a collection (`chosen`: a label selector), page by page."""
        return list(self.each(path, chosen))

    def each(self, path: str, chosen: str = "") -> Iterator[Object]:
        """The same one by one, with one page in memory."""
        params = {"limit": "500"} | ({"labelSelector": chosen} if chosen else {})
        while True:
            page = _body(self._ask("GET", path, params))
            yield from page.get("items") or []
            if not (follow := page.get("metadata", {}).get("continue")):
                return
            params |= {"continue": follow}

    def create(self, path: str, body: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """A new object. Raises Clash when the name is taken."""
        return _body(self._ask("POST", path, _writing(dry_run), json=dict(body)))

    def apply(self, path: str, body: Mapping[str, Any], manager: str, *, force: bool = False) -> Object:
        """Server-side apply under a field manager. Raises Clash when somebody else has a field, unless `force`."""
        params = {"fieldManager": manager, "fieldValidation": "Strict"} | ({"force": "true"} if force else {})
        sent = {"content": json.dumps(body), "headers": {"Content-Type": "application/apply-patch+yaml"}}
        return _body(self._ask("PATCH", path, params, **sent))

    def patch(
        self, path: str, operations: Sequence[Mapping[str, Any]], version: str, *, dry_run: bool = False
    ) -> Object:
        """JSON Patch of exactly this resource version. Raises Clash when the object has moved on."""
        held = {"op": "replace", "path": "/metadata/resourceVersion", "value": version}
        sent = {"json": [held, *operations], "headers": {"Content-Type": "application/json-patch+json"}}
        return _body(self._ask("PATCH", path, _writing(dry_run), **sent))

    def delete(self, path: str, uid: str, version: str = "") -> None:
        """Delete exactly this object; one that is gone is fine. Raises Clash when it is another or has moved on."""
        preconditions = {"uid": uid} | ({"resourceVersion": version} if version else {})
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
        response = self._ask("DELETE", path, {}, json=options)
        if response.status_code != httpx.codes.NOT_FOUND:
            _body(response)

    def pause(self, tried: int) -> None:
        """Wait a moment before what clashed is read again."""
        self._clock.sleep(min(self._patience.longest_s, self._patience.pause_s * 2**tried / 4))

    def _ask(self, method: str, path: str, params: Mapping[str, str], **more: Any) -> httpx.Response:
        """An answer that is not a passing one. Raises ClusterAway when there is none after all tries."""
        why = ""
        for tried in range(self._patience.tries):
            asked = self._patience.pause_s * 2**tried
            try:
                response = self._client.request(method, path, params=dict(params), **more)
            except httpx.HTTPError as error:
                why = f"{type(error).__name__}: {error}".rstrip(": ")
            else:
                self._dated = (response.headers.get("Date", ""), self._clock.monotonic_ns())
                if not _passing(response):
                    return response
                why = _told(response)
                asked = asked / 8 if _unseen(response) else _retry_after(response) or asked
            if tried + 1 < self._patience.tries:
                self._clock.sleep(min(asked, self._patience.longest_s))
        raise ClusterAway(f"{method} {path}: no use after {self._patience.tries} tries ({why}); try again later")


def _passing(response: httpx.Response) -> bool:
    """Whether it may be another answer in a moment."""
    return _unseen(response) or (response.status_code in _BUSY and not any(words in response.text for words in _FINAL))


def _unseen(response: httpx.Response) -> bool:
    """Whether what is at hand was not so for a policy: its caches follow within milliseconds (docs/admission.md)."""
    return response.status_code in (403, 422) and any(one in response.text for one in _UNSEEN)


def _writing(dry_run: bool) -> dict[str, str]:
    return {"fieldManager": MANAGER} | ({"dryRun": "All"} if dry_run else {})


def _retry_after(response: httpx.Response) -> float:
    with contextlib.suppress(ValueError):
        return float(response.headers.get("Retry-After", "0"))
    return 0.0


def _date_ns(date: str) -> int:
    """A header's time, to the second, as ns since the epoch; 0 when it says none."""
    with contextlib.suppress(ValueError):
        return round(email.utils.parsedate_to_datetime(date).timestamp() * 1e9)
    return 0


def _told(response: httpx.Response) -> str:
    """The status and the API's own words, on one line."""
    try:
        message = str(response.json().get("message", ""))
    except (ValueError, AttributeError):
        message = response.text
    return f"{response.status_code}: {' '.join(message.split())[:500]}"


def _body(response: httpx.Response) -> Object:
    """The object in a good answer; any other as an error that says what to do."""
    if response.is_success:
        body: Object = response.json()
        return body
    asked = f"{response.request.method} {response.request.url.path}: the API server says {_told(response)}"
    status = response.status_code
    if status in (401, 403):
        raise ClusterDenies(
            f"{asked}; grant deployments/rbac (operator.yaml, policy.yaml), or see which admission policy refuses"
        )
    if status == httpx.codes.GONE:
        raise ClusterAway(f"{asked}; the list was too old to go on, try again")
    if status == httpx.codes.CONFLICT:
        raise Clash(f"{asked}; read it again")
    if status == httpx.codes.NOT_FOUND:
        raise ChangedMeanwhile(f"{asked}; it is gone, decide again")
    if status == httpx.codes.TOO_MANY_REQUESTS:
        raise ChangedMeanwhile(f"{asked}; a PodDisruptionBudget forbids it now, decide again later")
    raise ClusterRejects(f"{asked}; correct the manifest")
