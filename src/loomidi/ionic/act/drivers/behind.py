"""A driver that has no fence of its own, behind one: how the engine drives what an operator's Lease fences elsewhere.

Called by the engine where it carries plans out on a cluster by itself, with `KubeDriver` inside. In and out: as the
driver within. An effect on a cluster has no end of its own: who holds the lease takes it back, so that a later end
changes nothing there, and `extend` only looks whether the effect is in force.
"""

from collections.abc import Mapping
from typing import Any

from loomidi.contracts import Approval, Extension, FoldSpec, Plan
from loomidi.contracts.ports import Driver
from loomidi.ionic.act.drivers.admission import admit_extension
from loomidi.ionic.act.fencing import Fence, Tokens
from loomidi.ionic.approvals import Signer, process_signer
from loomidi.ionic.errors import NotActing
from loomidi.kit.clock import Clock, SystemClock


class BehindFence(Tokens):
    """One driver and the fence before it."""

    def __init__(
        self,
        driver: Driver,
        signer: Signer | None = None,
        *,
        clock: Clock | None = None,
        fence: Fence | None = None,
    ) -> None:
        """`fence`: one file for all processes of this machine that act there; by default this driver's alone."""
        self.name = driver.name
        self.fence = fence or Fence()
        self._driver = driver
        self._signer = signer or process_signer()
        self._clock = clock or SystemClock()

    def check(self, fold: FoldSpec) -> str | None:
        """As the driver within."""
        return self._driver.check(fold)

    def inverse(self, fold: FoldSpec) -> Mapping[str, Any]:
        """As the driver within."""
        return self._driver.inverse(fold)

    def apply(self, plan: Plan, approval: Approval, token: int = 0) -> Mapping[str, Any]:
        """As the driver within. Raises Fenced when somebody acts on the target since `token`."""
        with self.fence.passing(plan.fold.target, token or self.token()):
            return self._driver.apply(plan, approval)

    def extend(self, plan: Plan, extension: Extension, approval: Approval, token: int) -> Mapping[str, Any]:
        """Look whether it is in force. Raises NotActing, Fenced."""
        admit_extension(plan, extension, approval, self._signer, self._clock.now_ns())
        with self.fence.passing(plan.fold.target, token):
            found = self._driver.verify(plan)
            if found.get("holds") is not True:
                raise NotActing(f"{plan.id} is not in force on {self.name}: there is nothing to extend")
        return found

    def verify(self, plan: Plan) -> Mapping[str, Any]:
        """As the driver within."""
        return self._driver.verify(plan)

    def undo(self, inverse: Mapping[str, Any]) -> Mapping[str, Any]:
        """As the driver within; nothing that was begun under its token can have an effect from here on."""
        with self.fence.closing(inverse.get("target", ""), inverse.get("token", 0)):
            return self._driver.undo(inverse)
