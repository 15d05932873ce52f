"""The Kubernetes API for who passes over one thing at a time: within one look, what was read is not asked for again.

Called by `fold.operator`. In: as `KubeApi`. Out: the same answers. A look is over with its block or after a second, and
begun anew by a write to anything but a Fold, tried or done: who has changed something sees what it has become, who
clashed reads again. A write to a Fold forgets Folds. Outside of a look nothing is remembered. For one thread.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from loomidi.ionic.act.kube.api import KubeApi, Object
from loomidi.kit.clock import Clock

LASTS_S = 1.0  # a pass takes milliseconds; one that had to wait for a busy API looks again
_FOLDS = "/apis/loomidi.io/"


class LookingApi(KubeApi):
    """One thread's."""

    def __init__(self, client: httpx.Client, *, clock: Clock | None = None) -> None:
        super().__init__(client, clock=clock)
        self._looking, self._until_ns = False, 0
        self._seen: dict[tuple[str, str], Any] = {}  # by path and selector

    @contextlib.contextmanager
    def look(self) -> Iterator[None]:
        """While the block runs."""
        self.look_again()
        self._looking = True
        try:
            yield
        finally:
            self._looking = False
            self._seen.clear()

    def look_again(self) -> None:
        """Forget what was seen."""
        self._seen.clear()

    def get(self, path: str) -> Object | None:
        """One object, or None when there is none."""
        if (known := self._known(path)) is not _UNKNOWN:
            found: Object | None = known
            return found
        live = super().get(path)
        self._keep(path, "", live)
        return live

    def items(self, path: str, chosen: str = "") -> list[Object]:
        """All objects of a collection (`chosen`: a label selector)."""
        if (known := self._known(path, chosen)) is not _UNKNOWN:
            found: list[Object] = known
            return found
        live = super().items(path, chosen)
        self._keep(path, chosen, live)
        return live

    def _known(self, path: str, chosen: str = "") -> Any:
        if self._seen and self._clock.monotonic_ns() >= self._until_ns:
            self._seen.clear()
        return self._seen.get((path, chosen), _UNKNOWN)

    def _keep(self, path: str, chosen: str, found: Any) -> None:
        if self._looking:
            if not self._seen:
                self._until_ns = self._clock.monotonic_ns() + round(LASTS_S * 1e9)
            self._seen[path, chosen] = found

    def _ask(self, method: str, path: str, params: Mapping[str, str], **more: Any) -> httpx.Response:
        if method != "GET" and "dryRun" not in params:
            about = _FOLDS if path.startswith(_FOLDS) else "/"
            self._seen = {key: one for key, one in self._seen.items() if not key[0].startswith(about)}
        return super()._ask(method, path, params, **more)


_UNKNOWN = object()
