"""The dry run: a driver that does everything but touch something. The plain path, and the default in tests.

Called by the engine. It can do every kind of fold, keeps what it 'did' in memory, and takes it back.
"""

from collections.abc import Mapping
from typing import Any

from loomidi.contracts import Approval, Extension, FoldSpec, Plan
from loomidi.ionic.act.drivers.admission import admit, admit_extension
from loomidi.ionic.act.fencing import Fence, Tokens
from loomidi.ionic.approvals import Signer, process_signer
from loomidi.ionic.documents import rule_id
from loomidi.ionic.errors import NotActing
from loomidi.kit.clock import Clock, SystemClock


class DryRunDriver(Tokens):
    """Remembers, and nothing more."""

    name = "dry-run"

    def __init__(self, signer: Signer | None = None, *, clock: Clock | None = None, fence: Fence | None = None) -> None:
        self.fence = fence or Fence()
        self._signer = signer or process_signer()
        self._clock = clock or SystemClock()
        self.standing: set[int] = set()  # rule ids of the plans in force

    def check(self, fold: FoldSpec) -> str | None:
        """It can do everything."""
        return None

    def inverse(self, fold: FoldSpec) -> Mapping[str, Any]:
        """Forgetting. The engine adds the rule id of the plan."""
        return {"target": fold.target}

    def apply(self, plan: Plan, approval: Approval, token: int = 0) -> Mapping[str, Any]:
        """Remember the plan."""
        admit(plan, approval, self._signer, self._clock.now_ns())
        with self.fence.passing(plan.fold.target, token or self.token()):
            self.standing.add(rule_id(plan.id))
        return {"dry_run": True, "manifest": dict(plan.fold.manifest)}

    def extend(self, plan: Plan, extension: Extension, approval: Approval, token: int) -> Mapping[str, Any]:
        """Look whether it is remembered still. Raises NotActing."""
        admit_extension(plan, extension, approval, self._signer, self._clock.now_ns())
        with self.fence.passing(plan.fold.target, token):
            if rule_id(plan.id) not in self.standing:
                raise NotActing(f"{plan.id} is not in force here: there is nothing to extend")
        return {"dry_run": True}

    def verify(self, plan: Plan) -> Mapping[str, Any]:
        """Whether it is remembered."""
        return {"holds": rule_id(plan.id) in self.standing}

    def undo(self, inverse: Mapping[str, Any]) -> Mapping[str, Any]:
        """Forget it."""
        with self.fence.closing(inverse["target"], inverse.get("token", 0)):
            self.standing.discard(inverse["rule_id"])
        return {"undone": True}
