"""What is done for open leases: verify them, take them back, settle what a crash has left.

Called by the engine, under its lock. In: leases. Out: their last receipts. The inverse of each is on disk already, so
taking back needs no write before it; the receipts of many leases are written at once. Beginning is left to the engine.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from loomidi.contracts import LoomidiError, Receipt, Step
from loomidi.contracts.ports import LeaseDriver
from loomidi.ionic.act.books import Books, Note
from loomidi.ionic.act.leases import Lease
from loomidi.ionic.errors import NotActing
from loomidi.kit.clock import Clock


@dataclasses.dataclass(frozen=True, slots=True)
class End:
    """A lease that is to be taken back, and why."""

    lease: Lease
    step: Step  # undone or expired
    why: str
    measured: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Settler:
    """Of one engine."""

    def __init__(
        self, books: Books, drivers: Mapping[str, LeaseDriver], clock: Clock, fault: Callable[[str], None]
    ) -> None:
        self._books, self._drivers, self._clock, self._fault = books, drivers, clock, fault

    def settle(self, leases: Sequence[Lease]) -> list[Receipt]:
        """Open leases after a restart. Steps, in this order:

        1 its driver is not here: leave it open   2 begun, and nobody knows how far, or a failed undo: undo
        3 its time is over: undo   4 in force: verify, and undo what does not hold
        """
        # 1 to 3
        ending = [self._ending(lease) for lease in leases]
        # 4 in force
        held = iter(self.verify_all([lease for lease, one in zip(leases, ending, strict=True) if one is None]))
        found = [next(held) if one is None else one for one in ending]
        settled = [_unverified(one, lease) for one, lease in zip(found, leases, strict=True)]
        ended = iter(self.take_back([one for one in settled if isinstance(one, End)]))
        return [next(ended) if isinstance(one, End) else one.last for one in settled]

    def _ending(self, lease: Lease) -> Lease | End | None:
        # 1 no driver
        if lease.driver not in self._drivers:
            return lease
        # 2 nobody knows how far
        if lease.last.step in (Step.INTENT, Step.FAILED):
            return End(lease, Step.UNDONE, "found after a restart, not known to be applied")
        # 3 its time is over
        if lease.until_ns <= self._clock.now_ns():
            return End(lease, Step.EXPIRED, "found after a restart, its time is over")
        return None

    def verify(self, lease: Lease) -> Receipt:
        """Measure again whether it holds; what does not is taken back. Raises what the driver raises."""
        found = self._measured(lease)
        if isinstance(found, End):
            return self.take_back([found])[0]
        return self._verified([found])[0].last if found else lease.last

    def verify_all(self, leases: Sequence[Lease]) -> list[Lease | End | Exception]:
        """Of each: its lease with the receipt, or an end that is due, or what the driver raised. One write."""
        found: list[Note | End | Exception | Lease] = []
        for lease in leases:
            try:
                found.append(self._measured(lease) or lease)
            except Exception as error:  # noqa: BLE001 - that it cannot be verified is for the caller to settle
                found.append(error)
        try:
            noted = iter(self._verified([one for one in found if isinstance(one, Note)]))
        except Exception as error:  # noqa: BLE001 - what is not on record does not stand: the caller takes it back
            return [error if isinstance(one, Note) else one for one in found]
        return [next(noted) if isinstance(one, Note) else one for one in found]

    def take_back(self, ends: Sequence[End]) -> list[Receipt]:
        """Carry out the stored inverses. Where that fails the plan stays open, and `settle` tries again."""
        notes: list[Note] = []
        gone: set[int] = set()  # rule ids of those of them that are undone: no later one brings their entries back
        for end in ends:
            notes.append(self._undone(end, gone))
            if notes[-1].step is not Step.FAILED:
                gone.add(int(end.lease.inverse.get("rule_id", 0)))
        leases = self._books.note_all(notes)
        for note in notes:
            if "error" not in note.detail:
                self._fault("undone_recorded")
        return [lease.last for lease in leases]

    def driver_of(self, lease: Lease) -> LeaseDriver:
        """Raises NotActing when it is not here."""
        if lease.driver not in self._drivers:
            raise NotActing(
                f"{lease.plan_id} is held by driver {lease.driver}, which is not here; start it and recover"
            )
        return self._drivers[lease.driver]

    def _measured(self, lease: Lease) -> Note | End | None:
        if lease.plan is None:
            return None
        measured = dict(self.driver_of(lease).verify(lease.plan))
        self._fault("verified_unrecorded")
        if measured.get("holds") is not True:
            return End(lease, Step.UNDONE, "it does not hold", measured)
        return Note(lease, Step.VERIFIED, measured)

    def _verified(self, notes: Sequence[Note]) -> list[Lease]:
        leases = self._books.note_all(notes)
        for _ in leases:
            self._fault("verified_recorded")
        return leases

    def _undone(self, end: End, gone: set[int]) -> Note:
        detail: dict[str, Any] = {"why": end.why} | dict(end.measured)
        try:
            result = dict(self.driver_of(end.lease).undo(self._inverse_now(end.lease, gone)))
        except Exception as error:  # noqa: BLE001 - an undo that breaks must be on record, and is tried again
            return Note(end.lease, Step.FAILED, detail | {"error": f"{type(error).__name__}: {error}"})
        self._fault("undone_unrecorded")
        return Note(end.lease, end.step if result.get("undone") is True else Step.FAILED, detail | result)

    def _inverse_now(self, lease: Lease, gone: set[int]) -> Mapping[str, Any]:
        """The inverse under the lease's newest token, without an entry of ours whose plan is over by now."""
        inverse = dict(lease.inverse) | ({"token": lease.token} if lease.token else {})
        before = inverse.get("before")
        owner = before.get("rule_id", 0) if isinstance(before, Mapping) else 0
        if not owner:
            return inverse
        held = [one for one in self._books.open.values() if one.inverse.get("rule_id") == owner and owner not in gone]
        told = [self._books.read(one.plan_id) for one in held]  # another engine may have ended it: the store knows
        return inverse if any(one and not one.over for one in told) else inverse | {"before": None}


def _unverified(found: Lease | End | Exception, lease: Lease) -> Lease | End:
    """What cannot be verified is taken back. Raises what is no error of ours."""
    if isinstance(found, LoomidiError):
        return End(lease, Step.UNDONE, f"found after a restart, cannot be verified: {found}")
    if isinstance(found, Exception):
        raise found
    return found
