"""Outcomes of folds as labels, each with the decision, who says so, when, and by what: data recycling.

Called by `services.anomalies.modelling`. In: receipts, words of people. Out: rows of LABELS; `keep` puts new ones into
the lake. An outcome is not the truth: a block also holds where nothing was wrong, so `attack` is null but where a
person vouched. A share of incidents, by hash, is held out: no training sees it in any way.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from loomidi.contracts.records import Receipt, Step, content_id
from loomidi.contracts.schemas import LABELS
from loomidi.contracts.streams import Message, Stream
from loomidi.ionic.approvals import GUARDS

if TYPE_CHECKING:
    from loomidi.loom.lake import Lake

HOLD_OUT = 0.2
"""Share of incidents that are held out."""
_PRODUCER = "learn"
_NO_HOLD = "it does not hold"  # why the engine takes back what its probe did not find in place


@dataclasses.dataclass(frozen=True, slots=True)
class Word:
    """What a person says of a decision."""

    decision: str  # plan id
    attack: bool
    who: str
    at_ns: int


def held_out(incident: str, share: float = HOLD_OUT) -> bool:
    """By the first 32 bits of SHA-256 of its id: the same everywhere, for ever, and nobody can choose."""
    digest = hashlib.sha256(f"hold-out {incident}".encode()).digest()
    return int.from_bytes(digest[:4], "big") < share * 2**32


def labels_of(receipts: Iterable[Receipt], words: Iterable[Word] = (), share: float = HOLD_OUT) -> pa.RecordBatch:
    """A row for each plan that is over and one for each word; plans that are under way tell nothing yet."""
    plans = dict[str, list[Receipt]]()
    for receipt in receipts:
        plans.setdefault(receipt.plan_id, []).append(receipt)
    told = {word.decision: word for word in words}
    rows = [row for some in plans.values() for row in _rows(some, told.get(some[0].plan_id), share)]
    return pa.RecordBatch.from_pylist(rows, schema=LABELS)


def keep(lake: "Lake", labels: pa.RecordBatch, now_ns: int) -> int:
    """Write those that the lake's table has not; how many. Raises Conflict while a pipeline commits that table."""
    from loomidi.loom.bus.envelopes import encode
    from loomidi.loom.lake import Committer

    known = set[str]()
    if Stream.LABELS.value in lake.tables():
        known = set(lake.read(Stream.LABELS, columns=["label_id"])["label_id"].to_pylist())
    fresh = labels.filter(pa.array([one not in known for one in labels.column("label_id").to_pylist()], pa.bool_()))
    if not fresh.num_rows:
        return 0
    envelope = encode(fresh, stream=Stream.LABELS, producer=_PRODUCER, epoch=now_ns, seq=0, created_ns=now_ns)
    with Committer(lake, Stream.LABELS, lineage=_PRODUCER) as committer:
        committer.take([Message(envelope, 0, now_ns)])
        committer.commit()
    return int(fresh.num_rows)


def _rows(receipts: Sequence[Receipt], word: Word | None, share: float) -> list[dict[str, Any]]:
    plan = next((one.detail["plan"] for one in receipts if "plan" in one.detail), None)
    if plan is None:
        return []
    told = list[dict[str, Any]]()
    outcome, by = _outcome(receipts)
    vouched = True if outcome == "worked" and by != GUARDS else None  # a person approved it, and nobody took it back
    if outcome:
        told.append(_row(plan, receipts, (outcome, vouched, by, "receipts", receipts[-1].at_ns), share))
    if word is not None:
        outcome = outcome or "no_effect"
        told.append(_row(plan, receipts, (outcome, word.attack, word.who, "person", word.at_ns), share))
    return told


def _outcome(receipts: Sequence[Receipt]) -> tuple[str, str]:
    """Outcome and by whom; "" where the plan is under way (a failed undo is tried again), or touched nothing."""
    last, steps = receipts[-1], {receipt.step for receipt in receipts}
    if Step.APPLIED not in steps or last.step not in (Step.EXPIRED, Step.UNDONE):
        return "", ""
    if last.step is Step.EXPIRED:
        return ("worked", _approver(receipts)) if Step.VERIFIED in steps else ("expired", last.driver)
    return ("no_effect" if last.detail.get("why") == _NO_HOLD else "undone"), last.driver


def _approver(receipts: Sequence[Receipt]) -> str:
    approvers = (str(one.detail["approval"].get("approver", "")) for one in receipts if "approval" in one.detail)
    return next(approvers, "") or receipts[-1].driver


def _row(
    plan: Mapping[str, Any], receipts: Sequence[Receipt], said: tuple[str, bool | None, str, str, int], share: float
) -> dict[str, Any]:
    outcome, attack, by, source, at_ns = said
    finding = plan["finding"]
    content = {"decision": plan["id"], "outcome": outcome, "attack": attack, "by": by, "source": source}
    return {
        "told": at_ns,
        "label_id": content_id("label", content),
        "incident": finding["id"],
        "pattern": finding["pattern"],
        "entities": list(finding["entities"]),
        "first": finding["first_ns"],
        "last": finding["last_ns"],
        "held_out": held_out(finding["id"], share),
        "evidence": json.dumps([{"id": one.id, "step": one.step, "at_ns": one.at_ns} for one in receipts]),
        **content,
    }
