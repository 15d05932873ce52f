"""Findings and what is planned about them, as OCSF 2004 Detection Finding.

Called by `services.events` and `loomidi events`. In: a `Finding` with the state in which it was told; a `Plan` with
what guards and people said. Out: dicts. A plan is an update of its finding with a remediation: OCSF has no class for
what is only proposed. Signatures of approvals stay at home.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from loomidi.contracts import Approval, Evidence, Finding, Plan, Verdict
from loomidi.ionic.events.countermeasures import countermeasures
from loomidi.ionic.events.framing import (
    OTHER,
    SEVERITIES,
    UNKNOWN,
    About,
    Class,
    base,
    millis,
    named,
    observables,
    unmapped,
)

FoldTold = Mapping[str, Any]
DETECTION = Class(2004, "Detection Finding", 2, "Findings")
_CREATE, _UPDATE, _CLOSE = (1, "Create"), (2, "Update"), (3, "Close")
_ACTIVITIES = {"new": _CREATE, "worse": _UPDATE, "again": _UPDATE, "over": _CLOSE}
_NEW = 1  # status_id; what a reviewer makes of a finding is not ours to say
_RULE, _LEARNING = (1, "Rule"), (4, "Learning (ML/DL)")
_ANALYTICS = {"origami.online": _RULE, "origami.scoring": _LEARNING}  # by the source's house and room


def finding_event(
    finding: Finding, about: About, *, state: str = "new", told_ns: int | None = None, folds: Sequence[FoldTold] = ()
) -> dict[str, Any]:
    """One telling of a finding; `state` is new, worse, again or over, `told_ns` when it was said (its last packet).

    `folds` are what would answer it, each with kind, action, target, ttl_s and allowed, as findings keep them.
    """
    at_ns = finding.last_ns if told_ns is None else told_ns
    activity = _ACTIVITIES.get(state, (OTHER, state))
    event = base(DETECTION, about, activity, at_ns, SEVERITIES[finding.severity]) | _body(finding, about)
    event |= {"status_id": _NEW, "status": "New"} if state == "new" else {"status_id": OTHER, "status": state}
    event["is_alert"] = state in ("new", "worse")
    if folds:
        event["remediation"] = {"desc": "; ".join(map(_proposed, folds))}
        event["unmapped"]["loomidi"]["folds"] = [dict(one) for one in folds]
    return named(event, finding.id, finding.id, state, at_ns)


def _proposed(fold: FoldTold) -> str:
    verdict = "allowed by the guards" if fold.get("allowed") is True else "not allowed by the guards"
    return f"{fold.get('kind')} by {fold.get('action')} on {fold.get('target')} for {fold.get('ttl_s')} s: {verdict}"


def plan_event(
    plan: Plan, about: About, *, verdicts: Sequence[Verdict] = (), approval: Approval | None = None
) -> dict[str, Any]:
    """A plan, judged by these verdicts (an approval brings its own), as an update of its finding."""
    at_ns = plan.created_ns if approval is None else approval.granted_ns
    judged = tuple(verdicts) or (approval.verdicts if approval else ())
    event = base(DETECTION, about, _UPDATE, at_ns, SEVERITIES[plan.finding.severity]) | _body(plan.finding, about)
    fold = plan.fold
    told = f"{fold.kind.value} by {fold.action} on {fold.target} for {fold.ttl_s:g} s. {fold.undo}".strip()
    event |= {
        "is_alert": False,
        "remediation": {"desc": told},
        "status_id": OTHER,
        "status": _standing(judged, approval),
    }
    event["unmapped"]["loomidi"] |= {"plan": _plan(plan), "verdicts": [one.as_dict() for one in judged]}
    event["unmapped"]["loomidi"] |= {"countermeasures": countermeasures(plan)} if countermeasures(plan) else {}
    if approval is not None:
        event["unmapped"]["loomidi"]["approval"] = _approval(approval)
    return named(event, plan.finding.id, plan.id, [one.as_dict() for one in judged], at_ns)


def _standing(verdicts: Sequence[Verdict], approval: Approval | None) -> str:
    """In one word: anything but a yes of each guard is a no."""
    if approval is not None:
        return "approved"
    if not verdicts:
        return "planned"
    return "allowed" if all(one.allow is True for one in verdicts) else "refused"


def _plan(plan: Plan) -> dict[str, Any]:
    """Without the finding, which the event is about, and the manifest, which the receipts hold."""
    told = plan.as_dict()
    del told["finding"], told["fold"]["manifest"]
    return told


def _approval(approval: Approval) -> dict[str, Any]:
    told = approval.as_dict()
    del told["signature"], told["verdicts"]
    return told


def _body(finding: Finding, about: About) -> dict[str, Any]:
    told: dict[str, Any] = {
        "confidence_score": round(100 * finding.confidence),
        "end_time": millis(finding.last_ns),
        "evidences": [_evidence(one) for one in finding.evidence],
        "finding_info": _info(finding, about),
        "message": finding.explanation,
        "observables": observables(finding.entities),
        "start_time": millis(finding.first_ns),
    }
    return {name: value for name, value in told.items() if value not in ("", [])} | unmapped(entities=finding.entities)


def _info(finding: Finding, about: About) -> dict[str, Any]:
    kind = _ANALYTICS.get(".".join(finding.source.partition(":")[0].split(".")[:2]), (UNKNOWN, "Unknown"))
    told = {
        "analytic": {"name": finding.source, "uid": finding.source, "type_id": kind[0], "type": kind[1]},
        "attacks": [_attack(one, about) for one in finding.techniques],
        "desc": finding.explanation,
        "first_seen_time": millis(finding.first_ns),
        "last_seen_time": millis(finding.last_ns),
        "types": [finding.pattern],
    }
    known = {name: value for name, value in told.items() if value not in ("", [])}
    return known | {"title": finding.pattern.replace("_", " "), "uid": finding.id}


def _attack(technique: str, about: About) -> dict[str, Any]:
    """A sub-technique beside its technique; tactics are left out, for a technique serves several."""
    parent, dot, _ = technique.partition(".")
    attack = {"technique": _named(parent, about)}
    return attack | ({"sub_technique": _named(technique, about)} if dot else {})


def _named(technique: str, about: About) -> dict[str, str]:
    name = about.technique(technique)
    return {"uid": technique} | ({"name": name} if name else {})


def _evidence(evidence: Evidence) -> dict[str, Any]:
    told = {name: value for name, value in evidence.as_dict().items() if value not in (None, "")}
    return {"name": evidence.name, "data": told}
