"""Whether a Fold may go on before anything is touched: judged, approved, expired, denied. Touches nothing.

Called by `reconciling` and `carrying`. In: a view, the plan, the leave of its policy, the world. Out: a `Ruling`. A
Fold goes no further than the least of its own mode, the policy's and the operator's; shadow is judged and then ends
untouched. What each approval is worth is written down (`world.ledger`) before any of them counts.
"""

import dataclasses

from loomidi.contracts import Approval, LoomidiError, Mode, Plan, Retryable, Verdict
from loomidi.contracts.ports import Driver
from loomidi.fold.operator.approving import Heard, requesters
from loomidi.fold.operator.braking import PAUSED, Brake
from loomidi.fold.operator.policing import Leave, least
from loomidi.fold.operator.views import DENY, View
from loomidi.fold.operator.world import World
from loomidi.fold.resources.objects import nanoseconds
from loomidi.fold.resources.phases import Phase
from loomidi.ionic.decide import PlanRefused, person_asked


@dataclasses.dataclass(frozen=True, slots=True)
class Ruling:
    """What follows. `phase` None: stay and wait."""

    phase: Phase | None
    why: str
    verdicts: tuple[Verdict, ...] = ()
    approvals: tuple[Approval, ...] = ()
    brake: Brake | None = None
    by_guards: bool = False  # whether it was they who approved, all asked for it just now


def ended(view: View, plan: Plan, now_ns: int) -> Ruling | None:
    """Whether its time before the first effect is over: a person said no, or nobody has said yes in time."""
    if view.noted(DENY):
        return Ruling(Phase.DENIED, f"denied by a person: {view.noted(DENY)}")
    if now_ns >= plan.expires_ns:
        held = f"it was held until its plan's time was over: {view.holding}" if view.holding else ""
        return Ruling(Phase.EXPIRED, held or "nobody approved it, or it was not begun, before the plan's time was over")
    return None


def held(brake: Brake) -> Ruling:
    """It stays where it is for as long as the brake holds."""
    return Ruling(None, str(brake), brake=brake)


def judged(plan: Plan, leave: Leave | str, world: World) -> Ruling:
    """Ask everybody. Steps, in this order:

    1 a policy gives leave, and the flows that were kept do not speak against it   2 every guard says yes
    3 no brake holds it back   4 some driver can do it

    Raises Retryable when the driver cannot look now.
    """
    # 1 a policy
    if isinstance(leave, str):
        return Ruling(Phase.DENIED, leave, (Verdict("policy", "any", False, leave),))
    acts = least(plan.mode, leave.mode, world.mode) in (Mode.GUARDED, Mode.AUTONOMOUS)
    if acts and leave.unproven:
        known = False if plan.blast_radius.replay.measured else None
        return Ruling(Phase.DENIED, leave.unproven, (Verdict("policy", "replay", known, leave.unproven),))
    allowed = Verdict("policy", "any", True, f"FoldPolicy {leave.policy}")
    # 2 every guard
    told = world.deciders(plan.mode).judge(plan)
    verdicts = (allowed, *told)
    if not told or any(one.allow is not True for one in told):
        return refused(plan, PlanRefused(plan.id, told), verdicts, world)
    # 3 the brakes, before the driver: what another Fold holds is waited for, not denied
    if leave.brake:
        return held(leave.brake)
    # 4 the driver
    able = _able(plan, world.driver)
    if able.allow is not True:
        return Ruling(Phase.DENIED, f"it cannot be done: {able.reason}", (*verdicts, able))
    return Ruling(Phase.GUARDED, "every guard has answered yes", (*verdicts, able))


def approved(view: View, plan: Plan, leave: Leave, world: World) -> Ruling:
    """Whether everybody who has to has approved: so many persons as mode, kind and policy ask for, else the guards."""
    now_ns = world.clock.now_ns()
    waited = _waited(view, now_ns) / leave.answer_s
    signed = _signed(view, plan, leave, world, late=waited >= 1)
    if brake := _holding(view, leave):
        return held(brake)
    mode = least(plan.mode, leave.mode, world.mode)
    if mode is Mode.SHADOW:
        return Ruling(None, "mode shadow: nothing is touched, it ends with its plan")
    asked = person_asked(plan.fold.kind, mode)  # by the least mode: a policy's guarded binds a Fold that says more
    persons = max(leave.persons, int(bool(asked)))
    if len(signed) < persons:
        told = f"{persons - len(signed)} more of {persons} approvals by persons"
        return _missing(view, leave, told, asked, waited)
    try:
        granted = signed[: max(1, persons)] or [world.deciders(plan.mode).decide(plan)]
    except PlanRefused as no:
        return refused(plan, no, no.verdicts, world)
    names = ", ".join(one.approver for one in granted)
    return Ruling(Phase.APPROVED, f"approved by {names}", (), (*granted,), by_guards=not signed)


def refused(plan: Plan, no: PlanRefused, verdicts: tuple[Verdict, ...], world: World) -> Ruling:
    """Denied; expired, where nothing speaks against it but that its time ran out while it was judged."""
    against = {one.rule for one in no.verdicts if one.allow is not True}
    if against == {"fresh"} and world.clock.now_ns() >= plan.expires_ns:
        return Ruling(Phase.EXPIRED, "its plan's time was over while it was judged", verdicts)
    return Ruling(Phase.DENIED, str(no), verdicts)


def _holding(view: View, leave: Leave) -> Brake | None:
    """A Fold whose inverse is stored has been counted already: only a person's word still stops it."""
    return None if leave.brake and view.begun and leave.brake.name != PAUSED else leave.brake


def _waited(view: View, now_ns: int) -> float:
    """Seconds for which people have been able to approve it."""
    told = view.condition("Guarded")
    return (now_ns - nanoseconds(told["lastTransitionTime"])) / 1e9 if told.get("status") == "True" else 0.0


def _signed(view: View, plan: Plan, leave: Leave, world: World, *, late: bool) -> list[Approval]:
    """By persons of the groups that are asked; never by who asked for it. Each word is on record before it counts."""
    groups = leave.groups | (leave.later if late else frozenset()) if leave.groups else frozenset()
    said = world.approvers.heard(view, plan, world.clock.now_ns())
    weighed = [_weighed(one, requesters(view, plan), groups) for one in said]
    world.ledger(view, plan, weighed)
    return [one.granted.approval for one in weighed if one.granted is not None]


def _weighed(one: Heard, asked_for_it: set[str], groups: frozenset[str]) -> Heard:
    """An approval that verifies may still be of somebody who is not asked."""
    if one.granted is None:
        return one
    if one.approver in asked_for_it:
        return one.refused("who asked for it may not approve it")
    if groups and not one.granted.groups & groups:
        return one.refused(f"its giver is of none of the groups that are asked: {', '.join(sorted(groups))}")
    return one


def _missing(view: View, leave: Leave, told: str, why: str, waited: float) -> Ruling:
    """Not enough: it waits for a while, then for other groups too, then it is over."""
    asked = sorted(leave.groups | (leave.later if waited >= 1 else frozenset())) if leave.groups else []
    told += f" of {', '.join(asked)}" if asked else ""
    if waited >= 2 and view.phase is Phase.GUARDED:
        return Ruling(Phase.EXPIRED, f"{told} did not come within {2 * leave.answer_s:g} s")
    return Ruling(None, f"waits for {told} ({why})" if why else f"waits for {told}")


def opened(view: View, plan: Plan, leave: Leave | str, world: World) -> Approval:
    """Leave to carry it out right now, asked of everybody once more. Raises PlanRefused."""
    if isinstance(leave, str):
        raise PlanRefused(plan.id, (Verdict("policy", "any", False, leave),))
    ruling = approved(view, plan, leave, world)
    if ruling.phase is not Phase.APPROVED:
        raise PlanRefused(plan.id, ruling.verdicts or (Verdict("approvals", "enough", False, ruling.why),))
    given = ruling.approvals[0]
    return given if ruling.by_guards else world.deciders(plan.mode).decide(plan, given.approver)


def _able(plan: Plan, driver: Driver) -> Verdict:
    """The driver's answer as a verdict. Looking for the inverse says more than `check`: what passes is told apart."""
    try:
        told = driver.inverse(plan.fold).get("told", "")
    except Retryable:
        raise
    except LoomidiError as error:
        return Verdict("driver", driver.name, False, str(error))
    return Verdict("driver", driver.name, True, f"it can be done {told}".rstrip())
