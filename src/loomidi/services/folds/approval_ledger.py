"""Every word of a person on a Fold, and what it was worth: a hash chain on disk.

Called by `operating`, whose operator tells it each approval that lies on a Fold before any of them counts. In: what was
heard. Out: one receipt for each answer on each statement (`verified`: it counts; `refused`: it does not, and why),
durable when `write` returns; the same answer twice is written once. Where it cannot be written nothing is approved
meanwhile. `loomidi receipts FILE` reads it. Signed checkpoints of the chain are left to the ledger of `crypt`.
"""

import collections
from collections.abc import Iterator, Sequence
from pathlib import Path

from loomidi.contracts import LoomidiError, Plan, Receipt, Retryable, Step
from loomidi.fold.operator.approving import Heard
from loomidi.fold.operator.views import View
from loomidi.ionic.act.receipts import SqliteReceipts
from loomidi.ionic.documents import plan_hash
from loomidi.kit.clock import Clock
from loomidi.services.shared.probes import Sample

FILE_NAME = "approvals.sqlite"  # in the folder of records
_DRIVER = "approvals"
_PLANS = 1024  # whose answers are remembered; those of others are read back
_REFUSALS = 64  # written of one plan: who may annotate a Fold could fill the disk
_CROWDED = "further refusals of this plan are counted, and not written"
_Answer = tuple[str, str, str]  # uid of the Fold, digest of the statement, why it was refused or ''


class ApprovalLedger:
    """One replica's. Opened by the first approval, for one thread."""

    def __init__(self, folder: Path, *, clock: Clock | None = None) -> None:
        self._file, self._clock = folder / FILE_NAME, clock
        self._store: SqliteReceipts | None = None
        self._known: collections.OrderedDict[str, set[_Answer]] = collections.OrderedDict()
        self.counts: collections.Counter[str] = collections.Counter()

    def write(self, view: View, plan: Plan, heard: Sequence[Heard]) -> None:
        """What is new of it. Raises Retryable where it cannot be written: whoever waits for it asks again."""
        if not heard:
            return
        try:
            for one in heard:
                self._note(view, plan, one)
        except LoomidiError as error:
            self._known.pop(plan.id, None)
            raise Retryable(f"approvals count once they are written down, and cannot be: {error}") from error

    def check(self) -> None:
        """Whether it could be written. Raises what keeps it from it."""
        self._opened()

    def close(self) -> None:
        """Let go of the file."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _note(self, view: View, plan: Plan, one: Heard) -> None:
        known, uid = self._answers(plan.id), str(view.metadata.get("uid", ""))
        answer = (uid, one.digest, one.why)
        if answer in known:
            return
        known.add(answer)
        refused = sum(bool(why) for _, _, why in known)
        self.counts["refused" if one.why else "counted"] += 1
        if one.why and refused > _REFUSALS + 1:
            self.counts["not_written"] += 1
            return
        why = _CROWDED if one.why and refused > _REFUSALS else one.why
        target = view.status.get("target") or {}
        detail = {
            "fold": {"key": view.key, "uid": uid},
            "planHash": plan_hash(plan),
            "target": {name: target.get(name, "") for name in ("uid", "resourceVersion")},
            "key": one.note[:256],
            "approver": one.approver[:256],
            "statement": one.digest,
            "why": why,
        }
        if one.granted is not None:
            detail["signature"] = one.granted.approval.signature
        step = Step.REFUSED if one.why else Step.VERIFIED
        self._opened().append(plan.id, step, _DRIVER, {}, detail)

    def _answers(self, plan_id: str) -> set[_Answer]:
        """Those of one plan, as they were written."""
        if plan_id not in self._known:
            self._known[plan_id] = {_answer(one) for one in self._opened().of(plan_id)}
        self._known.move_to_end(plan_id)
        while len(self._known) > _PLANS:
            self._known.popitem(last=False)
        return self._known[plan_id]

    def _opened(self) -> SqliteReceipts:
        if self._store is None:
            self._store = SqliteReceipts(self._file, clock=self._clock)
        return self._store

    def samples(self) -> Iterator[Sample]:
        """For /metrics."""
        about = "Approvals of persons, by what they were worth"
        for what, number in sorted(self.counts.items()):
            yield Sample("loomidi_operator_approvals_total", "counter", about, number, {"what": what})


def _answer(one: Receipt) -> _Answer:
    return str(one.detail["fold"]["uid"]), str(one.detail["statement"]), str(one.detail["why"])
