"""Histories of the engine, drawn from a seed: plans, extensions, two engines, crashes anywhere, a clock that jumps.

Used by `test_plans`, and by hand: `python -m tests.security.plans.histories --seed 7 --plans 100` replays one and tells
what it broke. Each history has a world of its own; after each crash everything is restarted, settled, and compared.
"""

import argparse
import dataclasses
import random
import sys
from collections import Counter
from collections.abc import Callable

from loomidi.contracts import Approval, Plan, Verdict
from loomidi.ionic.act import FAULTS, Engine, MemoryReceipts, SqliteReceipts
from loomidi.ionic.approvals import GUARDS
from loomidi.ionic.documents import extension_of, plan_id, rule_id
from tests.security.plans.world import EMPTY, Crash, FillingStore, JumpingClock, World, WorldDriver
from tests.unit.ionic.acting import ALLOWED, SIGNER, plan_for
from tests.unit.ionic.making import a_decider

SOURCES = tuple(f"203.0.113.{last}" for last in range(1, 9))
SPARED = "203.0.113.250"  # in the protected set
LONGEST_S = 900.0
OPERATIONS = ("inverse", "apply", "verify", "extend", "undo")
DECIDER = a_decider(protected=(SPARED,))
IN_FORCE = {"applied", "verified", "extending", "extended"}


class History:
    """One seed's."""

    def __init__(self, seed: int, store: MemoryReceipts | SqliteReceipts | None = None) -> None:
        self.random = random.Random(seed)
        self.clock = JumpingClock()
        self.kept = store or MemoryReceipts(clock=self.clock)
        self.store = FillingStore(self.kept)
        self.world = World(self.clock, frozenset({f"host/{SPARED}"}))
        self.counts: Counter[str] = Counter()
        self.offered: list[tuple[Plan, Approval]] = []
        self.denied: set[str] = set()  # plans that no guard has allowed
        self.point = ""  # where the process ends next
        self._engines: list[Engine] = []
        self.meanwhile: Callable[[], object] | None = None  # what the other engine does while this one is slow
        self.restart()

    def run(self, plans: int) -> list[str]:
        """Until so many plans were offered; what was broken, in words."""
        while len(self.offered) < plans and not self.broken():
            self._arm()
            try:
                self._step()
            except Crash as crash:
                self.counts[f"crash: {crash}"] += 1
                self.restart()
            except Exception as error:  # noqa: BLE001 - told to whoever asked; the rules hold all the same
                self.counts[type(error).__name__] += 1
            self._unrecorded()
        self.restart()
        self._end()
        return self.broken()

    def restart(self) -> None:
        """New processes over the same world and store; everything is settled, and held against each other."""
        self.point, self.meanwhile, self.store.room, self.store.dies = "", None, EMPTY, ""
        self.undo_breaks = False  # since the last restart
        self.driver, self.other_driver = (WorldDriver(self.world, self.kept) for _ in range(2))
        self.other = Engine(self.store, [self.other_driver], SIGNER, clock=self.clock, longest_s=LONGEST_S)
        self.engine = Engine(
            self.store, [self.driver], SIGNER, clock=self.clock, longest_s=LONGEST_S, fault=self._passing
        )
        self._engines += [self.engine, self.other]
        self.engine.recover()
        self._settled()

    def refused(self) -> Counter[str]:
        """What the engines did not do, by reason."""
        return sum((engine.refused for engine in self._engines), Counter())

    def broken(self) -> list[str]:
        """Rules that do not hold at this moment."""
        told = list(self.world.broken)
        live = self.world.live()
        open_rules = {rule_id(plan) for plan in self.kept.open_plans()}
        told += [f"{target} is in force, and no open plan says so" for target, r in live.items() if r not in open_rules]
        told += [f"rule {rule} was applied {n} times" for rule, n in self.world.effects.items() if n > 1]
        told += [f"{plan}: begun without leave" for plan in self.denied if self._begun(plan)]
        lasts = [end - self.clock.monotonic_ns() for _, end in self.world.entries.values()]
        told += [f"an entry lasts {ns / 1e9:.0f} s" for ns in lasts if ns > LONGEST_S * 1e9]
        return told

    def _settled(self) -> None:
        """After a restart: what is open is in force and on record so, the rest is over, once; the chain is whole."""
        opened = list(self.kept.open_plans())
        last = {plan: [r.step.value for r in self.kept.of(plan) if r.step.value != "refused"][-1] for plan in opened}
        if wrong := {plan: step for plan, step in last.items() if step not in IN_FORCE}:
            self.world.broken.append(f"after a restart, open and not in force: {wrong}")
        if {rule_id(plan) for plan in opened} != set(self.world.live().values()):
            self.world.broken.append(f"after a restart, open: {opened}, in force: {self.world.live()}")
        receipts = self.kept.all()
        ends = Counter(receipt.plan_id for receipt in receipts if receipt.step.value in ("undone", "expired"))
        self.world.broken += [f"{plan} ended {n} times" for plan, n in ends.items() if n > 1]
        if (chain := self.kept.verify_chain()).broken_at is not None:
            self.world.broken.append(f"the chain is broken: {chain.why}")

    def _unrecorded(self) -> None:
        """Without a crash, and with an undo that works, nothing is in force of which only the intent is known."""
        live = set(self.world.live().values()) if not self.undo_breaks else set()
        last = {plan: self.kept.of(plan)[-1].step.value for plan in self.kept.open_plans() if rule_id(plan) in live}
        self.world.broken += [f"{plan} is in force, and only begun" for plan, step in last.items() if step == "intent"]

    def _end(self) -> None:
        """Hours later nothing is open, and nothing is in force."""
        self.clock.sleep(2 * LONGEST_S + 3600)
        self.engine.expire_due()
        if left := [*self.kept.open_plans(), *self.world.live()]:
            self.world.broken.append(f"in the end there is still: {left}")
        self._settled()

    # -- what happens --------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        draw = self.random.random()
        error = self.random.choice((Crash("in the driver"), RuntimeError("a bug"), OSError("the link is gone")))
        if draw < 0.2:
            self.point = self.random.choice(FAULTS)
        elif draw < 0.3:
            self.driver.breaks = (self.random.choice(OPERATIONS), self.random.choice(("before", "after")), error)
            self.undo_breaks |= self.driver.breaks[0] == "undo"
        elif draw < 0.35:
            self.store.dies = self.random.choice(("before", "after"))
        elif draw < 0.4:
            self.meanwhile = self.random.choice((self.other.recover, self._other_acts, self.other.expire_due))
        self.store.room = self.random.randrange(4) if self.random.random() < 0.06 else EMPTY

    def _step(self) -> None:
        deeds = (
            self._one,
            self._one,
            self._many,
            self._extend,
            self._undo,
            self._again,
            self._denied,
            self._other_acts,
        )
        deed = self.random.choice((*deeds, self._time, self.engine.expire_due, self._verify))
        self.counts[deed.__name__.strip("_")] += 1
        deed()

    def _one(self) -> None:
        self.engine.carry_out(*self._plan())

    def _many(self) -> None:
        self.engine.carry_out_all([self._plan() for _ in range(self.random.randrange(2, 9))])

    def _other_acts(self) -> None:
        self.other.carry_out(*self._plan())

    def _again(self) -> None:
        if self.offered:
            self.engine.carry_out(*self.random.choice(self.offered))

    def _denied(self) -> None:
        """A guard that said no, one that did not answer, none at all, a target of the protected set."""
        missing: tuple[Verdict, ...] = (*ALLOWED, Verdict("rego", "ttl", None, "timed out"))
        refused: tuple[Verdict, ...] = (*ALLOWED, Verdict("rego", "ttl", False, "no"))
        spared = self.random.random() < 0.3
        plan = self._new(SPARED if spared else self.random.choice(SOURCES))
        verdicts = DECIDER.judge(plan) if spared else self.random.choice((missing, refused, ()))
        self.denied.add(plan.id)
        self._offer(plan, tuple(verdicts))
        self.engine.carry_out(*self.offered[-1])

    def _extend(self) -> None:
        if leases := self.engine.open_leases():
            plan = self.random.choice(leases).plan
            assert plan is not None
            until_ns = self.clock.now_ns() + round(self.random.choice((1, 400, 800, 1200)) * 1e9)
            extension = extension_of(plan, until_ns, self.clock.now_ns())
            given = {"granted_ns": self.clock.now_ns(), "expires_ns": extension.expires_ns}
            self.engine.extend(extension, SIGNER.sign(extension, ALLOWED, approver=GUARDS, **given))

    def _undo(self) -> None:
        if leases := self.engine.open_leases():
            chosen = self.random.sample(leases, self.random.randrange(1, len(leases) + 1))
            self.engine.undo_all([lease.plan_id for lease in chosen])

    def _verify(self) -> None:
        if leases := self.engine.open_leases():
            self.engine.verify(self.random.choice(leases).plan_id)

    def _time(self) -> None:
        self.clock.sleep(self.random.choice((1, 59, 301)))
        self.clock.jump(self.random.choice((0, 0, -7200, 7200, -40, 40)))

    def _plan(self) -> tuple[Plan, Approval]:
        return self._offer(self._new(self.random.choice(SOURCES)), ALLOWED)

    def _new(self, source: str) -> Plan:
        self.clock.sleep(1e-9)
        plan = plan_for(source, self.random.choice(("rate", "drop")))
        now = self.clock.now_ns()
        # the number of the plan, so that a clock that was set back makes no plan twice
        plan = dataclasses.replace(plan, created_ns=now - len(self.offered), expires_ns=now + 60_000_000_000)
        return dataclasses.replace(plan, id=plan_id(plan))

    def _offer(self, plan: Plan, verdicts: tuple[Verdict, ...]) -> tuple[Plan, Approval]:
        given = {"granted_ns": self.clock.now_ns(), "expires_ns": plan.expires_ns}
        self.offered.append((plan, SIGNER.sign(plan, verdicts, approver=GUARDS, **given)))
        return self.offered[-1]

    def _passing(self, name: str) -> None:
        if name == "intent_stored" and self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        if name == self.point:
            self.point = ""
            raise Crash(f"at {name}")

    def _begun(self, plan: str) -> bool:
        return rule_id(plan) in self.world.effects or any(r.step.value != "refused" for r in self.kept.of(plan))


def main() -> int:
    """Replay one history. Exit code 1 when a rule was broken."""
    parser = argparse.ArgumentParser(description="Replay one history of the engine.")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--plans", type=int, default=100)
    given = parser.parse_args()
    history = History(given.seed)
    broken = history.run(given.plans)
    print(f"seed {given.seed}: {len(history.offered)} plans, {dict(history.counts)}, {dict(history.refused())}")
    print("\n".join(broken) or "every rule holds")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
