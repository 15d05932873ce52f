"""The engine: carries approved plans out, one lease each, and settles what a crash has left.

Called by `services` (both lanes). In: plans with approvals, a receipt store, drivers. Out: receipts. The slow lane
writes ahead: the inverse is on disk before the first effect. In the fast lane the entry with its TTL, which ends in
the kernel whatever becomes of us, is the record before, and the receipt follows right after (`act_first`, then
`receipt_after`; after a crash, `adopt`). Deciding is left to `decide`, doing to the drivers.
"""

import dataclasses
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from loomidi.contracts import Approval, FoldSpec, LoomidiError, Mode, Plan, Receipt, Step, content_id
from loomidi.contracts.ports import Driver, ReceiptStore, Shield
from loomidi.ionic.act.drivers.admission import admit
from loomidi.ionic.act.leases import Lease, read_lease
from loomidi.ionic.approvals import Signer, process_signer
from loomidi.ionic.documents import rule_id
from loomidi.ionic.errors import NotActing
from loomidi.kit.clock import Clock, SystemClock

# Where a crash is tested: the engine calls `fault` with each of these names as it passes.
FAULTS = (
    "approved",
    "checked",
    "inverse_known",
    "intent_stored",
    "applied_unrecorded",
    "applied_recorded",
    "verified_unrecorded",
    "verified_recorded",
    "undone_unrecorded",
    "undone_recorded",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Acted:
    """An effect of the fast lane that has no receipt yet."""

    plan: Plan
    approval: Approval
    driver: str
    inverse: Mapping[str, Any]
    detail: Mapping[str, Any]
    until_ns: int  # epoch, when the entry ends by itself


class Engine:
    """Drivers, a store and the leases between them."""

    def __init__(
        self,
        store: ReceiptStore,
        drivers: Sequence[Driver],
        signer: Signer | None = None,
        *,
        clock: Clock | None = None,
        fault: Callable[[str], None] | None = None,
    ) -> None:
        """`drivers`: asked in this order; the first that can do a fold does it. `fault`: for crash tests."""
        self._store = store
        self._drivers = {driver.name: driver for driver in drivers}
        self._signer = signer or process_signer()
        self._clock = clock or SystemClock()
        self._fault = fault or _no_fault
        self._lock = threading.RLock()  # leases and receipts; whoever holds it may wait for the disk
        self._open = {lease.plan_id: lease for lease in map(self._lease, store.open_plans()) if lease}

    # -- the slow lane ------------------------------------------------------------------------------------------

    def carry_out(self, plan: Plan, approval: Approval) -> Receipt:
        """Do what was approved, once: a plan that was begun is not begun again. Returns the plan's last receipt.

        1 the approval verifies   2 a driver can do it   3 the inverse is stored as `intent`   4 apply
        5 the `applied` receipt   6 verify by counters   7 undo when anything after 3 fails (at the TTL: expire_due)

        Raises Refused for 1 and 2. In mode shadow a `refused` receipt says what would have been done.
        """
        with self._lock:
            if (lease := self._lease(plan.id)) is not None:
                return lease.last if lease.over or lease.last.step is not Step.INTENT else self._settle(lease)
            if plan.mode is Mode.SHADOW:
                return self._shadowed(plan, approval)
            # 1 the approval verifies
            admit(plan, approval, self._signer, self._clock.now_ns())
            self._fault("approved")
            # 2 a driver can do it
            driver = self._driver_for(plan.fold)
            self._fault("checked")
            # 3 the inverse is stored before the effect
            lease = self._intend(plan, approval, driver)
            return self._effect(lease, plan, approval, driver)

    def _intend(self, plan: Plan, approval: Approval, driver: Driver) -> Lease:
        inverse = self._inverse(plan, driver)
        self._fault("inverse_known")
        detail = {"plan": plan.as_dict(), "approval": approval.as_dict()}
        receipt = self._store.append(plan.id, Step.INTENT, driver.name, inverse, detail)
        lease = Lease(plan.id, plan, plan.fold.target, driver.name, receipt.inverse, 0, receipt)
        self._open[plan.id] = lease
        self._fault("intent_stored")
        return lease

    def _effect(self, lease: Lease, plan: Plan, approval: Approval, driver: Driver) -> Receipt:
        try:
            # 4 apply
            detail = dict(driver.apply(plan, approval))
            self._fault("applied_unrecorded")
            # 5 the applied receipt
            detail["until_ns"] = self._clock.now_ns() + round(plan.fold.ttl_s * 1e9)
            lease = self._note(lease, Step.APPLIED, detail)
            self._fault("applied_recorded")
            # 6 verify by counters
            return self._verified(lease, driver)
        except Exception as error:
            # 7 undo on failure
            receipt = self._take_back(lease, Step.UNDONE, f"{type(error).__name__}: {error}")
            if not isinstance(error, LoomidiError):
                raise
            return receipt

    # -- the fast lane ------------------------------------------------------------------------------------------

    def act_first(self, plan: Plan, approval: Approval) -> Acted:
        """Apply with no disk before it; `receipt_after` must follow. Raises Refused, or what the driver raises.

        Steps 1, 2 and 4 of `carry_out`; the inverse (3) is known but not stored: the entry's own TTL stands for it.
        It takes no lock of the engine, so it never waits for a receipt that another thread is writing.
        """
        if plan.id in self._open:
            raise NotActing(f"{plan.id} was begun already")
        # 1 the approval verifies: the driver's `apply` does so before its effect, and nothing else happens here
        # 2 a driver can do it
        driver = self._driver_for(plan.fold)
        inverse = self._inverse(plan, driver)
        # 4 apply
        detail = dict(driver.apply(plan, approval))
        until_ns = self._clock.now_ns() + round(plan.fold.ttl_s * 1e9)
        self._fault("applied_unrecorded")
        return Acted(plan, approval, driver.name, inverse, detail | {"until_ns": until_ns}, until_ns)

    def receipt_after(self, acted: Acted) -> Receipt:
        """Write down, durably, what `act_first` did. Twice is once."""
        with self._lock:
            plan = acted.plan
            if (lease := self._lease(plan.id)) is not None:
                return lease.last
            detail = dict(acted.detail) | {"plan": plan.as_dict(), "approval": acted.approval.as_dict(), "lane": "fast"}
            receipt = self._store.append(plan.id, Step.APPLIED, acted.driver, acted.inverse, detail)
            target = plan.fold.target
            self._open[plan.id] = Lease(plan.id, plan, target, acted.driver, acted.inverse, acted.until_ns, receipt)
            self._fault("applied_recorded")
            return receipt

    def adopt(self, shield: Shield) -> list[Receipt]:
        """Receipt the live entries of plans (rule id not 0) that no open plan accounts for: a crash lost theirs."""
        with self._lock:
            known = {rule_id(plan_id) for plan_id in self._open}
            known |= {int(lease.inverse.get("rule_id", 0)) for lease in self._open.values()}
            lost = [state for state in shield.entries() if state.live and state.deny.rule_id not in known | {0}]
            return [self._adopted(f"shield:{shield.name}", state) for state in lost]

    def _adopted(self, driver: str, state: Any) -> Receipt:
        deny = dataclasses.asdict(state.deny)
        plan_id = content_id("adopted", {"driver": driver, "deny": deny, "expires_ns": state.expires_ns})
        inverse = {"match": deny["match"], "before": None, "rule_id": state.deny.rule_id}
        target = f"host/{state.deny.match.source}"
        detail = {"adopted": True, "deny": deny, "target": target, "until_ns": state.expires_ns, "hits": state.hits}
        receipt = self._store.append(plan_id, Step.APPLIED, driver, inverse, detail)
        self._open[plan_id] = Lease(plan_id, None, target, driver, inverse, state.expires_ns, receipt)
        return receipt

    # -- afterwards ---------------------------------------------------------------------------------------------

    def can(self, fold: FoldSpec) -> str | None:
        """None when some driver can do it, else why none can."""
        answers = {driver.name: driver.check(fold) for driver in self._drivers.values()}
        if not answers:
            return "there is no driver"
        return None if None in answers.values() else "; ".join(f"{name}: {why}" for name, why in answers.items())

    def verify(self, plan_id: str) -> Receipt:
        """Measure again whether it holds; what no longer holds is undone. Raises NotActing when it is not at work."""
        with self._lock:
            lease = self._held(plan_id)
            return self._verified(lease, self._driver_of(lease))

    def undo(self, plan_id: str, why: str = "asked to") -> Receipt:
        """Take it back now. A plan that is over stays over: its last receipt is returned."""
        with self._lock:
            lease = self._lease(plan_id)
            if lease is None:
                raise NotActing(f"{plan_id} was never begun; `loomidi receipts` lists those that were")
            return lease.last if lease.over else self._take_back(lease, Step.UNDONE, why)

    def expire_due(self) -> list[Receipt]:
        """Take back every plan whose time is over. Call it about once a second."""
        with self._lock:
            now_ns = self._clock.now_ns()
            due = [lease for lease in self._open.values() if 0 < lease.until_ns <= now_ns]
            return [self._take_back(lease, Step.EXPIRED, "its time is over") for lease in due]

    def recover(self) -> list[Receipt]:
        """Settle every open plan after a restart: applied and recorded, or undone. Returns what was written."""
        with self._lock:
            leases = [lease for lease in map(self._lease, list(self._store.open_plans())) if lease]
            return [self._settle(lease) for lease in leases]

    def active(self) -> Mapping[str, int]:
        """Target entity -> plans at work on it: what the guards' caps count."""
        with self._lock:
            return Counter(lease.target for lease in self._open.values())

    def open_leases(self) -> tuple[Lease, ...]:
        """What is at work now, oldest first."""
        with self._lock:
            return tuple(self._open.values())

    # -- inside -------------------------------------------------------------------------------------------------

    def _settle(self, lease: Lease) -> Receipt:
        """One open plan. Steps, in this order:

        1 its driver is not here: leave it open   2 begun, and nobody knows how far, or a failed undo: undo
        3 its time is over: undo   4 in force: verify, and undo what does not hold
        """
        # 1 no driver
        if lease.driver not in self._drivers:
            return lease.last
        # 2 nobody knows how far
        if lease.last.step in (Step.INTENT, Step.FAILED):
            return self._take_back(lease, Step.UNDONE, "found after a restart, not known to be applied")
        # 3 its time is over
        if lease.until_ns <= self._clock.now_ns():
            return self._take_back(lease, Step.EXPIRED, "found after a restart, its time is over")
        # 4 in force
        try:
            return self._verified(lease, self._drivers[lease.driver]) if lease.plan else lease.last
        except LoomidiError as error:
            return self._take_back(lease, Step.UNDONE, f"found after a restart, cannot be verified: {error}")

    def _verified(self, lease: Lease, driver: Driver) -> Receipt:
        if lease.plan is None:
            return lease.last
        measured = dict(driver.verify(lease.plan))
        self._fault("verified_unrecorded")
        if measured.get("holds") is not True:
            return self._take_back(lease, Step.UNDONE, "it does not hold", measured)
        lease = self._note(lease, Step.VERIFIED, measured)
        self._fault("verified_recorded")
        return lease.last

    def _take_back(self, lease: Lease, step: Step, why: str, measured: Mapping[str, Any] | None = None) -> Receipt:
        """Carry out the stored inverse. When that fails the plan stays open, and `recover` tries again."""
        detail: dict[str, Any] = {"why": why} | dict(measured or {})
        try:
            result = dict(self._driver_of(lease).undo(self._current(lease.inverse)))
        except Exception as error:  # noqa: BLE001 - an undo that breaks must be on record, and is tried again
            return self._note(lease, Step.FAILED, detail | {"error": f"{type(error).__name__}: {error}"}).last
        self._fault("undone_unrecorded")
        done = result.get("undone") is True
        lease = self._note(lease, step if done else Step.FAILED, detail | result)
        self._fault("undone_recorded")
        return lease.last

    def _note(self, lease: Lease, step: Step, detail: Mapping[str, Any]) -> Lease:
        """Append a receipt and keep the lease in step with it."""
        receipt = self._store.append(lease.plan_id, step, lease.driver, lease.inverse, detail)
        until_ns = max(lease.until_ns, int(detail.get("until_ns", 0)))
        lease = dataclasses.replace(lease, until_ns=until_ns, last=receipt)
        if lease.over:
            self._open.pop(lease.plan_id, None)
        else:
            self._open[lease.plan_id] = lease
        return lease

    def _current(self, inverse: Mapping[str, Any]) -> Mapping[str, Any]:
        """The inverse without an entry of ours that it would bring back though its plan is over by now."""
        before = inverse.get("before")
        owner = before.get("rule_id", 0) if isinstance(before, Mapping) else 0
        owners = {lease.inverse.get("rule_id") for lease in self._open.values()}
        return inverse if owner in owners | {0} else dict(inverse) | {"before": None}

    def _inverse(self, plan: Plan, driver: Driver) -> dict[str, Any]:
        return dict(driver.inverse(plan.fold)) | {"rule_id": rule_id(plan.id)}

    def _shadowed(self, plan: Plan, approval: Approval) -> Receipt:
        """Mode shadow: on record what would have been done, and by whom; no driver's `apply` is reached."""
        if told := self._store.of(plan.id):
            return told[-1]
        able = next((name for name, driver in self._drivers.items() if driver.check(plan.fold) is None), "")
        detail = {"why": "mode shadow: nothing was touched", "plan": plan.as_dict(), "approval": approval.as_dict()}
        return self._store.append(plan.id, Step.REFUSED, able or "none", {}, detail)

    def _driver_for(self, fold: FoldSpec) -> Driver:
        for driver in self._drivers.values():
            if driver.check(fold) is None:
                return driver
        raise NotActing(f"no driver can do it: {self.can(fold)}")

    def _driver_of(self, lease: Lease) -> Driver:
        if lease.driver not in self._drivers:
            raise NotActing(
                f"{lease.plan_id} is held by driver {lease.driver}, which is not here; start it and recover"
            )
        return self._drivers[lease.driver]

    def _held(self, plan_id: str) -> Lease:
        lease = self._lease(plan_id)
        if lease is None or lease.over:
            raise NotActing(f"{plan_id} is not at work")
        return lease

    def _lease(self, plan_id: str) -> Lease | None:
        return read_lease(self._store.of(plan_id))


def _no_fault(name: str) -> None:
    """Nothing crashes here."""
