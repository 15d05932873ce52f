"""Which FoldPolicy applies to a Fold, and what leave it gives.

Called by `surrounding`. In: the Fold's plan, the policies as the API server gives them, what stands around. Out: a
`Leave`, or the reason why there is none. Without a policy that fits, nothing is folded. Counting is left to `braking`.
"""

import dataclasses
from collections.abc import Iterable

from loomidi.contracts import Mode, Plan
from loomidi.fold.operator.braking import Around, Brake, braked, filled, storm_mode
from loomidi.fold.operator.climbing import unclimbed
from loomidi.fold.operator.views import Object
from loomidi.fold.resources.policies import APPROVAL_S, MAX_TTL_S, PROTECTED_NAMESPACES
from loomidi.fold.resources.probing import STABLE_S, TIMEOUT_S
from loomidi.ionic.act.kube.selectors import matches
from loomidi.ionic.decide import Limits

_RANKS = {mode: rank for rank, mode in enumerate(Mode)}


@dataclasses.dataclass(frozen=True, slots=True)
class Leave:
    """What a policy lets happen."""

    policy: str
    mode: Mode
    persons: int  # who must approve
    groups: frozenset[str]  # of whom; none: of anybody
    later: frozenset[str]  # groups that may as well once nobody has answered in time
    answer_s: float  # for which people are waited for, and once more for those of `later`
    brake: Brake | None  # why nothing new is begun now
    stable_s: float
    timeout_s: float
    probes: tuple[Object, ...]
    unproven: str = ""  # why it may not act by itself: by what the flows that were kept say of it, or do not say


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
        unfit = _unfit(policy["spec"], plan, spec, around) or unclimbed(policy, plan, spec, around)
        if not unfit:
            return _leave(policy, plan, spec, around)
        why = f"FoldPolicy {policy['metadata']['name']} does not fit: {unfit}"
    return why


def _unfit(policy: Object, plan: Plan, fold: Object, around: Around) -> str:
    """'' when the policy is about this plan and lets its kind through. Steps, in this order:

    1 the finding   2 the kind and its action   3 how long, how much   4 where   5 which addresses are asked
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
    if elsewhere := _elsewhere(policy, when, around):
        return elsewhere
    # 5 which addresses
    strange = sorted(_urls(fold.get("verify")) - _urls(policy.get("verify")))
    return f"its probes do not ask {strange[0]}, a Fold may not either" if strange else ""


def _urls(verify: Object | None) -> set[str]:
    """A Fold is written by many, and the operator reaches far: only a policy says where it asks by http."""
    return {one["http"]["url"] for one in (verify or {}).get("probes") or () if "http" in one}


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
    allowed, brakes = _allowed(spec, plan) or {}, filled(spec.get("brakes") or {})
    own = Mode(spec.get("mode", Mode.SHADOW))
    people = spec.get("approvals") or {}
    verify = fold.get("verify") or spec.get("verify") or {}
    return Leave(
        policy=name,
        mode=least(own, Mode(allowed.get("mode", own)), storm_mode(brakes["storm"], around)),
        persons=int(people.get("required", 0)),
        groups=frozenset(people.get("groups") or ()),
        later=frozenset(people.get("escalateTo") or ()),
        answer_s=float(people.get("timeoutSeconds", APPROVAL_S)),
        brake=braked(name, brakes, plan, around),
        stable_s=float(verify.get("stableForSeconds", STABLE_S)),
        timeout_s=float(verify.get("timeoutSeconds", TIMEOUT_S)),
        probes=tuple(verify.get("probes") or ()),
        unproven=_unproven(spec.get("replay") or {}, plan),
    )


def _unproven(asked: Object, plan: Plan) -> str:
    """What is not known is no proof; what was measured has to be within the bound, and to spare the protected set."""
    told = plan.blast_radius.replay
    if not told.measured:
        why = told.why or "the plan holds none"
        return f"replay.required: what it would have cut is not known ({why})" if asked.get("required") else ""
    if told.protected:
        return f"replay: it would have met the protected set ({told.protected[0]})"
    most = asked.get("maxShareOfOctets")
    if most is not None and told.share_of_octets > most:
        return (
            f"replay.maxShareOfOctets: it would have cut {told.share_of_octets:.1%} of all octets, allowed {most:.1%}"
        )
    return ""
