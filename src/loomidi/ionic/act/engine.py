"""The engine: carries approved plans out, one lease each, and settles what a crash has left.

Called by `services` (both lanes). In: plans with approvals, a receipt store, drivers. Out: receipts. The slow lane
writes ahead: the inverse is on disk before the first effect, with the fencing token that the driver asks for, so that
of two engines on one target the one that began later wins. In the fast lane the entry with its TTL, which ends in the
kernel whatever becomes of us, is the record before, and the receipt follows (`act_first`, then `receipt_after`; after a
crash, `adopt`). Deciding is left to `decide`, doing to the drivers, taking back to `settling`.
"""

import contextlib
import dataclasses
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from loomidi.contracts import Approval, Extension, FoldSpec, LoomidiError, Match, Mode, Plan, Receipt, Step, content_id
from loomidi.contracts.ports import LeaseDriver, Line, ReceiptStore, Shield
from loomidi.ionic.act.books import Books, Note
from loomidi.ionic.act.drivers.admission import admit
from loomidi.ionic.act.extending import Extender
from loomidi.ionic.act.leases import Lease
from loomidi.ionic.act.settling import End, Settler
from loomidi.ionic.approvals import Signer, process_signer
from loomidi.ionic.documents import rule_id
from loomidi.ionic.errors import ApprovalInvalid, Fenced, NotActing
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
    "extending_stored",
    "extended_unrecorded",
    "extended_recorded",
    "undone_unrecorded",
    "undone_recorded",
)
BATCH = 256  # plans by one wait for the disk: as many may have to be taken back after a crash
LONGEST_S = 3600.0  # that a plan may be in force with all its extensions, unless policy sets another bound


@dataclasses.dataclass(frozen=True, slots=True)
class Acted:
    """An effect of the fast lane that has no receipt yet."""

    plan: Plan
    approval: Approval
    driver: str
    inverse: Mapping[str, Any]
    detail: Mapping[str, Any]
    until_ns: int  # epoch, when the entry ends by itself


@dataclasses.dataclass(slots=True)
class _Task:
    """One plan on its way through `carry_out_all`; what it has become so far."""

    plan: Plan
    approval: Approval
    driver: LeaseDriver | None = None
    inverse: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    lease: Lease | None = None
    detail: dict[str, Any] = dataclasses.field(default_factory=dict)
    error: Exception | None = None  # after the intent: it is taken back for this
    end: End | None = None  # it does not hold
    answer: Receipt | Exception | None = None  # set: nothing more is to be done for it


class Engine:
    """Drivers, a store and the leases between them."""

    def __init__(
        self,
        store: ReceiptStore,
        drivers: Sequence[LeaseDriver],
        signer: Signer | None = None,
        *,
        clock: Clock | None = None,
        longest_s: float = LONGEST_S,
        fault: Callable[[str], None] | None = None,
    ) -> None:
        """`drivers`: asked in this order; the first that can do a fold does it. `fault`: for crash tests."""
        self._store = store
        self._drivers = {driver.name: driver for driver in drivers}
        self._signer = signer or process_signer()
        self._clock = clock or SystemClock()
        self._fault = fault or _no_fault
        self._lock = threading.RLock()  # leases and receipts; whoever holds it may wait for the disk
        self._books = Books(store, self._clock)
        self._settler = Settler(self._books, self._drivers, self._clock, self._fault)
        self._extender = Extender(self._books, self._settler, self._signer, self._clock, longest_s, self._fault)
        self.refused: Counter[str] = self._extender.refused  # by reason: what was asked for here and not done
        for lease in self._books.open.values():
            if lease.driver in self._drivers:
                self._drivers[lease.driver].at_least(lease.token)

    # -- the slow lane ------------------------------------------------------------------------------------------

    def carry_out(self, plan: Plan, approval: Approval) -> Receipt:
        """Do what was approved, once: a plan that was begun is not begun again. Returns the plan's last receipt.

        Steps as in `carry_out_all`. Raises Refused for 1 and 2. In mode shadow a `refused` receipt says what would
        have been done.
        """
        (answer,) = self.carry_out_all([(plan, approval)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def carry_out_all(self, approved: Sequence[tuple[Plan, Approval]]) -> list[Receipt | Exception]:
        """The same for many, whose receipts are written together. Of each its last receipt, or what was raised for it.

        1 the approval verifies   2 a driver can do it   3 the inverse is stored as `intent`   4 apply
        5 the `applied` receipt   6 verify by counters   7 undo when anything after 3 fails (at the TTL: expire_due)

        Plans on one target or match go one after the other: the inverse of each is drawn after the effect of the last.
        """
        tasks = [_Task(plan, approval) for plan, approval in approved]
        for wave in _waves(tasks):
            with self._lock:
                self._carry(wave)
        return [task.answer for task in tasks if task.answer is not None]

    def _carry(self, tasks: Sequence[_Task]) -> None:
        """Each step for all of them before the next one; the fast lane waits for none of this."""
        # 1 the approval verifies, 2 a driver can do it
        for task in tasks:
            self._prepare(task)
        # 3 the inverses are stored before the effects
        self._intend([task for task in tasks if task.answer is None])
        begun = [task for task in tasks if task.answer is None]
        # 4 apply
        for task in begun:
            self._apply(task)
        # 5 the applied receipts
        self._record([task for task in begun if task.error is None])
        # 6 verify by counters
        self._verify([task for task in begun if task.error is None and task.answer is None])
        # 7 undo on failure
        self._give_up([task for task in begun if task.error is not None or task.end is not None])

    def _prepare(self, task: _Task) -> None:
        plan, approval = task.plan, task.approval
        try:
            if (lease := self._books.read(plan.id)) is not None:
                settled = lease.over or lease.last.step is not Step.INTENT
                task.answer = lease.last if settled else self._settler.settle([lease])[0]
            elif plan.mode is Mode.SHADOW:
                self.refused["shadow"] += 1
                task.answer = self._shadowed(plan, approval)
            else:
                # 1 the approval verifies
                admit(plan, approval, self._signer, self._clock.now_ns())
                self._fault("approved")
                # 2 a driver can do it
                task.driver = self._driver_for(plan.fold)
                self._fault("checked")
                task.inverse = self._inverse(plan, task.driver)
                self._fault("inverse_known")
        except Exception as error:  # noqa: BLE001 - told to whoever asked for this plan; the others go on
            self.refused[_reason(error)] += 1
            task.answer = error

    def _intend(self, tasks: Sequence[_Task]) -> None:
        lines = [
            Line(task.plan.id, Step.INTENT, _name(task), task.inverse, _about(task.plan, task.approval))
            for task in tasks
        ]
        for task, receipt in zip(tasks, self._books.begin(lines) if lines else (), strict=True):
            if isinstance(receipt, Exception):
                task.answer = receipt
                continue
            token = int(receipt.inverse.get("token", 0))
            target, driver = task.plan.fold.target, _name(task)
            lease = Lease(task.plan.id, task.plan, target, driver, receipt.inverse, 0, receipt, 0, token)
            task.lease = self._books.keep(lease)
            self._fault("intent_stored")

    def _apply(self, task: _Task) -> None:
        assert task.driver is not None
        assert task.lease is not None
        try:
            task.detail = dict(task.driver.apply(task.plan, task.approval, task.lease.token))
            self._fault("applied_unrecorded")
            task.detail["until_ns"] = self._clock.now_ns() + round(task.plan.fold.ttl_s * 1e9)
        except Exception as error:  # noqa: BLE001 - it is taken back, put on record and told
            task.error = error

    def _record(self, tasks: Sequence[_Task]) -> None:
        try:
            leases = self._books.note_all([Note(_held(task), Step.APPLIED, task.detail) for task in tasks])
        except Exception as error:  # noqa: BLE001 - what is not on record does not stand
            for task in tasks:
                task.error = error
            return
        for task, lease in zip(tasks, leases, strict=True):
            task.lease, task.answer = lease, lease.last if lease.over else None
            self._fault("applied_recorded")

    def _verify(self, tasks: Sequence[_Task]) -> None:
        for task, found in zip(tasks, self._settler.verify_all([_held(task) for task in tasks]), strict=True):
            if isinstance(found, Exception):
                task.error = found
            elif isinstance(found, End):
                task.end = found
            else:
                task.answer = found.last

    def _give_up(self, tasks: Sequence[_Task]) -> None:
        """Each is taken back; an error that is not ours is told as well, after that."""
        for task in tasks:
            if isinstance(task.error, Fenced):
                self._fenced(task, task.error)
        why = [f"{type(task.error).__name__}: {task.error}" for task in tasks]
        ends = [task.end or End(_held(task), Step.UNDONE, text) for task, text in zip(tasks, why, strict=True)]
        try:
            receipts = self._settler.take_back(ends)
        except Exception as error:  # noqa: BLE001 - taken back, but not on record: it stays open, and recover tries again
            for task in tasks:
                task.answer = task.error or error
            return
        for task, receipt in zip(tasks, receipts, strict=True):
            task.answer = receipt
            if task.error is not None and not isinstance(task.error, LoomidiError):
                task.answer = task.error

    def _fenced(self, task: _Task, error: Fenced) -> None:
        self.refused["fenced"] += 1
        detail = {"why": str(error), "reason": "fenced", "token": error.token, "newest": error.newest}
        with contextlib.suppress(LoomidiError):  # a store that cannot take it says so to the end that follows as well
            self._books.refuse(_held(task), detail)

    def extend(self, extension: Extension, approval: Approval) -> Receipt:
        """Give a plan at work a later end, once by the extension's id. Returns the `extended` or `refused` receipt.

        Steps in `extending`. Raises NotActing for a plan that is not at work, ApprovalInvalid.
        """
        with self._lock:
            return self._extender.extend(extension, approval)

    # -- the fast lane ------------------------------------------------------------------------------------------

    def act_first(self, plan: Plan, approval: Approval) -> Acted:
        """Apply with no disk before it; `receipt_after` must follow. Raises Refused, or what the driver raises.

        Steps 1, 2 and 4 of `carry_out`; the inverse (3) is known but not stored: the entry's own TTL stands for it.
        It takes no lock of the engine, so it never waits for a receipt that another thread is writing.
        """
        if plan.id in self._books.open:
            raise NotActing(f"{plan.id} was begun already")
        # 1 the approval verifies: the driver's `apply` does so before its effect, and nothing else happens here
        # 2 a driver can do it
        driver = self._driver_for(plan.fold)
        inverse = self._inverse(plan, driver)
        # 4 apply
        detail = dict(driver.apply(plan, approval, inverse["token"]))
        until_ns = self._clock.now_ns() + round(plan.fold.ttl_s * 1e9)
        self._fault("applied_unrecorded")
        return Acted(plan, approval, driver.name, inverse, detail | {"until_ns": until_ns}, until_ns)

    def receipt_after(self, acted: Acted) -> Receipt:
        """Write down, durably, what `act_first` did. Twice is once."""
        with self._lock:
            plan = acted.plan
            if (lease := self._books.read(plan.id)) is not None:
                return lease.last
            detail = dict(acted.detail) | _about(plan, acted.approval) | {"lane": "fast"}
            receipt = self._store.append(plan.id, Step.APPLIED, acted.driver, acted.inverse, detail)
            about = (plan.id, plan, plan.fold.target, acted.driver, acted.inverse, acted.until_ns)
            self._books.keep(Lease(*about, receipt, receipt.at_ns, int(acted.inverse.get("token", 0))))
            self._fault("applied_recorded")
            return receipt

    def adopt(self, shield: Shield) -> list[Receipt]:
        """Receipt the live entries of plans (rule id not 0) that no open plan accounts for: a crash lost theirs."""
        with self._lock:
            known = {rule_id(plan_id) for plan_id in self._books.open}
            known |= {int(lease.inverse.get("rule_id", 0)) for lease in self._books.open.values()}
            lost = [state for state in shield.entries() if state.live and state.deny.rule_id not in known | {0}]
            return [self._adopted(f"shield:{shield.name}", state) for state in lost]

    def _adopted(self, driver: str, state: Any) -> Receipt:
        deny = dataclasses.asdict(state.deny)
        plan_id = content_id("adopted", {"driver": driver, "deny": deny, "expires_ns": state.expires_ns})
        inverse = {"match": deny["match"], "before": None, "rule_id": state.deny.rule_id}
        target = f"host/{state.deny.match.source}"
        detail = {"adopted": True, "deny": deny, "target": target, "until_ns": state.expires_ns, "hits": state.hits}
        receipt = self._store.append(plan_id, Step.APPLIED, driver, inverse, detail)
        self._books.keep(Lease(plan_id, None, target, driver, inverse, state.expires_ns, receipt, receipt.at_ns))
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
            lease = self._books.read(plan_id)
            if lease is None or lease.over:
                raise NotActing(f"{plan_id} is not at work")
            return self._settler.verify(lease)

    def undo(self, plan_id: str, why: str = "asked to") -> Receipt:
        """Take it back now. A plan that is over stays over: its last receipt is returned."""
        return self.undo_all([plan_id], why)[0]

    def undo_all(self, plan_ids: Sequence[str], why: str = "asked to") -> list[Receipt]:
        """The same for many, whose receipts are written together. Raises NotActing for one that was never begun."""
        with self._lock:
            found = [(one, self._books.open.get(one) or self._books.read(one)) for one in dict.fromkeys(plan_ids)]
            for plan_id, lease in found:
                if lease is None:
                    raise NotActing(f"{plan_id} was never begun; `loomidi receipts` lists those that were")
            leases = {plan_id: lease for plan_id, lease in found if lease is not None}
            last = {plan_id: lease.last for plan_id, lease in leases.items()}
            ends = [End(lease, Step.UNDONE, why) for lease in leases.values() if not lease.over]
            for batch in _batches(ends):
                last |= {receipt.plan_id: receipt for receipt in self._settler.take_back(batch)}
            return [last[plan_id] for plan_id in plan_ids]

    def expire_due(self) -> list[Receipt]:
        """Take back every plan whose time is over. Call it about once a second."""
        with self._lock:
            due = [End(lease, Step.EXPIRED, "its time is over") for lease in self._books.due()]
            return [receipt for batch in _batches(due) for receipt in self._settler.take_back(batch)]

    def recover(self) -> list[Receipt]:
        """Settle every open plan after a restart: applied and recorded, or undone. Returns what was written."""
        with self._lock:
            return [receipt for batch in _batches(self._books.stored()) for receipt in self._settler.settle(batch)]

    def active(self) -> Mapping[str, int]:
        """Target entity -> plans at work on it: what the guards' caps count."""
        with self._lock:
            return Counter(lease.target for lease in self._books.open.values())

    def open_leases(self) -> tuple[Lease, ...]:
        """What is at work now, oldest first."""
        with self._lock:
            return tuple(self._books.open.values())

    # -- inside -------------------------------------------------------------------------------------------------

    def _inverse(self, plan: Plan, driver: LeaseDriver) -> dict[str, Any]:
        """The token is taken first: who acts on the target after this has a newer one, and this plan is refused."""
        token = driver.token()
        marks = {"plan_id": plan.id, "rule_id": rule_id(plan.id), "target": plan.fold.target, "token": token}
        return dict(driver.inverse(plan.fold)) | marks

    def _shadowed(self, plan: Plan, approval: Approval) -> Receipt:
        """Mode shadow: on record what would have been done, and by whom; no driver's `apply` is reached."""
        if told := self._store.of(plan.id):
            return told[-1]
        able = next((name for name, driver in self._drivers.items() if driver.check(plan.fold) is None), "")
        detail = {"why": "mode shadow: nothing was touched"} | _about(plan, approval)
        return self._store.append(plan.id, Step.REFUSED, able or "none", {}, detail)

    def _driver_for(self, fold: FoldSpec) -> LeaseDriver:
        for driver in self._drivers.values():
            if driver.check(fold) is None:
                return driver
        raise NotActing(f"no driver can do it: {self.can(fold)}")


def _about(plan: Plan, approval: Approval) -> dict[str, Any]:
    return {"plan": plan.as_dict(), "approval": approval.as_dict()}


def _name(task: _Task) -> str:
    assert task.driver is not None
    return task.driver.name


def _held(task: _Task) -> Lease:
    assert task.lease is not None
    return task.lease


def _reason(error: Exception) -> str:
    """One of few words, for counters."""
    kinds = ((ApprovalInvalid, "approval"), (Fenced, "fenced"), (NotActing, "no-driver"))
    return next((word for kind, word in kinds if isinstance(error, kind)), "failed")


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for at in range(0, len(items), BATCH):
        yield items[at : at + BATCH]


def _waves(tasks: Sequence[_Task]) -> Iterator[list[_Task]]:
    """Together those that have nothing in common, in the order in which they came where they have."""
    left = list(tasks)
    while left:
        wave, later, taken = list[_Task](), list[_Task](), set[object]()
        for task in left:
            fold = task.plan.fold
            keys = {task.plan.id, fold.target} | ({fold.match} if fold.match != Match() else set())
            (later if taken & keys or len(wave) == BATCH else wave).append(task)
            taken |= keys
        yield wave
        left = later


def _no_fault(name: str) -> None:
    """Nothing crashes here."""
