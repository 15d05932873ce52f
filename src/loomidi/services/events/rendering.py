"""Our records as letters, in the format that a sink asks for.

Called by `telling` and `loomidi events`. In: findings (records, or rows of the bus), plans, receipts, outcomes. Out:
letters. STIX knows findings alone: of anything else there is no letter in it, which the caller counts. Pure.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from loomidi import __version__
from loomidi.contracts import Approval, Finding, Plan, Receipt, Severity
from loomidi.contracts.schemas import FINDINGS
from loomidi.insight.explain import technique
from loomidi.ionic.documents import read_record
from loomidi.ionic.errors import BadPlan
from loomidi.ionic.events import About, encoded, finding_event, plan_event, receipt_event, sighting
from loomidi.loom.sinks import Format, Letter

_NAMES = {"finding_id": "id", "first": "first_ns", "last": "last_ns"}  # columns that a record calls otherwise
_COLUMNS = ("finding_id", "pattern", "techniques", "severity", "confidence", "entities", "first", "last", "source")


@dataclasses.dataclass(frozen=True, slots=True)
class Telling:
    """One thing to be told."""

    record: Finding | Plan | Receipt
    state: str = "new"  # of a finding
    told_ns: int | None = None  # when it was said; None: by the record
    folds: tuple[Mapping[str, Any], ...] = ()  # what would answer a finding
    plan: Plan | None = None  # of a receipt, where it is at hand
    approval: Approval | None = None  # of a plan


def about(node: str = "") -> About:
    """Who tells."""
    return About(__version__, node, lambda one: technique(one).removeprefix(one).strip())


def letter(telling: Telling, form: Format, by: About) -> Letter | None:
    """None where the format has no words for it."""
    record = telling.record
    if isinstance(record, Finding):
        return _finding(record, telling, form, by)
    if form is Format.STIX:
        return None
    if isinstance(record, Plan):
        event = plan_event(record, by, approval=telling.approval)
        return _letter("plan", event, record.created_ns, record.finding.severity)
    severity = telling.plan.finding.severity if telling.plan else Severity.INFO
    return _letter("receipt", receipt_event(record, by, plan=telling.plan), record.at_ns, severity)


def _finding(finding: Finding, telling: Telling, form: Format, by: About) -> Letter:
    at_ns = finding.last_ns if telling.told_ns is None else telling.told_ns
    if form is Format.STIX:
        bundle = sighting(finding, by)
        return Letter(str(bundle["id"]), "finding", encoded(bundle), at_ns, finding.severity)
    event = finding_event(finding, by, state=telling.state, told_ns=telling.told_ns, folds=telling.folds)
    return _letter("finding", event, at_ns, finding.severity)


def _letter(kind: str, event: Mapping[str, Any], at_ns: int, severity: Severity) -> Letter:
    return Letter(str(event["metadata"]["uid"]), kind, encoded(event), at_ns, severity)


def rows(batch: pa.RecordBatch) -> Iterator[Telling | str]:
    """Rows of the stream `findings`; for one that cannot be read, why."""
    plain = FINDINGS
    for at, field in enumerate(FINDINGS):
        plain = plain.set(at, pa.field(field.name, pa.int64())) if pa.types.is_timestamp(field.type) else plain
    for row in pa.Table.from_batches([batch]).cast(plain).to_pylist():
        try:
            yield _row(row)
        except (BadPlan, ValueError, TypeError) as error:
            yield str(error)


def _row(row: Mapping[str, Any]) -> Telling:
    told = {_NAMES.get(name, name): row[name] for name in _COLUMNS}
    told |= {"evidence": json.loads(row["evidence"]), "explanation": row["explanation"]}
    folds = json.loads(row["folds"])
    return Telling(read_record(Finding, told, "finding"), row["state"], row["told"], tuple(folds))


def tellings(document: Mapping[str, Any]) -> list[Telling]:
    """Of `analyze --json` or `receipts --json`, parsed. Raises InputError naming what is wrong."""
    if "receipts" in document:
        return receipts([read_record(Receipt, one, "receipt") for one in document["receipts"]])
    folds: dict[str, list[Mapping[str, Any]]] = {}
    for one in document.get("folds", ()):
        told = {name: one.get(name) for name in ("plan", "kind", "action", "target", "ttl_s", "allowed")}
        folds.setdefault(str(one.get("because", "")), []).append(told)
    found = [read_record(Finding, one, "finding") for one in document["findings"]]
    return [Telling(one, folds=tuple(folds.get(one.id, ()))) for one in found]


def receipts(found: Sequence[Receipt]) -> list[Telling]:
    """Each with its plan where an earlier receipt holds it; before the first of a plan, the plan with its approval."""
    plans, told = dict[str, Plan](), list[Telling]()
    for one in found:
        if one.plan_id not in plans:
            for plan in _planned(one):
                plans[one.plan_id] = plan
                told.append(Telling(plan, approval=_approved(one)))
        told.append(Telling(one, plan=plans.get(one.plan_id)))
    return told


def _planned(receipt: Receipt) -> Iterator[Plan]:
    """The plan in a receipt; one of another version is no plan, and its receipts are told without it."""
    if isinstance(receipt.detail.get("plan"), Mapping):
        with contextlib.suppress(BadPlan):
            yield read_record(Plan, receipt.detail["plan"], "plan")


def _approved(receipt: Receipt) -> Approval | None:
    try:
        return read_record(Approval, receipt.detail.get("approval"), "approval")
    except BadPlan:
        return None


def unsent(told: Sequence[Telling], mark: str) -> list[Telling]:
    """What comes after the receipt of that id; all of it where no receipt has it."""
    places = [at for at, one in enumerate(told) if isinstance(one.record, Receipt) and one.record.id == mark]
    return list(told[places[-1] + 1 :]) if places else list(told)
