"""Deciding: finding and fold -> plan with its blast radius -> every guard -> approval, or a refusal with all reasons.

Called by `services` in both lanes. In: findings and folds (see `proposing`), the guards, the protected set, settings,
the live graph. Out: `Plan`, `Approval`, or PlanRefused. Carrying out is left to `act`, which this package never
imports. Nothing here touches the network or a disk.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from loomidi.contracts import Approval, BlastRadius, Finding, FoldKind, FoldSpec, Mode, Plan, Verdict
from loomidi.contracts.ports import Guard
from loomidi.ionic.approvals import GUARDS, Signer, process_signer
from loomidi.ionic.decide.guards import FloorGuard, RegoGuard
from loomidi.ionic.decide.limits import Limits
from loomidi.ionic.decide.places import Where, place
from loomidi.ionic.decide.radius import Graph, measure, networks
from loomidi.ionic.documents import plan_id
from loomidi.ionic.errors import PlanRefused
from loomidi.kit.clock import Clock, SystemClock

FINAL = frozenset({FoldKind.EVICT, FoldKind.TERMINATE})  # no way back; a test holds it against the drivers
PATIENCE_S = 5.0  # until the policy has denied by silence: a busy machine is no refusal, and no packet waits here
Active = Callable[[], Mapping[str, int]]  # target entity -> plans at work on it


@dataclasses.dataclass(frozen=True, slots=True)
class DeciderSettings:
    """How far deciding may go."""

    mode: Mode = Mode.SHADOW
    # Nothing is touched unless somebody has asked for it.
    limits: Limits = dataclasses.field(default_factory=Limits)
    # Held against every plan by Rego and by the floor.
    approval_s: float = 60.0
    # Seconds from plan to act; an older approval rests on a picture that has passed.


def standard_guards(
    protected: Iterable[str] = (), settings: DeciderSettings | None = None, *, patience_s: float = PATIENCE_S
) -> tuple[Guard, ...]:
    """The two guards that every deployment has: the floor first (cheap), then the base policy."""
    settings = settings or DeciderSettings()
    return FloorGuard(protected, settings.limits, settings.mode), RegoGuard(timeout_s=patience_s)


def person_asked(kind: FoldKind, mode: Mode) -> str:
    """Why a person has to approve a fold of this kind in this mode, or '' where the guards may."""
    if mode is Mode.SUGGEST:
        return "mode suggest: a person has to approve"
    if mode is Mode.GUARDED and kind in FINAL:
        return f"{kind.value} has no way back: in mode guarded a person has to approve"
    return ""


class Decider:
    """Makes plans and decides about them. Without guards it refuses everything."""

    def __init__(
        self,
        guards: Sequence[Guard],
        protected: Iterable[str] = (),
        settings: DeciderSettings | None = None,
        graph: Graph | None = None,
        *,
        signer: Signer | None = None,
        clock: Clock | None = None,
        active: Active = dict,
    ) -> None:
        """`active`: plans at work by target, such as `Engine.active`. Raises ValueError for a bad protected entry."""
        self.settings = settings or DeciderSettings()
        self._guards = tuple(guards)
        self._protected = networks(protected)
        self._graph = graph
        self._signer = signer or process_signer()
        self._clock = clock or SystemClock()
        self._active = active

    def plan(self, finding: Finding, fold: FoldSpec, where: Where = place) -> Plan:
        """The fold with its blast radius counted now, in the configured mode, expiring soon. Judges nothing."""
        now_ns = self._clock.now_ns()
        radius: BlastRadius = measure(fold, finding, self._graph, self._protected, where)
        expires_ns = now_ns + round(self.settings.approval_s * 1e9)
        unnamed = Plan("", finding, fold, radius, self.settings.mode, now_ns, expires_ns)
        return dataclasses.replace(unnamed, id=plan_id(unnamed))

    def judge(self, plan: Plan) -> tuple[Verdict, ...]:
        """What every guard says, in order. A guard that fails or is silent has denied."""
        facts = self._facts(plan)
        return tuple(verdict for guard in self._guards for verdict in _asked(guard, plan, facts))

    def decide(self, plan: Plan, approver: str = GUARDS) -> Approval:
        """Leave to carry out the plan, or PlanRefused with every verdict. Steps, in this order:

        1 ask every guard   2 refuse unless all allow, and one did   3 a person where mode and kind ask for one   4 sign
        """
        # 1 ask every guard
        verdicts = self.judge(plan)
        # 2 refuse unless all allow
        if not verdicts or any(verdict.allow is not True for verdict in verdicts):
            raise PlanRefused(plan.id, verdicts)
        # 3 a person
        if approver == GUARDS and (why := person_asked(plan.fold.kind, plan.mode)):
            raise PlanRefused(plan.id, (*verdicts, Verdict("decider", "person", False, why)))
        # 4 sign
        granted_ns = self._clock.now_ns()
        return self._signer.sign(plan, verdicts, approver=approver, granted_ns=granted_ns, expires_ns=plan.expires_ns)

    def _facts(self, plan: Plan) -> dict[str, Any]:
        """What guards may know beside the plan. docs/policy.md lists it."""
        active = self._active()
        return {
            "now_ns": self._clock.now_ns(),
            "mode": self.settings.mode.value,
            "limits": self.settings.limits.as_dict(),
            "active": {"target": active.get(plan.fold.target, 0), "total": sum(active.values())},
        }


def _asked(guard: Guard, plan: Plan, facts: Mapping[str, Any]) -> Sequence[Verdict]:
    try:
        verdicts = tuple(guard.judge(plan, facts))
    except Exception as error:  # noqa: BLE001 - a guard that breaks has not allowed anything
        return (Verdict(guard.name, "any", None, f"no answer: {type(error).__name__}: {error}"),)
    return verdicts or (Verdict(guard.name, "any", None, "no answer: the guard gave no verdict"),)
