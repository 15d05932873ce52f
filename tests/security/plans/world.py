"""A model world for the engine: what is in force is known exactly, so that it can be held against the receipts.

Used by `histories`. A fake, for tests only: one entry a target, each with an end by the clock that nobody sets, and a
fence; they outlive the engine, as the kernel does. Its driver breaks where it is told to, and looks at every effect
whether the inverse is on record, the token is newer than all before, and the target may be touched.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from loomidi.contracts import Approval, EnvironmentLacks, Extension, FoldSpec, Plan, Receipt, Step
from loomidi.contracts.ports import Line, ReceiptStore
from loomidi.ionic.act import Fence
from loomidi.ionic.act.drivers.admission import admit, admit_extension
from loomidi.ionic.documents import rule_id
from loomidi.ionic.errors import NotActing
from tests.unit.ionic.acting import SIGNER
from tests.unit.ionic.making import NOW_NS

EMPTY = 1 << 40  # writes that a disk takes before it is full
Entry = tuple[int, int]  # rule id, end by the monotonic clock


class Crash(BaseException):
    """The process ends here; nothing that catches Exception may catch it."""


class JumpingClock:
    """Time of day that somebody sets, beside time that passes."""

    def __init__(self) -> None:
        self.passed_ns, self.off_ns = 0, NOW_NS

    def now_ns(self) -> int:
        return self.passed_ns + self.off_ns

    def monotonic_ns(self) -> int:
        return self.passed_ns

    def sleep(self, seconds: float) -> None:
        self.passed_ns += round(seconds * 1e9)

    def jump(self, seconds: float) -> None:
        self.off_ns += round(seconds * 1e9)


@dataclasses.dataclass
class World:
    """What is in force, and all that ever had an effect."""

    clock: JumpingClock
    protected: frozenset[str]
    fence: Fence = dataclasses.field(default_factory=Fence)
    entries: dict[str, Entry] = dataclasses.field(default_factory=dict)
    effects: Counter[int] = dataclasses.field(default_factory=Counter)  # rule id -> times that it was applied
    newest: dict[str, int] = dataclasses.field(default_factory=dict)  # target -> token of the last effect
    broken: list[str] = dataclasses.field(default_factory=list)  # rules that an effect broke

    def live(self) -> dict[str, int]:
        """Target -> rule id of what is in force."""
        return {name: rule for name, (rule, end) in self.entries.items() if end > self.clock.monotonic_ns()}


class WorldDriver:
    """`contracts.ports.LeaseDriver` over the world. `breaks`: (operation, before or after the effect, error), once."""

    name = "world"

    def __init__(self, world: World, store: ReceiptStore) -> None:
        self.world, self._store = world, store
        self.breaks: tuple[str, str, BaseException] | None = None

    def token(self) -> int:
        return self.world.fence.take()

    def at_least(self, token: int) -> None:
        self.world.fence.at_least(token)

    def check(self, fold: FoldSpec) -> str | None:
        return None

    def inverse(self, fold: FoldSpec) -> Mapping[str, Any]:
        self._break("inverse", "before")
        rule, end = self.world.entries.get(fold.target, (0, 0))
        return {"before": {"rule_id": rule, "end": end} if end > self.world.clock.monotonic_ns() else None}

    def apply(self, plan: Plan, approval: Approval, token: int = 0) -> Mapping[str, Any]:
        admit(plan, approval, SIGNER, self.world.clock.now_ns())
        self._break("apply", "before")
        with self.world.fence.passing(plan.fold.target, token):
            self._look(plan, token, Step.INTENT)
            self.world.effects[rule_id(plan.id)] += 1
            self._put(plan, plan.fold.ttl_s)
        self._break("apply", "after")
        return {}

    def extend(self, plan: Plan, extension: Extension, approval: Approval, token: int) -> Mapping[str, Any]:
        admit_extension(plan, extension, approval, SIGNER, self.world.clock.now_ns())
        self._break("extend", "before")
        with self.world.fence.passing(plan.fold.target, token):
            if self.world.live().get(plan.fold.target) != rule_id(plan.id):
                raise NotActing("not in force")
            self._look(plan, token, Step.EXTENDING)
            self._put(plan, (extension.until_ns - self.world.clock.now_ns()) / 1e9)
        self._break("extend", "after")
        return {}

    def verify(self, plan: Plan) -> Mapping[str, Any]:
        self._break("verify", "before")
        return {"holds": self.world.live().get(plan.fold.target) == rule_id(plan.id)}

    def undo(self, inverse: Mapping[str, Any]) -> Mapping[str, Any]:
        self._break("undo", "before")
        target, before = inverse["target"], inverse["before"]
        with self.world.fence.closing(target, inverse["token"]):
            if self.world.entries.get(target, (0, 0))[0] == inverse["rule_id"]:
                del self.world.entries[target]
                if before:
                    self.world.entries[target] = (before["rule_id"], before["end"])
        self._break("undo", "after")
        return {"undone": True}

    def _put(self, plan: Plan, lasts_s: float) -> None:
        end = self.world.clock.monotonic_ns() + round(lasts_s * 1e9)
        self.world.entries[plan.fold.target] = (rule_id(plan.id), end)

    def _look(self, plan: Plan, token: int, step: Step) -> None:
        """The rules that hold at the moment of an effect."""
        world, target, told = self.world, plan.fold.target, self._store.of(plan.id)
        found = {receipt.step for receipt in told if receipt.inverse.get("rule_id") == rule_id(plan.id)}
        if step not in found or {Step.UNDONE, Step.EXPIRED} & {receipt.step for receipt in told}:
            world.broken.append(f"{plan.id}: an effect while the receipts say {[one.step.value for one in told]}")
        if token <= world.newest.get(target, 0):
            world.broken.append(f"{plan.id}: token {token} after {world.newest[target]} on {target}")
        if target in world.protected:
            world.broken.append(f"{plan.id}: {target} is protected")
        world.newest[target] = token

    def _break(self, operation: str, when: str) -> None:
        if self.breaks and self.breaks[:2] == (operation, when):
            error, self.breaks = self.breaks[2], None
            raise error


class FillingStore:
    """A receipt store whose disk can be full, and whose process can end right before or after a write."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.room, self.dies = inner, EMPTY, ""

    def append(
        self, plan_id: str, step: Step, driver: str, inverse: Mapping[str, Any], detail: Mapping[str, Any]
    ) -> Receipt:
        (receipt,) = self.append_all([Line(plan_id, step, driver, inverse, detail)])
        assert receipt is not None
        return receipt

    def append_all(self, lines: Sequence[Line], *, ended_stays: bool = False) -> list[Receipt | None]:
        self.room -= 1
        if self.room < 0:
            raise EnvironmentLacks("no space left on device")
        dies, self.dies = self.dies, ""
        if dies == "before":
            raise Crash("before the write")
        written: list[Receipt | None] = self.inner.append_all(lines, ended_stays=ended_stays)
        if dies == "after":
            raise Crash("after the write")
        return written

    def of(self, plan_id: str) -> list[Receipt]:
        found: list[Receipt] = self.inner.of(plan_id)
        return found

    def open_plans(self) -> list[str]:
        return list(self.inner.open_plans())
