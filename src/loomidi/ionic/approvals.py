"""Approvals: leave to carry out exactly one plan, signed so that a driver can check it by itself.

Called by `decide` (signs) and `act` (verifies, in the engine and again in the driver). In: a plan and its verdicts.
Out: an `Approval`, or ApprovalInvalid. HMAC-SHA256 protects against a plan that was changed or an approval made up
inside this process's data (queues, files, receipts); it does not protect against code that holds the key. Keys of
people and hardware come with `crypt`.
"""

import dataclasses
import functools
import hashlib
import hmac
import secrets
from collections.abc import Sequence

from loomidi.contracts import Approval, Extension, Plan, Verdict
from loomidi.ionic.documents import canonical, plan_hash
from loomidi.ionic.errors import ApprovalInvalid

GUARDS = "guards"  # the approver when no person was asked
KEY_OCTETS = 32


class Signer:
    """Signs and verifies with one key: random for this process, or configured (32 octets or more)."""

    def __init__(self, key: bytes | None = None) -> None:
        if key is not None and len(key) < KEY_OCTETS:
            raise ValueError(f"the key has {len(key)} octets; give at least {KEY_OCTETS}")
        self._key = key if key is not None else secrets.token_bytes(KEY_OCTETS)

    def sign(
        self, plan: Plan | Extension, verdicts: Sequence[Verdict], *, approver: str, granted_ns: int, expires_ns: int
    ) -> Approval:
        """An approval of this plan or extension as it is now. Judging is the caller's; times are ns since the epoch."""
        unsigned = Approval(plan.id, plan_hash(plan), tuple(verdicts), approver, granted_ns, expires_ns, "")
        return dataclasses.replace(unsigned, signature=self._mac(unsigned))

    def verify(self, plan: Plan | Extension, approval: Approval, now_ns: int) -> None:
        """Raises ApprovalInvalid unless the approval opens this plan now. Steps, in this order:

        1 it was signed with our key   2 it names this plan   3 the plan is unchanged
        4 every verdict allows, and there is one   5 neither approval nor plan has expired
        """
        # 1 signed with our key
        if not hmac.compare_digest(self._mac(approval).encode(), approval.signature.encode()):
            raise ApprovalInvalid(f"{plan.id}: the approval's signature is not ours; decide again")
        # 2 names this plan
        if approval.plan_id != plan.id:
            raise ApprovalInvalid(f"{plan.id}: the approval is for {approval.plan_id}")
        # 3 unchanged
        if not hmac.compare_digest(approval.plan_hash.encode(), plan_hash(plan).encode()):
            raise ApprovalInvalid(f"{plan.id}: the plan was changed after it was approved")
        # 4 every verdict allows
        if not approval.verdicts or any(verdict.allow is not True for verdict in approval.verdicts):
            raise ApprovalInvalid(f"{plan.id}: the approval does not rest on verdicts that all allow")
        # 5 not expired
        if now_ns >= min(approval.expires_ns, plan.expires_ns):
            raise ApprovalInvalid(f"{plan.id}: the approval has expired; decide again")

    def _mac(self, approval: Approval) -> str:
        content = approval.as_dict()
        del content["signature"]
        return hmac.new(self._key, canonical(content), hashlib.sha256).hexdigest()


@functools.cache
def process_signer() -> Signer:
    """The signer of this process, with a key that nobody stored. What decider, engine and drivers use by default."""
    return Signer()
