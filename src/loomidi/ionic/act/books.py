"""The engine's books: which leases are open, and every receipt that the engine writes.

Called by the engine and by what settles for it, under the engine's lock. In: what was about to be done, or was. Out:
receipts, many by one wait for the disk, and leases in step with them. Several engines may write to one store: a plan
that another one has ended stays ended, and is told as such.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from loomidi.contracts import Conflict, Receipt, Step
from loomidi.contracts.ports import Line, ReceiptStore
from loomidi.ionic.act.leases import Lease, read_lease
from loomidi.kit.clock import Clock


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """A receipt that is to be written for a lease."""

    lease: Lease
    step: Step
    detail: Mapping[str, Any]


class Books:
    """Of one engine."""

    def __init__(self, store: ReceiptStore, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._ends: dict[str, int] = {}  # plan -> when it ends by the monotonic clock, which nobody can set back
        self.open: dict[str, Lease] = {}
        for lease in self.stored():
            self.keep(lease)

    def stored(self) -> list[Lease]:
        """Every open lease, as the store has it."""
        return [lease for lease in map(self.read, list(self._store.open_plans())) if lease]

    def read(self, plan_id: str) -> Lease | None:
        """As the store has it."""
        return read_lease(self._store.of(plan_id))

    def told(self, plan_id: str) -> list[Receipt]:
        """All receipts of a plan."""
        return self._store.of(plan_id)

    def keep(self, lease: Lease) -> Lease:
        """Hold it open, or let go of it when it is over."""
        if lease.over:
            self.open.pop(lease.plan_id, None)
            self._ends.pop(lease.plan_id, None)
            return lease
        known = self.open.get(lease.plan_id)
        self.open[lease.plan_id] = lease
        if lease.until_ns and (known is None or known.until_ns != lease.until_ns):
            began_ns = max(lease.since_ns, self._clock.now_ns())  # a clock set back lends nothing
            self._ends[lease.plan_id] = self._clock.monotonic_ns() + lease.until_ns - began_ns
        return lease

    def due(self) -> list[Lease]:
        """Those whose time is over, by the time of day or by the time that has really passed."""
        now_ns, passed_ns = self._clock.now_ns(), self._clock.monotonic_ns()
        ends = self._ends
        return [
            lease
            for lease in self.open.values()
            if lease.until_ns and (lease.until_ns <= now_ns or ends[lease.plan_id] <= passed_ns)
        ]

    def begin(self, lines: Sequence[Line]) -> list[Receipt | Exception]:
        """First receipts of plans, by one write. Where somebody holds one of them, the others are written singly."""
        try:
            return [_there(one) for one in self._store.append_all(lines)]
        except Conflict as error:
            if len(lines) == 1:
                return [error]
            return [one for line in lines for one in self.begin([line])]
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing was begun; the caller tells it for each
            return [error] * len(lines)

    def note(self, lease: Lease, step: Step, detail: Mapping[str, Any]) -> Lease:
        """One receipt of an open plan, and the lease as it is then."""
        return self.note_all([Note(lease, step, detail)])[0]

    def note_all(self, notes: Sequence[Note]) -> list[Lease]:
        """The same for many, by one write. A plan that another engine has ended meanwhile is given as it ended."""
        if not notes:
            return []
        lines = [Line(n.lease.plan_id, n.step, n.lease.driver, n.lease.inverse, n.detail) for n in notes]
        receipts = self._store.append_all(lines, ended_stays=True)
        return [self._stepped(note, receipt) for note, receipt in zip(notes, receipts, strict=True)]

    def refuse(self, lease: Lease, detail: Mapping[str, Any]) -> Receipt:
        """On record that something was asked and not done; the lease stays as it is."""
        return self._store.append(lease.plan_id, Step.REFUSED, lease.driver, lease.inverse, detail)

    def _stepped(self, note: Note, receipt: Receipt | None) -> Lease:
        lease = note.lease
        if receipt is None:
            ended = self.read(lease.plan_id)
            assert ended is not None
            return self.keep(ended)
        until_ns = max(lease.until_ns, int(note.detail.get("until_ns", 0)))
        since_ns = receipt.at_ns if note.step is Step.APPLIED else lease.since_ns
        token = max(lease.token, int(note.detail.get("token", 0)) if note.step is Step.EXTENDING else 0)
        return self.keep(dataclasses.replace(lease, until_ns=until_ns, last=receipt, since_ns=since_ns, token=token))


def _there(receipt: Receipt | None) -> Receipt:
    """Every line is written where the end of a plan is not asked for."""
    assert receipt is not None
    return receipt
