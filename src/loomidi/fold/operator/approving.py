"""A person's approval: an annotation on the Fold, signed over the plan's hash.

Called by `reconciling`, which reads, and by whoever approves for a person, who writes. In: a plan, an approver, a key.
Out: one annotation an approver, `approval.loomidi.io/NAME`. One that does not verify, or is for another plan, counts
for nothing. The key is shared with the operator until people have keys of their own (`crypt`).
"""

import dataclasses
import json

from loomidi.contracts import Approval, LoomidiError, Plan, Verdict
from loomidi.fold.operator.views import View
from loomidi.ionic.approvals import GUARDS, Signer

PREFIX = "approval.loomidi.io/"
_PERSON = (Verdict("person", "approved", True, "signed by hand"),)


def approval_note(plan: Plan, approver: str, signer: Signer, now_ns: int) -> tuple[str, str]:
    """Name and text of the annotation. It is void when the plan is."""
    signed = signer.sign(plan, _PERSON, approver=approver, granted_ns=now_ns, expires_ns=plan.expires_ns)
    kept = {name: getattr(signed, name) for name in ("plan_id", "plan_hash", "granted_ns", "expires_ns", "signature")}
    return f"{PREFIX}{approver}", json.dumps(kept, sort_keys=True)


def approvals_of(view: View, plan: Plan, signer: Signer, now_ns: int) -> list[Approval]:
    """Those that verify now, by name of the approver."""
    notes = view.metadata.get("annotations") or {}
    told = [(name.removeprefix(PREFIX), text) for name, text in sorted(notes.items()) if name.startswith(PREFIX)]
    return [found for name, text in told if (found := _verified(name, text, plan, signer, now_ns)) is not None]


def _verified(approver: str, text: str, plan: Plan, signer: Signer, now_ns: int) -> Approval | None:
    try:
        approval = Approval(approver=approver, verdicts=_PERSON, **json.loads(text))
        signer.verify(plan, dataclasses.replace(approval), now_ns)
    except (LoomidiError, TypeError, ValueError, AttributeError):
        return None
    return approval if approver and approver != GUARDS else None
