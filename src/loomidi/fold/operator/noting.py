"""What a pass writes down: the next status of a Fold, made from the one before. Pure.

Called by `reconciling`. In: a view, what changed, the time. Out: a whole status. Conditions keep the time of their last
change; receipts are only ever added, each with an id that rests on the one before it.
"""

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from loomidi.contracts import Approval, Receipt, Step, Verdict
from loomidi.fold.operator.views import View
from loomidi.fold.resources.objects import moment
from loomidi.fold.resources.phases import Phase
from loomidi.ionic.act.chain import ROOT, sealed

MOST_RECEIPTS = 32  # that a status holds
_LONGEST = 1000  # characters of a message
Status = dict[str, Any]


def following(view: View, now_ns: int, phase: Phase | None, message: str, **more: Any) -> Status:
    """The status in this phase (None: the one that it is in) with these fields changed."""
    status: Status = copy.deepcopy(dict(view.status))
    status |= more | {"observedGeneration": view.metadata.get("generation", 1), "message": message[:_LONGEST]}
    if phase is not None and phase is not view.phase:
        status |= {"phase": phase.value, "since": moment(now_ns)}
    return status


def conditioned(status: Status, now_ns: int, **answers: tuple[bool, str, str]) -> Status:
    """With conditions by type: whether it is so, the reason in a word, the message."""
    known = {one["type"]: one for one in status.get("conditions") or ()}
    for name, (holds, reason, message) in answers.items():
        told = {"type": name, "status": str(holds), "reason": reason, "message": message[:_LONGEST]}
        before = known.get(name, {})
        same = before.get("status") == told["status"]
        since = before["lastTransitionTime"] if same else moment(now_ns)
        known[name] = told | {"lastTransitionTime": since, "observedGeneration": status["observedGeneration"]}
    return status | {"conditions": list(known.values())}


def receipted(
    view: View,
    step: Step,
    driver: str,
    detail: Mapping[str, Any],
    now_ns: int,
    *,
    inverse: Mapping[str, Any] | None = None,
) -> Sequence[Mapping[str, Any]]:
    """The receipts with one more. A failure that follows a failure is not written again, so that they stay few."""
    told = list(view.receipts)
    if step is Step.FAILED and told and (told[-1]["step"] == step or len(told) >= MOST_RECEIPTS - 2):
        return told
    back, more = json.loads(json.dumps([inverse or {}, detail]), parse_float=_as_the_api_gives_it)
    plan_id = str(view.spec.get("plan", {}).get("id", ""))
    receipt = Receipt("", plan_id, step, now_ns, driver, back, more, "")
    identity = sealed(receipt, told[-1]["id"] if told else ROOT).id
    one = {"id": identity, "step": step.value, "atTime": moment(now_ns), "driver": driver}
    return [*told, one | {"inverse": back, "detail": more}]


def _as_the_api_gives_it(text: str) -> float | int:
    """2.0 comes back from the API server as 2, and an id that was made of the one would not be that of the other."""
    number = float(text)
    return int(number) if number.is_integer() else number


def verdicts_noted(verdicts: Iterable[Verdict]) -> list[dict[str, Any]]:
    """As the resource has them: no answer is a field that is missing."""
    told = []
    for one in verdicts:
        answer = {} if one.allow is None else {"allow": one.allow}
        told.append({"guard": one.guard, "rule": one.rule, **answer, "reason": one.reason[:_LONGEST]})
    return told


def approval_noted(approval: Approval) -> dict[str, Any]:
    """As the resource has it."""
    return {
        "planId": approval.plan_id,
        "planHash": approval.plan_hash,
        "approver": approval.approver,
        "grantedTime": moment(approval.granted_ns),
        "expiresTime": moment(approval.expires_ns),
        "signature": approval.signature,
    }


def probes_noted(view: View, answers: Mapping[str, tuple[bool, str]], now_ns: int) -> list[dict[str, Any]]:
    """Each probe's answer, with the time since when it has been the same."""
    known = {one["name"]: one for one in view.status.get("probes") or ()}
    told = []
    for name, (holds, message) in answers.items():
        before = known.get(name, {})
        since = before["since"] if before.get("holds") is holds else moment(now_ns)
        told.append({"name": name, "holds": holds, "since": since, "message": message[:_LONGEST]})
    return told
