"""The dry run: a driver that does everything but touch something. The plain path, and the default in tests.

Called by the engine. It can do every kind of fold, keeps what it 'did' in memory, and takes it back.
"""

from collections.abc import Mapping
from typing import Any

from loomidi.contracts import Approval, FoldSpec, Plan
from loomidi.ionic.act.drivers.admission import admit
from loomidi.ionic.approvals import Signer, process_signer
from loomidi.ionic.documents import rule_id
from loomidi.kit.clock import Clock, SystemClock


class DryRunDriver:
    """Remembers, and nothing more."""

    name = "dry-run"

    def __init__(self, signer: Signer | None = None, *, clock: Clock | None = None) -> None:
        self._signer = signer or process_signer()
        self._clock = clock or SystemClock()
        self.standing: set[int] = set()  # rule ids of the plans in force

    def check(self, fold: FoldSpec) -> str | None:
        """It can do everything."""
        return None

    def inverse(self, fold: FoldSpec) -> Mapping[str, Any]:
        """Forgetting. The engine adds the rule id of the plan."""
        return {"target": fold.target}

    def apply(self, plan: Plan, approval: Approval) -> Mapping[str, Any]:
        """Remember the plan."""
        admit(plan, approval, self._signer, self._clock.now_ns())
        self.standing.add(rule_id(plan.id))
        return {"dry_run": True, "manifest": dict(plan.fold.manifest)}

    def verify(self, plan: Plan) -> Mapping[str, Any]:
        """Whether it is remembered."""
        return {"holds": rule_id(plan.id) in self.standing}

    def undo(self, inverse: Mapping[str, Any]) -> Mapping[str, Any]:
        """Forget it."""
        self.standing.discard(inverse["rule_id"])
        return {"undone": True}
