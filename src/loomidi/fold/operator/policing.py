"""Which FoldPolicy applies to a Fold, and what leave it gives.

Called by `reconciling`. In: the Fold's plan, the policies as the API server gives them, labels. Out: a `Leave`, or the
reason why there is none. Without a policy that fits, nothing is folded. The brakes `pause`, `caps.total` and
`caps.workload` are counted here in whole numbers; shares, the token bucket, cooldown and storm are left to whoever
proposes Folds.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from loomidi.contracts import Mode, Plan
from loomidi.fold.operator.views import Object
from loomidi.fold.resources.objects import nanoseconds
from loomidi.fold.resources.policies import MAX_TTL_S, PROTECTED_NAMESPACES
from loomidi.fold.resources.probing import STABLE_S, TIMEOUT_S
from loomidi.ionic.act.kube.selectors import matches
from loomidi.ionic.decide import Limits

_RANKS = {mode: rank for rank, mode in enumerate(Mode)}


@dataclasses.dataclass(frozen=True, slots=True)
class Around:
    """What stands around a Fold: labels of its namespace and of its target, who else is at work."""

    namespace: str = ""
    namespace_labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    target_labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    active: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)  # policy ('': not named) -> targets
    now_ns: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Leave:
    """What a policy lets happen."""

    policy: str
    mode: Mode
    persons: int  # who must approve
    paused: str  # why nothing new is folded; '' when it is
    full: str  # which cap is reached; '' when none is
    stable_s: float
    timeout_s: float
    probes: tuple[Object, ...]

    @property
    def brake(self) -> str:
        """Why nothing new is begun now, or ''."""
        return f"paused: {self.paused}" if self.paused else self.full


def least(*modes: Mode) -> Mode:
    """The one that goes least far."""
    return min(modes, key=_RANKS.__getitem__)


def leave_for(plan: Plan, spec: Object, policies: Iterable[Object], around: Around) -> Leave | str:
    """The leave of the policy that the Fold names, else of the first that fits; or why there is none."""
    named = spec.get("policy", "")
    known = sorted(policies, key=lambda one: (-one["spec"].get("priority", 0), one["metadata"]["name"]))
    asked = [one for one in known if not named or one["metadata"]["name"] == named]
    why = f"there is no FoldPolicy {named}" if named else "there is no FoldPolicy"
    for policy in asked:
        unfit = _unfit(policy["spec"], plan, around)
        if not unfit:
            return _leave(policy, plan, spec, around)
        why = f"FoldPolicy {policy['metadata']['name']} does not fit: {unfit}"
    return why


def _unfit(policy: Object, plan: Plan, around: Around) -> str:
    """'' when the policy is about this plan and lets its kind through. Steps, in this order:

    1 the finding   2 the kind and its action   3 how long, how much   4 where
    """
    # 1 the finding
    when, finding = policy["when"], plan.finding
    if not {"*", finding.pattern} & set(when["patterns"]):
        return f"it is not about {finding.pattern}"
    if finding.severity.value not in when.get("severities", ("high", "critical")):
        return f"it is not about severity {finding.severity.value}"
    if finding.confidence < when.get("minConfidence", Limits().sure):
        return f"confidence {finding.confidence:g} is too low"
    # 2 the kind
    allowed = _allowed(policy, plan)
    if allowed is None:
        return f"it does not allow {plan.fold.kind.value} by {plan.fold.action}"
    # 3 how long, how much
    if plan.fold.ttl_s > policy.get("ttl", {}).get("maxSeconds", MAX_TTL_S):
        return f"{plan.fold.ttl_s:g} s is too long"
    if plan.fold.replicas > allowed.get("maxReplicas", Limits().max_replicas):
        return f"{plan.fold.replicas} replicas are too many"
    # 4 where
    return _elsewhere(policy, when, around)


def _elsewhere(policy: Object, when: Object, around: Around) -> str:
    protect = policy.get("protect", {})
    if around.namespace in protect.get("namespaces", PROTECTED_NAMESPACES):
        return f"namespace {around.namespace} is protected"
    if "selector" in protect and matches(protect["selector"], around.target_labels):
        return "the target is protected"
    if "namespaceSelector" in when and not matches(when["namespaceSelector"], around.namespace_labels):
        return f"it is not about namespace {around.namespace}"
    if "targetSelector" in when and not matches(when["targetSelector"], around.target_labels):
        return "it is not about this target"
    return ""


def _allowed(policy: Object, plan: Plan) -> Object | None:
    for one in policy["allow"]:
        if one["kind"] == plan.fold.kind.value and plan.fold.action in one.get("actions", (plan.fold.action,)):
            found: Object = one
            return found
    return None


def _leave(policy: Object, plan: Plan, fold: Object, around: Around) -> Leave:
    name, spec = policy["metadata"]["name"], policy["spec"]
    allowed = _allowed(spec, plan) or {}
    working = (*around.active.get(name, ()), *around.active.get("", ()))
    verify = fold.get("verify") or spec.get("verify") or {}
    return Leave(
        policy=name,
        mode=least(Mode(spec.get("mode", Mode.SHADOW)), Mode(allowed.get("mode", spec.get("mode", Mode.SHADOW)))),
        persons=int(spec.get("approvals", {}).get("required", 0)),
        paused=_paused(spec.get("brakes", {}).get("pause"), around.now_ns),
        full=_full(spec.get("brakes", {}).get("caps", {}), plan, working),
        stable_s=float(verify.get("stableForSeconds", STABLE_S)),
        timeout_s=float(verify.get("timeoutSeconds", TIMEOUT_S)),
        probes=tuple(verify.get("probes") or ()),
    )


def _paused(pause: Object | None, now_ns: int) -> str:
    if not pause or ("until" in pause and nanoseconds(pause["until"]) <= now_ns):
        return ""
    return str(pause["reason"])


def _full(caps: Object, plan: Plan, targets: tuple[str, ...]) -> str:
    """The first cap in whole numbers that is reached."""
    counts: dict[str, tuple[Any, int]] = {
        "total": (caps.get("total", 10), len(targets)),
        "workload": (caps.get("workload", 1), targets.count(plan.fold.target)),
    }
    for name, (most, count) in counts.items():
        if isinstance(most, int) and count >= most:
            return f"caps.{name}: {count} Folds at work, most {most}"
    return ""
