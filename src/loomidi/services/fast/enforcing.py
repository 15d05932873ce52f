"""Carrying tuning out on one shield: a proposal becomes a plan, is guarded, its inverse is stored, it ends by itself.

Called by `loomidi tune apply` and `undo`. In: a shield, a receipt store, findings and folds of `tuning`. Out: receipts,
one at least for each proposal, also for those that were refused. Mode shadow is the default: nothing is touched.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from loomidi.contracts import FoldSpec, LoomidiError, Mode, Plan, Receipt, Step
from loomidi.contracts.ports import ReceiptStore
from loomidi.contracts.records import Finding
from loomidi.ionic.act import Engine, ThresholdDriver
from loomidi.ionic.decide import DeciderSettings, PlanRefused
from loomidi.kit.clock import Clock, SystemClock
from loomidi.loom.capture.shielding import TableShield
from loomidi.services.folds.planning import decider_over


class Enforcer:
    """4 and 5 on one shield: plans, guards, receipts, and the way back."""

    def __init__(
        self,
        shield: TableShield,
        store: ReceiptStore,
        *,
        mode: Mode = Mode.SHADOW,
        protected: Sequence[str] = (),
        clock: Clock | None = None,
    ) -> None:
        """Settles first what an earlier process has left: what is over is taken back and put on record."""
        clock = clock or SystemClock()
        self._store = store
        self.engine = Engine(store, [ThresholdDriver(shield, clock=clock)], clock=clock)
        self.engine.recover()
        self._decider = decider_over(None, protected, clock, DeciderSettings(mode=mode))

    def carry_out(self, finding: Finding, fold: FoldSpec) -> Receipt:
        """One change, or a receipt that says why not; in mode shadow the receipt says what would have been done."""
        plan = self._decider.plan(finding, fold)
        try:
            approval = self._decider.decide(plan)
            return self.engine.carry_out(plan, approval)
        except PlanRefused as refusal:
            against = [verdict.as_dict() for verdict in refusal.verdicts if verdict.allow is not True]
            return self._refused(plan, {"verdicts": against})
        except LoomidiError as error:
            return self._refused(plan, {"error": f"{type(error).__name__}: {error}"})

    def undo(self, plan_ids: Sequence[str]) -> list[Receipt]:
        """Put back what was in force before each, the newest first; none named: all that are at work here."""
        mine = [lease.plan_id for lease in self.engine.open_leases() if lease.plan and lease.plan.fold.action == "tune"]
        return [self.engine.undo(plan_id) for plan_id in (plan_ids or mine)[::-1]]

    def _refused(self, plan: Plan, detail: Mapping[str, Any]) -> Receipt:
        return self._store.append(plan.id, Step.REFUSED, "none", {}, {**detail, "plan": plan.as_dict()})
