"""The operator's own writes on Folds: one status a pass, the finalizer, each of exactly the version that was read.

Called by `reconciling`. In: the API, who we are and by which token, a fence, fault points. Out: the object as it is
stored. Raises Clash when it has moved on, NotLeading when the lease is lost: nothing was written then.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from loomidi.fold.operator.noting import Status
from loomidi.fold.operator.views import UNWRITTEN, View
from loomidi.fold.resources.objects import FINALIZER, moment
from loomidi.ionic.act.kube.api import KubeApi
from loomidi.kit.clock import Clock, SystemClock

_WRITES = (
    *("proposed", "guarded", "approved", "held", "intent", "applied"),
    *("noted", "verified", "undone", "ended", "freed"),
)
# Where a crash is tested: every write calls `fault` with its name right before and right after it.
FAULTS = tuple(f"{name}_{when}" for name in _WRITES for when in ("unwritten", "written"))


@dataclasses.dataclass(frozen=True, slots=True)
class Fence:
    """Who may write, and by which token. `check` raises NotLeading."""

    holder: str = "alone"
    token: int = 0
    check: Callable[[], None] = lambda: None


class Pen:
    """Writes for one holder of the lease."""

    def __init__(
        self,
        api: KubeApi,
        fence: Callable[[], Fence] = Fence,
        *,
        clock: Clock | None = None,
        fault: Callable[[str], None] | None = None,
        told: Callable[[dict[str, Any]], None] | None = None,
        passed: Callable[[dict[str, Any]], bool] | None = None,
    ) -> None:
        """`told`: hears of each Fold as it is stored, before any watch does. `passed`: takes one as it would be stored,
        where it goes on with it at once; False: it is to be written."""
        self._api = api
        self._fence = fence
        self._clock = clock or SystemClock()
        self._fault = fault or _no_fault
        self._told = told or _not_told
        self._passed = passed or _not_passed

    def status(self, view: View, status: Status, name: str, *, passing: bool = False) -> bool:
        """Write it, unless it says what is there already. Returns whether it was written.

        `passing`: nobody is waited for at it, and nothing was touched; it may be written with what follows."""
        if status == view.status and not view.unwritten:
            return False
        if passing and self._passed({**view.obj, "status": status, UNWRITTEN: True}):
            return False
        fence = self._fence()
        lease = {"holder": fence.holder, "token": fence.token, "renewTime": moment(self._clock.now_ns())}
        change = [{"op": "add", "path": "/status", "value": status | {"lease": lease}}]
        self._write(f"{view.path}/status", change, view, name, fence)
        return True

    def check(self) -> None:
        """Raises NotLeading: whoever has work done by a driver asks before."""
        self._fence().check()

    def hold(self, view: View) -> None:
        """Put our finalizer on: it cannot vanish before it is undone."""
        kept = [*(view.metadata.get("finalizers") or ()), FINALIZER]
        self._write(view.path, [_finalizers(kept)], view, "held", self._fence())

    def free(self, view: View) -> None:
        """Take it off."""
        kept = [one for one in view.metadata.get("finalizers") or () if one != FINALIZER]
        self._write(view.path, [_finalizers(kept)], view, "freed", self._fence())

    def _write(self, path: str, operations: list[dict[str, Any]], view: View, name: str, fence: Fence) -> None:
        self._fault(f"{name}_unwritten")
        fence.check()
        self._told(self._api.patch(path, operations, view.metadata["resourceVersion"]))
        self._fault(f"{name}_written")


def _finalizers(kept: list[str]) -> dict[str, Any]:
    return {"op": "add", "path": "/metadata/finalizers", "value": kept}


def _no_fault(name: str) -> None:
    """Nothing crashes here."""


def _not_told(obj: dict[str, Any]) -> None:
    """Nobody listens."""


def _not_passed(_obj: dict[str, Any]) -> bool:
    """Every step is written."""
    return False
