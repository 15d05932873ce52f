"""An engine over a fake data plane, for tests: approved plans, and a clock that is moved by hand."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from loomidi.contracts import Approval, Extension, Match, Mode, Plan, Verdict
from loomidi.contracts.ports import LeaseDriver, ReceiptStore
from loomidi.ionic.act import Engine, MemoryReceipts, ShieldDriver, SqliteReceipts
from loomidi.ionic.approvals import GUARDS, Signer
from loomidi.ionic.documents import extension_of
from loomidi.kit.clock import ManualClock
from loomidi.loom.capture.fake import FakeShield
from tests.unit.ionic.making import NOW_NS, a_clock, a_fold, a_plan

SIGNER = Signer(b"s" * 32)
ALLOWED = (Verdict("floor", "ttl", True, ""),)


def approved(plan: Plan, approver: str = GUARDS) -> Approval:
    return SIGNER.sign(plan, ALLOWED, approver=approver, granted_ns=NOW_NS, expires_ns=plan.expires_ns)


def longer(plan: Plan, until_s: float, now_ns: int = NOW_NS) -> tuple[Extension, Approval]:
    """An extension to so many seconds after the plans' own time, and leave for it."""
    extension = extension_of(plan, NOW_NS + round(until_s * 1e9), now_ns)
    leave = SIGNER.sign(extension, ALLOWED, approver=GUARDS, granted_ns=now_ns, expires_ns=extension.expires_ns)
    return extension, leave


def plan_for(source: str, action: str = "drop", mode: Mode = Mode.GUARDED) -> Plan:
    return a_plan(fold=a_fold(action, match=Match(source=source), target=f"host/{source}"), mode=mode)


@dataclasses.dataclass
class Bench:
    """The engine with everything around it that a test looks at."""

    engine: Engine
    shield: FakeShield
    store: ReceiptStore
    clock: ManualClock

    def carry_out(self, plan: Plan) -> str:
        return self.engine.carry_out(plan, approved(plan)).step.value

    def steps(self, plan: Plan) -> list[str]:
        return [receipt.step.value for receipt in self.store.of(plan.id)]

    def blocked(self) -> list[str]:
        return [state.deny.match.source for state in self.shield.entries() if state.live]


def a_bench(
    fault: Callable[[str], None] | None = None,
    drivers: Callable[[LeaseDriver], list[LeaseDriver]] = lambda shield: [shield],
    folder: Path | None = None,
) -> Bench:
    """In memory, or with store and data plane in files of `folder` that outlive a process."""
    clock = a_clock()
    shield = FakeShield(clock=clock, path=folder / "shield.json" if folder else None)
    store = SqliteReceipts(folder / "receipts.sqlite", clock=clock) if folder else MemoryReceipts(clock=clock)
    driver = ShieldDriver(shield, SIGNER, clock=clock)
    engine = Engine(store, drivers(driver), SIGNER, clock=clock, fault=fault)
    return Bench(engine, shield, store, clock)
