"""The Kubernetes API for who passes over one thing at a time: within one look, what was read is not asked for again.

Called by `fold.operator`. In: as `KubeApi`. Out: the same answers. A look is over with its block or after a second, and
begun anew by a write to anything but a Fold, tried or done: who has changed something sees what it has become, who
clashed reads again. A write to a Fold forgets Folds. Outside of a look nothing is remembered. `look_ahead` begins the
next look beside what its thread does meanwhile, with all that it is told asked for at once. For one thread.
"""

import concurrent.futures
import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import httpx

from loomidi.contracts import LoomidiError
from loomidi.ionic.act.kube.api import KubeApi, Object
from loomidi.kit.clock import Clock

LASTS_S = 1.0  # a pass takes milliseconds; one that had to wait for a busy API looks again
_BESIDE = 4  # requests of a look ahead that are on their way at a time
_FOLDS = "/apis/loomidi.io/"
Key = tuple[str, str | None]  # path and selector; None: one object


class LookingApi(KubeApi):
    """One thread's."""

    def __init__(self, client: httpx.Client, *, clock: Clock | None = None) -> None:
        super().__init__(client, clock=clock)
        self._looking, self._until_ns = False, 0
        self._seen: dict[Key, Any] = {}
        self._ahead_until_ns = 0
        self._ahead: dict[Key, concurrent.futures.Future[Any]] = {}
        self._askers = concurrent.futures.ThreadPoolExecutor(_BESIDE, "look-ahead")

    @contextlib.contextmanager
    def look(self) -> Iterator[None]:
        """While the block runs."""
        self._forget("/")
        self._looking = True
        try:
            yield
        finally:
            self._looking = False
            self._forget("/")

    @property
    def asked(self) -> list[Key]:
        """Everything that this look has seen but Folds."""
        return [key for key in self._seen if not key[0].startswith(_FOLDS)]

    def look_ahead(self, keys: Iterable[Key]) -> None:
        """Ask for these now, for whoever asks for them and has not seen them: after `look_again` that is everybody.

        It lasts as long as any look, from here on. What could not be read is asked for again by whoever needs it."""
        self._ahead_until_ns = self._lasting_ns()
        self._ahead = {key: self._askers.submit(self._fetch, key) for key in keys}

    def look_again(self) -> None:
        """Forget what was seen, but for what was asked for ahead."""
        self._seen.clear()

    def get(self, path: str) -> Object | None:
        """One object, or None when there is none."""
        found: Object | None = self._found((path, None))
        return found

    def items(self, path: str, chosen: str = "") -> list[Object]:
        """All objects of a collection (`chosen`: a label selector)."""
        found: list[Object] = self._found((path, chosen))
        return found

    def _found(self, key: Key) -> Any:
        """As it was seen, as it was asked for ahead, or as it is now."""
        now_ns = self._clock.monotonic_ns()
        if self._seen and now_ns >= self._until_ns:
            self._seen.clear()
        if key in self._seen:
            return self._seen[key]
        coming, until_ns = self._ahead.pop(key, None), self._ahead_until_ns
        if coming is None or now_ns >= until_ns:
            found, until_ns = self._fetch(key), self._lasting_ns()
        else:
            try:
                found = coming.result()
            except (LoomidiError, httpx.HTTPError, ValueError):
                found, until_ns = self._fetch(key), self._lasting_ns()
        if self._looking:
            self._until_ns = until_ns if not self._seen else min(until_ns, self._until_ns)
            self._seen[key] = found
        return found

    def _fetch(self, key: Key) -> Any:
        path, chosen = key
        return super().get(path) if chosen is None else super().items(path, chosen)

    def _lasting_ns(self) -> int:
        return self._clock.monotonic_ns() + round(LASTS_S * 1e9)

    def _forget(self, about: str) -> None:
        """What lies under a path, also what is on its way."""
        self._seen = {key: one for key, one in self._seen.items() if not key[0].startswith(about)}
        self._ahead = {key: one for key, one in self._ahead.items() if not key[0].startswith(about)}

    def _ask(self, method: str, path: str, params: Mapping[str, str], **more: Any) -> httpx.Response:
        if method != "GET" and "dryRun" not in params:
            self._forget(_FOLDS if path.startswith(_FOLDS) else "/")
        return super()._ask(method, path, params, **more)
