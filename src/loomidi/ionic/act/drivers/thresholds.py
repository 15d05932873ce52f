"""The threshold driver: folds by `tune` as thresholds of one source or service in the data plane.

Called by the engine. In: RECONFIGURE_NETWORK folds by `tune`, whose target names one address or one service by its
address. Out: an entry in the shield's table of own thresholds, with an end and the plan's rule id; what was there
before is the inverse. Counters that the fold does not name keep the thresholds of all: a 0 would turn them off.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

from loomidi.contracts import Approval, Extension, FoldKind, FoldSpec, Plan
from loomidi.ionic.act.drivers.admission import admit, admit_extension
from loomidi.ionic.act.fencing import Fence, Tokens
from loomidi.ionic.approvals import Signer, process_signer
from loomidi.ionic.documents import rule_id
from loomidi.ionic.errors import NotActing
from loomidi.ionic.watched import watched_by
from loomidi.kit.clock import Clock, SystemClock
from loomidi.loom.capture.own_limits import OwnLimits, Watched
from loomidi.loom.capture.verdicts import Limits, Watch


class Tunable(Protocol):
    """A shield with thresholds of single sources and services. Adapters: the kernel's and the twin."""

    name: str

    def watching(self) -> Watch | None:
        """The thresholds of all."""

    def limit(self, watched: Watched, limits: Limits, ttl_s: float, rule_id: int = 0) -> OwnLimits:
        """Give one its own."""

    def unlimit(self, watched: Watched) -> bool:
        """Take them away."""

    def own_limits(self) -> list[OwnLimits]:
        """All that there are."""


class ThresholdDriver(Tokens):
    """Carries tuning out on one shield, and takes it back."""

    def __init__(
        self,
        shield: Tunable,
        signer: Signer | None = None,
        *,
        clock: Clock | None = None,
        fence: Fence | None = None,
    ) -> None:
        """`fence`: one file for all processes that tune this data plane; by default this driver's alone."""
        self.fence = fence or Fence()
        self.name = f"thresholds:{shield.name}"
        self._shield = shield
        self._signer = signer or process_signer()
        self._clock = clock or SystemClock()

    def check(self, fold: FoldSpec) -> str | None:
        """None when the shield counts whom the fold names, in windows of the length that it was learned in."""
        if fold.kind is not FoldKind.RECONFIGURE_NETWORK or fold.action != "tune":
            return f"{fold.kind.value} by {fold.action} changes no threshold"
        if watched_by(fold.target) is None:
            return f"{fold.target} names neither one address nor one service by its address"
        watch = self._shield.watching()
        if watch is None:
            return f"{self._shield.name} keeps no short-window counters; open it with thresholds"
        if fold.thresholds.get("window_ms") != round(watch.window_s * 1e3):
            return f"learned in windows of {fold.thresholds.get('window_ms')} ms, here they last {watch.window_s:g} s"
        return None

    def inverse(self, fold: FoldSpec) -> Mapping[str, Any]:
        """The thresholds of its own that are in force now, or None."""
        found = self._find(fold.target)
        before = None
        if found is not None and found.live:
            limits = dataclasses.asdict(found.limits)
            before = {"limits": limits, "expires_ns": found.expires_ns, "rule_id": found.rule_id}
        return {"target": fold.target, "before": before}

    def apply(self, plan: Plan, approval: Approval, token: int = 0) -> Mapping[str, Any]:
        """Write them. They count with the next packet. Raises Fenced when somebody tunes it since `token`."""
        now_ns = self._clock.now_ns()
        admit(plan, approval, self._signer, now_ns)
        if why := self.check(plan.fold):
            raise NotActing(why)
        limits = self._limits(plan.fold)
        with self.fence.passing(plan.fold.target, token or self.token()):
            self._shield.limit(_watched(plan.fold.target), limits, plan.fold.ttl_s, rule_id(plan.id))
        expires_ns = now_ns + round(plan.fold.ttl_s * 1e9)
        return {"rule_id": rule_id(plan.id), "expires_ns": expires_ns, "limits": dataclasses.asdict(limits)}

    def extend(self, plan: Plan, extension: Extension, approval: Approval, token: int) -> Mapping[str, Any]:
        """Write the plan's thresholds once more, with the later end. Raises NotActing, Fenced."""
        now_ns = self._clock.now_ns()
        admit_extension(plan, extension, approval, self._signer, now_ns)
        with self.fence.passing(plan.fold.target, token):
            found = self._find(plan.fold.target)
            if found is None or not found.live or found.rule_id != rule_id(plan.id):
                raise NotActing(f"{plan.id} is not in force on {self._shield.name}: there is nothing to extend")
            left_s = (extension.until_ns - now_ns) / 1e9
            self._shield.limit(found.watched, found.limits, left_s, found.rule_id)
        return {"expires_ns": extension.until_ns}

    def verify(self, plan: Plan) -> Mapping[str, Any]:
        """Whether the plan's own thresholds are in force."""
        found = self._find(plan.fold.target)
        if found is None or found.rule_id != rule_id(plan.id):
            return {"holds": False, "found": "nothing" if found is None else f"rule {found.rule_id}"}
        return {"holds": found.live, "limits": dataclasses.asdict(found.limits), "expires_ns": found.expires_ns}

    def undo(self, inverse: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put back what was in force before, and look whether it took. Idempotent. Steps, in this order:

        0 nothing that was begun under its token can have an effect from here on
        1 find ours; when it is not ours (any more), nothing is to do
        2 restore what was there before, unless its own time is over; else remove   3 look again
        """
        # 0 its token is closed
        with self.fence.closing(inverse["target"], inverse.get("token", 0)):
            return self._undone(inverse["target"], inverse["rule_id"], inverse.get("before"))

    def _undone(self, target: str, ours: int, before: Mapping[str, Any] | None) -> Mapping[str, Any]:
        # 1 find ours
        found = self._find(target)
        if found is None or found.rule_id != ours:
            return {"undone": True, "found": "nothing" if found is None else f"rule {found.rule_id}"}
        # 2 restore or remove
        left_s = (before["expires_ns"] - self._clock.now_ns()) / 1e9 if before else 0.0
        if before and left_s > 0:
            self._shield.limit(_watched(target), Limits(**before["limits"]), left_s, before["rule_id"])
        else:
            self._shield.unlimit(_watched(target))
        # 3 look again
        left = self._find(target)
        return {"undone": left is None or left.rule_id != ours, "restored": before is not None and left_s > 0}

    def _limits(self, fold: FoldSpec) -> Limits:
        watch, watched = self._shield.watching() or Watch(), _watched(fold.target)
        of_all = watch.source if watched.kind == "source" else watch.service
        given = {name: number for name, number in fold.thresholds.items() if name != "window_ms"}
        return dataclasses.replace(of_all, **given)

    def _find(self, target: str) -> OwnLimits | None:
        watched = _watched(target)
        return next((own for own in self._shield.own_limits() if own.watched == watched), None)


def _watched(target: str) -> Watched:
    found = watched_by(target)
    if found is None:
        raise NotActing(f"{target} names neither one address nor one service by its address")
    return found
