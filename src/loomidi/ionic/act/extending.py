"""A later end for a plan at work.

Called by the engine, under its lock. In: an extension with an approval of its own, since the plan's opens nothing but
what was judged. Out: `extending` on disk before the end moves, `extended` after it, or `refused` with its reason. How
long a plan may last in all is a bound that policy sets. When a crash comes between, the end that is on record counts.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence

from loomidi.contracts import Approval, Extension, LoomidiError, Receipt, Step
from loomidi.ionic.act.books import Books
from loomidi.ionic.act.drivers.admission import admit_extension
from loomidi.ionic.act.leases import Lease
from loomidi.ionic.act.settling import Settler
from loomidi.ionic.approvals import Signer
from loomidi.ionic.errors import ApprovalInvalid, Fenced, NotActing
from loomidi.kit.clock import Clock

_IN_FORCE = (Step.APPLIED, Step.VERIFIED, Step.EXTENDING, Step.EXTENDED)


@dataclasses.dataclass(frozen=True, slots=True)
class Extender:
    """Of one engine."""

    books: Books
    settler: Settler
    signer: Signer
    clock: Clock
    longest_s: float  # from `applied` to the last end
    fault: Callable[[str], None]
    refused: Counter[str] = dataclasses.field(default_factory=Counter)  # by reason

    def extend(self, extension: Extension, approval: Approval) -> Receipt:
        """Steps, in this order:

        1 answered before: the same answer   2 at work   3 the approval verifies   4 within its bounds
        5 `extending` is stored, with a token of its own   6 the driver moves the end   7 `extended`
        """
        # 1 answered before
        if answered := _answered(self.books.told(extension.plan_id), extension.id):
            return answered
        # 2 at work
        lease = self.books.read(extension.plan_id)
        if lease is None or lease.over:
            raise NotActing(f"{extension.plan_id} is not at work: there is nothing to extend")
        if lease.plan is None:
            raise NotActing(f"{extension.plan_id} was adopted and its plan is not known; let it end, and decide anew")
        # 3 the approval verifies
        try:
            admit_extension(lease.plan, extension, approval, self.signer, self.clock.now_ns())
        except ApprovalInvalid:
            self.refused["approval"] += 1
            raise
        # 4 within its bounds
        if refusal := self._refusal(lease, extension):
            return self._refuse(lease, extension, *refusal)
        # 5 extending is stored
        driver = self.settler.driver_of(lease)
        token = driver.token()
        told = {"extension": extension.as_dict(), "approval": approval.as_dict(), "token": token}
        lease = self.books.note(lease, Step.EXTENDING, told)
        if lease.over or lease.plan is None:
            return lease.last
        self.fault("extending_stored")
        # 6 the driver moves the end
        try:
            detail = dict(driver.extend(lease.plan, extension, approval, token))
        except LoomidiError as error:
            reason = "fenced" if isinstance(error, Fenced) else "driver"
            return self._refuse(lease, extension, reason, f"{type(error).__name__}: {error}")
        self.fault("extended_unrecorded")
        # 7 extended
        detail |= {"extension": extension.as_dict(), "until_ns": extension.until_ns}
        lease = self.books.note(lease, Step.EXTENDED, detail)
        self.fault("extended_recorded")
        return lease.last

    def _refusal(self, lease: Lease, extension: Extension) -> tuple[str, str] | None:
        """Reason and words, or None."""
        if lease.last.step not in _IN_FORCE or lease.until_ns <= self.clock.now_ns():
            return "not-in-force", "it is not known to be in force now; let it be settled, and decide anew"
        if extension.until_ns <= lease.until_ns:
            return "not-later", "its end is not later than the one that it has"
        began_ns = min(lease.since_ns, self.clock.now_ns())  # a clock that was set back lends nothing
        if extension.until_ns - began_ns > self.longest_s * 1e9:
            lasts = (extension.until_ns - began_ns) / 1e9
            return "too-long", f"it would last {lasts:.0f} s in all, and {self.longest_s:.0f} s are the most; plan anew"
        return None

    def _refuse(self, lease: Lease, extension: Extension, reason: str, why: str) -> Receipt:
        self.refused[reason] += 1
        return self.books.refuse(lease, {"extension": extension.as_dict(), "reason": reason, "why": why})


def _answered(receipts: Sequence[Receipt], extension_id: str) -> Receipt | None:
    ends = (Step.EXTENDED, Step.REFUSED)
    ours = [one for one in receipts if one.detail.get("extension", {}).get("id") == extension_id and one.step in ends]
    return ours[-1] if ours else None
