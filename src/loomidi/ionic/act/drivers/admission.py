"""The door of every driver: no effect without an approval that verifies, and none at all in shadow mode.

Called first in each driver's `apply`. In: the plan, its approval, the time. Out: nothing, or a refusal.
"""

from loomidi.contracts import Approval, Mode, Plan
from loomidi.ionic.approvals import GUARDS, Signer
from loomidi.ionic.errors import ApprovalInvalid, NotActing


def admit(plan: Plan, approval: Approval, signer: Signer, now_ns: int) -> None:
    """Raises ApprovalInvalid or NotActing unless this plan may have an effect now. Steps, in this order:

    1 the mode may act at all   2 the approval verifies   3 mode suggest has a person's approval
    """
    # 1 the mode may act
    if plan.mode is Mode.SHADOW:
        raise NotActing(f"{plan.id}: mode shadow plans and records, and touches nothing")
    # 2 the approval verifies
    signer.verify(plan, approval, now_ns)
    # 3 suggest takes a person
    if plan.mode is Mode.SUGGEST and approval.approver == GUARDS:
        raise ApprovalInvalid(f"{plan.id}: mode suggest takes a person's approval")
