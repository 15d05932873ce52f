"""Which of several replicas acts: a Lease of coordination.k8s.io, renewed by its holder, taken when it was not.

Called by `running`. In: the API, a name for this replica. Out: a `Fence` that every write asks. Whether another's lease
has run out is judged by how long it was not renewed under our own eyes, so clocks need not agree. The token is the
version of the write that took the lease: the API server hands out no smaller one later, also not after a deletion.
"""

import dataclasses
import threading
from typing import Any

from loomidi.contracts import LoomidiError
from loomidi.fold.operator.errors import NotLeading
from loomidi.fold.operator.writing import Fence
from loomidi.fold.resources.objects import moment
from loomidi.ionic.act.kube.api import KubeApi
from loomidi.ionic.errors import Clash
from loomidi.kit.clock import Clock, SystemClock
from loomidi.kit.logging import logger

Object = dict[str, Any]
_LOG = logger("fold.operator")
_PATH = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"


@dataclasses.dataclass(frozen=True, slots=True)
class LeaseSettings:
    """Where the lease lies and how long it holds."""

    namespace: str = "loomidi-system"
    # Of the Lease object; what the operator runs in.
    name: str = "loomidi-operator"
    # Replicas that shall take turns give the same.
    lasts_s: float = 15.0
    # Without a renewal another may take it; its holder stops writing at two thirds.
    renewed_s: float = 5.0
    # Between two renewals, or two looks of who waits.
    again_s: float = 1.0
    # After a try that failed: a holder has several before it must stop writing, not two.


class Leadership:
    """One replica's part in it."""

    def __init__(
        self, api: KubeApi, holder: str, settings: LeaseSettings | None = None, *, clock: Clock | None = None
    ) -> None:
        self.holder = holder
        self._api = api
        self._settings = settings or LeaseSettings()
        self._clock = clock or SystemClock()
        self._token, self._renewed_ns = 0, 0  # monotonic; 0: not ours
        self._seen: tuple[str, int] = ("", 0)  # version of another's lease, when it was first seen so
        self.wait_s = 0.0  # before the next try
        self.known = False  # whether the API has answered yet, ours or another's

    @property
    def leading(self) -> bool:
        """Whether it is ours and fresh."""
        fresh_ns = self._settings.lasts_s * 1e9 * 2 / 3
        return self._token > 0 and self._clock.monotonic_ns() - self._renewed_ns < fresh_ns

    def fence(self) -> Fence:
        """For writes under the token that we have now."""
        token = self._token
        return Fence(self.holder, token, lambda: self._check(token))

    def keep(self, stop: threading.Event) -> None:
        """Take it or renew it until told to stop, then let go of it."""
        while not stop.is_set():
            self.tend()
            stop.wait(self.wait_s)
        self.leave()

    def tend(self) -> bool:
        """One try to take or renew. What does not work now is left to the next try."""
        asked_ns, self.wait_s = self._clock.monotonic_ns(), self._settings.again_s
        try:
            taken = self._tended()
        except Clash:
            taken = None
        except LoomidiError as error:  # nobody knows: what we hold ends by itself when it is not renewed in time
            _LOG.warning("the lease could not be asked for", holder=self.holder, error=str(error))
            return self.leading
        self.known, self.wait_s = True, self._settings.renewed_s
        if taken is None:
            self._token = 0
            return False
        ours = self.leading  # once it has lapsed, another may have held it in between
        self._renewed_ns = asked_ns
        self._token = self._token if ours else int(taken["metadata"]["resourceVersion"])
        return True

    def leave(self) -> None:
        """Let another take it at once."""
        ours, self._token = self.leading, 0
        if ours:
            try:
                live = self._api.get(self._place)
                if live is not None and live["spec"].get("holderIdentity") == self.holder:
                    self._put(live, "")
            except LoomidiError:  # it runs out by itself
                return

    @property
    def _place(self) -> str:
        return f"{_PATH.format(self._settings.namespace)}/{self._settings.name}"

    def _tended(self) -> Object | None:
        """The lease as we wrote it; None when it is another's."""
        live = self._api.get(self._place)
        if live is None:
            body = {"metadata": {"name": self._settings.name}, "spec": self._spec(self.holder, 0)}
            return self._api.create(_PATH.format(self._settings.namespace), body)
        holder = live["spec"].get("holderIdentity") or ""
        if holder in ("", self.holder) or self._run_out(live):
            return self._put(live, self.holder)
        return None

    def _run_out(self, live: Object) -> bool:
        version, now_ns = live["metadata"]["resourceVersion"], self._clock.monotonic_ns()
        if self._seen[0] != version:
            self._seen = (version, now_ns)
        lasts_s = float(live["spec"].get("leaseDurationSeconds") or self._settings.lasts_s)
        return now_ns - self._seen[1] >= lasts_s * 1e9

    def _put(self, live: Object, holder: str) -> Object:
        changed = live["spec"].get("holderIdentity") != holder
        spec = self._spec(holder, int(live["spec"].get("leaseTransitions") or 0) + changed)
        operations = [{"op": "add", "path": "/spec", "value": spec}]
        return self._api.patch(self._place, operations, live["metadata"]["resourceVersion"])

    def _spec(self, holder: str, transitions: int) -> Object:
        now = f"{moment(self._clock.now_ns())[:26]}Z"
        return {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, round(self._settings.lasts_s)),
            "renewTime": now,
            "leaseTransitions": transitions,
        }

    def _check(self, token: int) -> None:
        if not self.leading or token != self._token:
            raise NotLeading(f"{self.holder} does not hold the lease {self._settings.name} any more: it stops here")
