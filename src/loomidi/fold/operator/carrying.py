"""From the stored inverse to the end: apply, verify, hold, take back. One pass does one of these.

Called by `reconciling`. In: a view of a Fold that is approved or begun. Out: the driver's work, then one status, and
seconds until the next look. The inverse is in the API server before `apply`; a pass that finds it there and no record
of the effect applies again, which a driver does idempotently, or takes it back when leave is gone. A failed undo stays
open, says so in the condition Stalled, and is tried again.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from loomidi.contracts import LoomidiError, Plan, Retryable, Step
from loomidi.fold.operator import judging
from loomidi.fold.operator.hearing import NOT_HEARD, undone
from loomidi.fold.operator.noting import conditioned, following, probes_noted, receipted
from loomidi.fold.operator.policing import Leave
from loomidi.fold.operator.views import RELEASE, Object, View
from loomidi.fold.operator.world import World
from loomidi.fold.resources.objects import moment, nanoseconds, plan_of
from loomidi.fold.resources.phases import Phase
from loomidi.fold.resources.probing import STABLE_S, TIMEOUT_S
from loomidi.ionic.documents import rule_id

AT_ONCE = 0.0
LOOK_S = 30.0  # between two looks at what is in force
PROBE_S = 1.0  # between two looks at what is being verified
BACK_S = 15.0  # after the end for which what was cut is listened for
STALLED_S = 5.0  # before a failed undo is tried again


class Carrier:
    """Does the driver's part of a Fold's life."""

    def __init__(self, world: World) -> None:
        self._world = world

    def intend(self, view: View, plan: Plan, now_ns: int) -> float:
        """Store the inverse, and when it ends whatever happens. Nothing is touched yet.

        Meanwhile what everybody will be asked about before the effect is read again (`World.look_ahead`)."""
        driver = self._world.driver
        inverse = dict(driver.inverse(plan.fold)) | {"rule_id": rule_id(plan.id)}
        until = moment(now_ns + round(plan.fold.ttl_s * 1e9))
        told = f"the inverse is stored, the change is being made {inverse.get('told', '')}".rstrip()
        status = following(view, now_ns, Phase.APPLYING, told, until=until)
        status["receipts"] = receipted(view, Step.INTENT, driver.name, {"planId": plan.id}, now_ns, inverse=inverse)
        self._world.look_ahead(view)
        self._world.pen.status(view, status, "intent")
        return AT_ONCE

    def carry(self, view: View) -> float | None:
        """One pass over what was begun. Steps, in this order:

        1 a reason to end it: take it back   2 not known to be applied: apply   3 applied: verify   4 in force: look
        """
        plan, now_ns = plan_of(view.obj), self._world.clock.now_ns()
        self._world.remember(plan.id, _inverse(view))
        # 1 a reason to end it
        if end := self._end(view, plan, now_ns):
            return self._take_back(view, *end)
        # 2 apply
        if view.applied is None:
            return self._apply(view, plan)
        # 3 verify, 4 look
        return self._verify(view, plan, now_ns) if view.phase is Phase.VERIFYING else self._look(view, plan, now_ns)

    def heard_again(self, view: View) -> float | None:
        """Of a Fold that was taken back: whether what its probes held for cut passes again, noted once. None: it is
        noted, or there is nothing to hear."""
        if view.deleting or view.applied is None or view.condition("Back") or len(view.status.get("probes") or ()) < 2:
            return None
        plan, now_ns = plan_of(view.obj), self._world.clock.now_ns()
        leave = self._world.leave(view, plan)
        turned = [one for probe in leave.probes if (one := undone(probe))] if isinstance(leave, Leave) else []
        if not turned:
            return None
        answers = {one["name"]: _answer(functools.partial(self._world.probe, one, view, plan)) for one in turned}
        silent = "; ".join(f"{name}: {why}" for name, (holds, why) in answers.items() if not holds)
        heard = [why for holds, why in answers.values() if not holds and not why.startswith(NOT_HEARD)]
        if heard and now_ns - view.at("since") < BACK_S * 1e9:  # whom nobody can hear is not waited for
            return PROBE_S
        told = f"nothing is heard after the end: who spoke has ended, or look at it ({silent})"
        answer = (not silent, "Silent" if silent else "Heard", told if silent else "what was cut passes again")
        status = following(view, now_ns, None, str(view.status.get("message", "")))
        self._world.pen.status(view, conditioned(status, now_ns, Back=answer), "noted")
        return AT_ONCE

    def _end(self, view: View, plan: Plan, now_ns: int) -> tuple[Phase, Step, str] | None:
        """Why it is taken back now."""
        if view.deleting:
            return Phase.RELEASED, Step.UNDONE, "the Fold was deleted"
        if view.noted(RELEASE):
            return Phase.RELEASED, Step.UNDONE, f"released by a person: {view.noted(RELEASE)}"
        if view.phase is Phase.ACTIVE and (name := self._world.standing(view).successor):
            return Phase.SUPERSEDED, Step.UNDONE, f"Fold {name} has taken its place"
        if now_ns >= view.at("until"):
            return Phase.RELEASED, Step.EXPIRED, "its time is up"
        stays = _inverse(view).get("reversible", True)  # what has no way back may take the target away
        was = view.status.get("target", {}).get("uid", "") if stays else ""
        live = self._world.target(plan) if was else None
        if was and (live is None or live["metadata"]["uid"] != was):
            return Phase.SUPERSEDED, Step.UNDONE, f"{plan.fold.target} is gone, or another one than was judged"
        return None

    def _apply(self, view: View, plan: Plan) -> float | None:
        """Ask everybody once more, apply, and write it down; what fails is taken back."""
        world = self._world
        try:
            leave = world.leave(view, plan)
            approval = judging.opened(view, plan, leave, world)
            world.pen.check()
            with world.at_hand(view) as view:
                detail = dict(world.driver.apply(plan, approval))
        except Retryable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever went wrong, it may be half done
            return self._take_back(
                view, Phase.ROLLED_BACK, Step.UNDONE, f"it could not be applied: {type(error).__name__}: {error}"
            )
        now_ns = world.clock.now_ns()
        cut = f"; {detail['told']}" if detail.get("told") else ""  # where packets are cut, and where not
        status = following(view, now_ns, Phase.VERIFYING, f"the change is made, probes watch whether it holds{cut}")
        status["receipts"] = receipted(view, Step.APPLIED, world.driver.name, detail, now_ns)
        status = conditioned(status, now_ns, Applied=(True, "Applied", f"by {world.driver.name}{cut}"))
        world.pen.status(view, status, "applied")
        return AT_ONCE

    def _verify(self, view: View, plan: Plan, now_ns: int) -> float | None:
        """Active once everything has held for long enough; taken back when it did not in time."""
        leave = self._world.leave(view, plan)
        stable_s, timeout_s = (leave.stable_s, leave.timeout_s) if isinstance(leave, Leave) else (STABLE_S, TIMEOUT_S)
        answers = self._answers(view, plan, leave)
        probes = probes_noted(view, answers, now_ns)
        failing = "; ".join(f"{name}: {why}" for name, (holds, why) in answers.items() if not holds)
        held_s = (now_ns - max(nanoseconds(one["since"]) for one in probes)) / 1e9
        if not failing and held_s >= stable_s:
            return self._in_force(view, answers, probes, now_ns)
        if failing and (now_ns - view.at("since")) / 1e9 >= timeout_s:
            return self._take_back(view, Phase.ROLLED_BACK, Step.UNDONE, f"it did not hold: {failing}", probes=probes)
        told = failing or "everything holds, it must stay so for a while"
        status = following(view, now_ns, None, told, probes=probes)
        self._world.pen.status(view, status, "noted")
        return PROBE_S if failing else min(PROBE_S, max(0.0, stable_s - held_s))

    def _answers(self, view: View, plan: Plan, leave: Leave | str) -> dict[str, tuple[bool, str]]:
        """The driver's reading back, and every probe that is asked for; one that cannot answer does not hold."""
        asked: dict[str, Callable[[], tuple[bool, str]]] = {"applied": functools.partial(self._read_back, plan)}
        for probe in leave.probes if isinstance(leave, Leave) else ():
            asked[probe["name"]] = functools.partial(self._world.probe, probe, view, plan)
        return {name: _answer(question) for name, question in asked.items()}

    def _read_back(self, plan: Plan) -> tuple[bool, str]:
        measured = self._world.driver.verify(plan)
        return measured.get("holds") is True, str(measured.get("found", "")) or "read back"

    def _in_force(
        self, view: View, answers: Mapping[str, tuple[bool, str]], probes: list[dict[str, Any]], now_ns: int
    ) -> float | None:
        status = following(view, now_ns, Phase.ACTIVE, "in force and verified, until its time is up", probes=probes)
        detail = {name: why for name, (_, why) in answers.items()}
        status["receipts"] = receipted(view, Step.VERIFIED, self._world.driver.name, detail, now_ns)
        status = conditioned(status, now_ns, Verified=(True, "Held", "every probe has held for long enough"))
        self._world.pen.status(view, status, "verified")
        return AT_ONCE

    def _look(self, view: View, plan: Plan, now_ns: int) -> float | None:
        """What no longer holds is taken back."""
        holds, found = self._read_back(plan)
        if not holds:
            return self._take_back(view, Phase.ROLLED_BACK, Step.UNDONE, f"it no longer holds: {found}")
        if (told := self._world.standing(view).told) is not None:
            status = following(view, now_ns, None, str(view.status.get("message", "")))
            self._world.pen.status(view, conditioned(status, now_ns, Escalation=told), "noted")
        return min(LOOK_S, (view.at("until") - now_ns) / 1e9)

    def _take_back(self, view: View, phase: Phase, step: Step, why: str, **noted: Any) -> float | None:
        """Carry out the stored inverse and write down how it went; `noted` goes into the status beside it."""
        self._world.pen.check()
        try:
            with self._world.at_hand(view) as view:
                result = dict(self._world.driver.undo(_inverse(view)))
        except Exception as error:  # noqa: BLE001 - an undo that breaks must be on record, and is tried again
            result = {"undone": False, "error": f"{type(error).__name__}: {error}"}
        now_ns, name = self._world.clock.now_ns(), self._world.driver.name
        if result.get("undone") is True:
            noted["receipts"] = receipted(view, step, name, {"why": why} | result, now_ns)
            return self._taken_back(view, phase, why, noted)
        told = f"{why}; it could not be taken back yet: {result.get('error', result)}"
        status = following(view, now_ns, None, told, **noted)
        status["receipts"] = receipted(view, Step.FAILED, name, {"why": why} | result, now_ns)
        status = conditioned(status, now_ns, Stalled=(True, "UndoFailed", str(result.get("error", result))))
        self._world.pen.status(view, status, "undone")
        return STALLED_S

    def _taken_back(self, view: View, phase: Phase, why: str, noted: Mapping[str, Any]) -> float | None:
        now_ns = self._world.clock.now_ns()
        status = following(view, now_ns, phase, why, **noted)
        status = conditioned(status, now_ns, Applied=(False, phase.value, why), Stalled=(False, phase.value, why))
        self._world.pen.status(view, status, "undone")
        return AT_ONCE


def _inverse(view: View) -> Object:
    """As it was stored before the effect."""
    intent = view.intent
    inverse: Object = intent["inverse"] if intent else {}
    return inverse


def _answer(question: Callable[[], tuple[bool, str]]) -> tuple[bool, str]:
    try:
        return question()
    except LoomidiError as error:
        return False, f"no answer: {error}"
