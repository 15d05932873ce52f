"""Whatever happens in whatever order, crashes included: after recovering, entries and open plans are the same set."""

import dataclasses
import random

import pytest

from loomidi.contracts import Match, Plan
from loomidi.contracts.ports import Deny
from loomidi.ionic.act import FAULTS, Engine, ShieldDriver
from loomidi.ionic.documents import plan_id
from loomidi.ionic.errors import NotActing
from tests.unit.ionic.acting import SIGNER, Bench, a_bench, approved, plan_for

STEPS = 120
SOURCES = ("203.0.113.1", "203.0.113.2")


class Crash(BaseException):
    """The process ends here; nothing that catches Exception may catch it."""


class Dice:
    """Chooses what happens next, and where the process ends."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.point = ""

    def fault(self, name: str) -> None:
        if name == self.point:
            self.point = ""
            raise Crash(name)


def restarted(bench: Bench, dice: Dice) -> None:
    """A new process: same files, same kernel."""
    driver = ShieldDriver(bench.shield, SIGNER, clock=bench.clock)
    dice.point = ""
    bench.engine = Engine(bench.store, [driver], SIGNER, clock=bench.clock, fault=dice.fault)
    bench.engine.recover()
    bench.engine.adopt(bench.shield)


def fresh_plan(bench: Bench, dice: Dice) -> Plan:
    """Distinct by its time, approvable now."""
    bench.clock.move(1)
    plan = plan_for(dice.random.choice(SOURCES), dice.random.choice(("rate", "drop")))
    now = bench.clock.now_ns()
    plan = dataclasses.replace(plan, created_ns=now, expires_ns=now + 60_000_000_000)
    return dataclasses.replace(plan, id=plan_id(plan))


def something_happens(bench: Bench, dice: Dice) -> None:
    plan = fresh_plan(bench, dice)
    deed = dice.random.choice(("slow", "slow", "fast", "undo", "sleep", "expire", "verify", "by hand", "disarm"))
    leases = [lease.plan_id for lease in bench.engine.open_leases()]
    if deed == "slow":
        bench.engine.carry_out(plan, approved(plan))
    elif deed == "fast":
        bench.engine.receipt_after(bench.engine.act_first(plan, approved(plan)))
    elif deed in ("undo", "verify") and leases:
        getattr(bench.engine, deed)(dice.random.choice(leases))
    elif deed == "sleep":
        bench.clock.sleep(dice.random.choice((1, 59, 120)))
    elif deed == "expire":
        bench.engine.expire_due()
    elif deed == "by hand":
        bench.shield.deny(Deny(Match(dice.random.choice(SOURCES)), "count", 30.0))
    elif deed == "disarm" and dice.random.random() < 0.2:
        bench.shield.disarm()


def unaccounted(bench: Bench) -> set[int]:
    """Rule ids of live entries that no open plan answers for."""
    leased = {lease.inverse["rule_id"] for lease in bench.engine.open_leases()}
    return {state.deny.rule_id for state in bench.shield.entries() if state.live} - leased - {0}


@pytest.mark.parametrize("seed", range(12))
def test_no_entry_is_ever_left_that_nobody_answers_for(seed: int) -> None:
    dice = Dice(seed)
    bench = a_bench(dice.fault)
    for _ in range(STEPS):
        dice.point = dice.random.choice(FAULTS) if dice.random.random() < 0.3 else ""
        try:
            something_happens(bench, dice)
        except Crash:
            restarted(bench, dice)
        except NotActing:
            continue
        assert unaccounted(bench) == set()
    assert bench.store.verify_chain().broken_at is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(12))
def test_in_the_end_everything_is_undone_or_expired_and_nothing_of_ours_is_left(seed: int) -> None:
    dice = Dice(seed)
    bench = a_bench(dice.fault)
    for _ in range(STEPS // 2):
        dice.point = dice.random.choice(FAULTS) if dice.random.random() < 0.3 else ""
        try:
            something_happens(bench, dice)
        except Crash:
            restarted(bench, dice)
        except NotActing:
            continue
    restarted(bench, dice)
    bench.clock.sleep(3600)
    bench.engine.expire_due()
    assert list(bench.store.open_plans()) == []
    assert [state for state in bench.shield.entries() if state.deny.rule_id and state.live] == []
