"""Receipts and outcomes as OCSF 7001 Remediation Activity, 7004 Network Remediation Activity where it is of packets.

Called by `services.events` and `loomidi events`. In: a `Receipt` or an `Outcome`, with its plan where that is at hand.
Out: dicts. 7003 Process Remediation Activity is never told: no fold of ours touches a process.
"""

from collections.abc import Mapping
from typing import Any

from loomidi.contracts import Match, Outcome, Plan, Receipt, Step
from loomidi.ionic.decide.places import NAMES
from loomidi.ionic.events.countermeasures import countermeasures, tactic
from loomidi.ionic.events.framing import OTHER, SEVERITIES, UNKNOWN, About, Class, base, named, observables, unmapped

REMEDIATION = Class(7001, "Remediation Activity", 7, "Remediation")
NETWORK = Class(7004, "Network Remediation Activity", 7, "Remediation")
_TACTICS = {"Isolate": 1, "Evict": 2, "Restore": 3, "Harden": 4}
_SUCCESS, _FAILURE, _ERROR = (1, "Success"), (2, "Failure"), (6, "Error")
_STEPS = {
    Step.INTENT: (OTHER, "intent"),  # nothing has happened yet
    Step.APPLIED: _SUCCESS,
    Step.VERIFIED: _SUCCESS,
    Step.EXTENDING: (OTHER, "extending"),  # its end has not moved yet
    Step.EXTENDED: _SUCCESS,
    Step.UNDONE: _SUCCESS,
    Step.EXPIRED: _SUCCESS,
    Step.REFUSED: (OTHER, "refused"),  # nothing was attempted
    Step.FAILED: _ERROR,
}
_LABELS = {"worked": _SUCCESS, "no_effect": _FAILURE}
_BACK = frozenset({Step.UNDONE, Step.EXPIRED})
_TOLD = (
    "why",
    "error",
    "until_ns",
    "hits",
    "dropped",
    "octets",
    "holds",
    "undone",
    "restored",
)  # of a receipt's detail
_FIELDS = ("source", "destination", "source_port", "destination_port")


def receipt_event(receipt: Receipt, about: About, *, plan: Plan | None = None) -> dict[str, Any]:
    """What was done. Manifests, orders and inverses stay in the store: the event names the receipt."""
    match = plan.fold.match.as_dict() if plan and plan.fold.match != Match() else receipt.inverse.get("match")
    back = receipt.step in _BACK
    event = _base(plan, about, receipt.at_ns, match, back)
    event |= _status(_STEPS[receipt.step], receipt.detail)
    event |= {"command_uid": receipt.plan_id, "message": f"{receipt.step.value} by {receipt.driver}"}
    told = {name: receipt.detail[name] for name in _TOLD if name in receipt.detail}
    ours = {"receipt": receipt.id, "step": receipt.step.value, "driver": receipt.driver, "detail": told}
    event["unmapped"]["loomidi"] |= ours
    return named(event, plan.finding.id if plan else receipt.plan_id, receipt.id)


def outcome_event(outcome: Outcome, about: About, *, plan: Plan | None = None) -> dict[str, Any]:
    """How it turned out."""
    match = plan.fold.match.as_dict() if plan and plan.fold.match != Match() else None
    event = _base(plan, about, outcome.at_ns, match, outcome.label in ("undone", "expired"))
    event |= _status(_LABELS.get(outcome.label, (OTHER, outcome.label)), {})
    event |= {"command_uid": outcome.plan_id, "message": f"outcome: {outcome.label}"}
    event["unmapped"]["loomidi"] |= {"outcome": outcome.label, "evidence": [one.as_dict() for one in outcome.evidence]}
    return named(event, plan.finding.id if plan else outcome.plan_id, outcome.plan_id, outcome.label, outcome.at_ns)


def _base(plan: Plan | None, about: About, at_ns: int, match: Any, back: bool) -> dict[str, Any]:
    """Without a plan neither severity nor tactic is known."""
    of_packets = isinstance(match, Mapping) and any(match.values())
    means = tactic(plan, undone=back)
    activity = (_TACTICS[means], means) if means else (UNKNOWN, "Unknown")
    severity = SEVERITIES[plan.finding.severity] if plan else UNKNOWN
    event = base(NETWORK if of_packets else REMEDIATION, about, activity, at_ns, severity)
    if of_packets:
        event["connection_info"] = _connection(match)
    if against := countermeasures(plan, undone=back):
        event["countermeasures"] = against
    if plan:
        event["observables"] = observables((plan.fold.target,))
        event["remediation"] = {"desc": plan.fold.undo or f"{plan.fold.kind.value} by {plan.fold.action}"}
    ours: dict[str, Any] = {"entities": [plan.fold.target], "mode": plan.mode.value} if plan else {}
    if of_packets:
        ours["match"] = {name: match[name] for name in _FIELDS if match.get(name)}
    return event | unmapped(**ours)


def _connection(match: Mapping[str, Any]) -> dict[str, Any]:
    """OCSF keeps addresses elsewhere, and this class has no field for them: they are in `unmapped`."""
    number = match.get("protocol") or 0
    told: dict[str, Any] = {"direction_id": UNKNOWN, "direction": "Unknown"}
    if isinstance(number, int) and number > 0:
        told |= {"protocol_num": number} | ({"protocol_name": NAMES[number]} if number in NAMES else {})
    return told


def _status(status: tuple[int, str], detail: Mapping[str, Any]) -> dict[str, Any]:
    told = {"status_id": status[0], "status": status[1]}
    why = detail.get("error") or detail.get("why")
    return told | ({"status_detail": str(why)} if why else {})
