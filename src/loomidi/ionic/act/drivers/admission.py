"""The door of every driver: no effect without an approval that verifies, and none at all in shadow mode.

Called first in each driver's `apply`. In: the plan, its approval, the time. Out: nothing, or a refusal.
"""

from loomidi.contracts import Approval, Extension, Mode, Plan
from loomidi.ionic.approvals import GUARDS, Signer
from loomidi.ionic.documents import extension_id
from loomidi.ionic.errors import ApprovalInvalid, NotActing


def admit(plan: Plan, approval: Approval, signer: Signer, now_ns: int) -> None:
    """Raises ApprovalInvalid or NotActing unless this plan may have an effect now. Steps, in this order:

    1 the mode may act at all   2 the approval verifies   3 mode suggest has a person's approval
    """
    _admit(plan, plan, approval, signer, now_ns)


def admit_extension(plan: Plan, extension: Extension, approval: Approval, signer: Signer, now_ns: int) -> None:
    """The same for a later end of this plan. Raises ApprovalInvalid when the extension is of another plan."""
    if extension.plan_id != plan.id or extension.id != extension_id(extension):
        raise ApprovalInvalid(f"{extension.id}: it is not an extension of {plan.id} as it was made")
    _admit(plan, extension, approval, signer, now_ns)


def _admit(plan: Plan, what: Plan | Extension, approval: Approval, signer: Signer, now_ns: int) -> None:
    # 1 the mode may act
    if plan.mode is Mode.SHADOW:
        raise NotActing(f"{plan.id}: mode shadow plans and records, and touches nothing")
    # 2 the approval verifies
    signer.verify(what, approval, now_ns)
    # 3 suggest takes a person
    if plan.mode is Mode.SUGGEST and approval.approver == GUARDS:
        raise ApprovalInvalid(f"{plan.id}: mode suggest takes a person's approval")
