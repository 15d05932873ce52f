"""Incidents as playbooks: what was done about a finding, in its order, with the way back as on_failure of each step.

Called by `services.playing`. In: a finding, the plans that rest on it, their receipts. Out: a CACAO v2.0 playbook that
is valid and whose dry run plans the same folds. It carries its finding and the inverses in an extension of ours
(section 8), so nothing else is needed to run it again. Ids follow from the content: the same incident is the same file.
"""

import dataclasses
import datetime
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from loomidi.contracts import Finding, InputError, Plan, Receipt, Step
from loomidi.ionic.documents import read_plan, read_record
from loomidi.ionic.errors import BadCommand
from loomidi.ionic.playbooks import openc2
from loomidi.ionic.playbooks.reading import Playbook, taken
from loomidi.ionic.playbooks.vocabulary import FOLD, UNDO

_SPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "loomidi.io")
IDENTITY = f"identity--{uuid.uuid5(_SPACE, 'loomidi')}"
EXTENSION = f"extension-definition--{uuid.uuid5(_SPACE, 'incident')}"
AGENT = f"security-category--{uuid.uuid5(_SPACE, 'ionic')}"
_DONE = (Step.INTENT, Step.APPLIED)
_SEVERITY = {"info": 1, "low": 20, "medium": 50, "high": 75, "critical": 100}
_ACTIVITY = {"drop": "restrict-access", "rate": "restrict-access", "isolate": "disconnect-system"}
EXTENSION_DEFINITION: Mapping[str, Any] = {
    "type": "extension-definition",
    "name": "Loomidi incident",
    "description": "The finding that the playbook was exported from, and the receipts of what was done about it.",
    "created_by": IDENTITY,
    "schema": "docs/playbooks.md of Loomidi: members finding and receipts, as its records of the same names",
    "version": "1.0.0",
}
AGENT_DEFINITION: Mapping[str, Any] = {
    "type": "security-category",
    "name": "Loomidi",
    "description": "Plans, guards, approvals and the engine of this installation.",
    "category": ["firewall"],
}


@dataclasses.dataclass(frozen=True, slots=True)
class Incident:
    """A finding with everything that was done about it."""

    finding: Finding
    plans: tuple[Plan, ...]  # in the order in which they were begun
    receipts: tuple[Receipt, ...]  # of these plans, oldest first


def incidents(receipts: Iterable[Receipt], findings: Mapping[str, Finding] | None = None) -> tuple[Incident, ...]:
    """Every finding that something was done about, or planned in shadow. `findings`: as told later, by id.

    Receipts of entries that were adopted after a crash hold no plan and tell of no finding; they are left out.
    """
    plans: dict[str, Plan] = {}
    of_plan: dict[str, list[Receipt]] = {}
    for receipt in receipts:
        of_plan.setdefault(receipt.plan_id, []).append(receipt)
        if "plan" in receipt.detail and receipt.plan_id not in plans:
            plans[receipt.plan_id] = read_plan(receipt.detail["plan"])
    by_finding: dict[str, list[Plan]] = {}
    for plan in plans.values():
        by_finding.setdefault(plan.finding.id, []).append(plan)
    found = []
    for finding_id, mine in by_finding.items():
        finding = (findings or {}).get(finding_id, mine[0].finding)
        told = tuple(receipt for plan in mine for receipt in of_plan[plan.id])
        found.append(Incident(finding, tuple(mine), told))
    return tuple(found)


def exported(incident: Incident) -> Playbook:
    """The playbook. Raises InputError for an incident about which nothing was done."""
    if not incident.plans:
        raise InputError(f"{incident.finding.id}: nothing was planned about it, so there is nothing to repeat")
    finding = incident.finding
    times = [receipt.at_ns for receipt in incident.receipts] or [finding.last_ns]
    document = {
        "type": "playbook",
        "spec_version": "cacao-2.0",
        "id": _id("playbook", finding.id, *(plan.id for plan in incident.plans)),
        "name": f"{finding.pattern} of {finding.entities[0] if finding.entities else 'nobody named'}",
        "description": _description(incident),
        "playbook_types": ["mitigation"],
        "playbook_activities": sorted({_activity(plan) for plan in incident.plans} | {"revert-system"}),
        "created_by": IDENTITY,
        "created": _time(min(times)),
        "modified": _time(max(times)),
        "severity": _SEVERITY[finding.severity.value],
        "labels": sorted({finding.pattern, "loomidi", "incident"}),
        **_references(finding),
        "workflow_start": _id("start", finding.id),
        "workflow": dict(_workflow(incident)),
        "playbook_extensions": {EXTENSION: _extension(incident)},
        "agent_definitions": {AGENT: dict(AGENT_DEFINITION)},
        "extension_definitions": {EXTENSION: dict(EXTENSION_DEFINITION)},
    }
    return taken(json.loads(json.dumps(document)))


def finding_of(book: Playbook) -> Finding | None:
    """The finding that an exported playbook carries; None for any other playbook."""
    carried = book.document.get("playbook_extensions", {}).get(EXTENSION)
    if not isinstance(carried, Mapping) or "finding" not in carried:
        return None
    return read_record(Finding, carried["finding"], "finding")


def commands_for(incident: Incident, producer: str = "loomidi") -> tuple[list[dict[str, Any]], list[str]]:
    """The incident's denies as OpenC2 messages for other packet filters, and what OpenC2 has no words for."""
    messages, left = [], []
    for plan in incident.plans:
        try:
            command = openc2.command_of(plan.fold, command_id=plan.id)
        except BadCommand as error:
            left.append(f"{plan.id}: {error}")
            continue
        request = str(uuid.uuid5(_SPACE, plan.id))
        messages.append(openc2.message_of(command, request, plan.created_ns, producer))
    return messages, left


def _workflow(incident: Incident) -> Iterable[tuple[str, dict[str, Any]]]:
    mark = incident.finding.id
    actions = [_id("action", plan.id) for plan in incident.plans]
    end, undo, undone = _id("end", mark), _id("action", mark, "undo"), _id("end", mark, "undo")
    yield _id("start", mark), {"type": "start", "on_completion": actions[0]}
    for key, plan, onward in zip(actions, incident.plans, [*actions[1:], end], strict=True):
        yield key, _action(plan, onward, undo)
    yield (
        undo,
        {
            "type": "action",
            "name": "Take back what was done",
            "commands": [
                {"type": UNDO, "command": '{"of": "all", "why": "a step failed"}', "playbook_activity": "revert-system"}
            ],
            "agent": AGENT,
            "on_completion": undone,
        },
    )
    yield end, {"type": "end"}
    yield undone, {"type": "end"}


def _action(plan: Plan, onward: str, undo: str) -> dict[str, Any]:
    fold = plan.fold.as_dict()
    del fold["because"]  # it follows from the finding that the run rests on
    command = {
        "type": FOLD,
        "description": plan.fold.undo,
        "command": json.dumps(fold, sort_keys=True),
        "playbook_activity": _activity(plan),
    }
    return {
        "type": "action",
        "name": f"{plan.fold.action} {plan.fold.target} for {plan.fold.ttl_s:g} s",
        "commands": [command],
        "agent": AGENT,
        "on_success": onward,
        "on_failure": undo,
    }


def _activity(plan: Plan) -> str:
    return _ACTIVITY.get(plan.fold.action, "configure-systems")  # playbook-activity-type-ov


def _extension(incident: Incident) -> dict[str, Any]:
    kept = ("id", "plan_id", "step", "at_ns", "driver", "inverse")
    receipts = [{name: receipt.as_dict()[name] for name in kept} for receipt in incident.receipts]
    return {"finding": incident.finding.as_dict(), "receipts": receipts}


def _references(finding: Finding) -> dict[str, Any]:
    named = [{"name": "MITRE ATT&CK", "external_id": technique} for technique in finding.techniques]
    return {"external_references": named} if named else {}


def _description(incident: Incident) -> str:
    finding = incident.finding
    done = sum(receipt.step in _DONE for receipt in incident.receipts)
    told = f"Exported from {finding.id}: {len(incident.plans)} folds, {done} of them begun."
    return f"{told} {finding.explanation.splitlines()[0]}" if finding.explanation else told


def _id(kind: str, *parts: str) -> str:
    return f"{kind}--{uuid.uuid5(_SPACE, '/'.join((kind, *parts)))}"


def _time(at_ns: int) -> str:
    moment = datetime.datetime.fromtimestamp(at_ns // 1_000_000 / 1e3, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
