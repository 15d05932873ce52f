"""The state of a plan, read from its receipts alone: what a restart knows.

Called by the engine. In: the receipts of one plan, oldest first. Out: a `Lease`, or None for a plan that never began.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from loomidi.contracts import Plan, Receipt, Step
from loomidi.ionic.act.receipts import BEGUN, OVER
from loomidi.ionic.documents import read_plan


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """A plan that was begun."""

    plan_id: str
    plan: Plan | None  # None when an entry was adopted whose plan nobody wrote down
    target: str  # entity id
    driver: str
    inverse: Mapping[str, Any]
    until_ns: int  # epoch; 0: not known to have been applied
    last: Receipt
    since_ns: int = 0  # epoch, when it was applied; 0: not known to have been
    token: int = 0  # the newest fencing token that was written down for it; 0: of an older version, or adopted

    @property
    def over(self) -> bool:
        """Undone or expired: nothing is left to do, ever."""
        return self.last.step in OVER


def read_lease(receipts: Sequence[Receipt]) -> Lease | None:
    """The lease that these receipts tell of. Raises BadPlan when the stored plan cannot be read."""
    began = next((receipt for receipt in receipts if receipt.step in BEGUN), None)
    if began is None:
        return None
    document = began.detail.get("plan")
    plan = read_plan(document) if document else None
    until_ns = max((int(receipt.detail.get("until_ns", 0)) for receipt in receipts), default=0)
    since_ns = next((receipt.at_ns for receipt in receipts if receipt.step is Step.APPLIED), 0)
    told = [int(receipt.detail.get("token", 0)) for receipt in receipts if receipt.step is Step.EXTENDING]
    token = max(told, default=int(began.inverse.get("token", 0)))
    steps = [receipt for receipt in receipts if receipt.step is not Step.REFUSED]
    last = next((receipt for receipt in steps if receipt.step in OVER), steps[-1])
    target = plan.fold.target if plan else str(began.detail.get("target", ""))
    return Lease(began.plan_id, plan, target, began.driver, began.inverse, until_ns, last, since_ns, token)
