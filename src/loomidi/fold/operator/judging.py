"""Whether a Fold may go on before anything is touched: judged, approved, expired, denied. Reads, writes nothing.

Called by `reconciling` and `carrying`. In: a view, the plan, the leave of its policy, the world. Out: a `Ruling`. A
Fold goes no further than the least of its own mode, the policy's and the operator's; shadow is judged and then ends
untouched.
"""

import dataclasses

from loomidi.contracts import Approval, LoomidiError, Mode, Plan, Retryable, Verdict
from loomidi.contracts.ports import Driver
from loomidi.fold.operator.approving import approvals_of
from loomidi.fold.operator.policing import Leave, least
from loomidi.fold.operator.views import DENY, View
from loomidi.fold.operator.world import World
from loomidi.fold.resources.phases import Phase
from loomidi.ionic.decide import PlanRefused, person_asked


@dataclasses.dataclass(frozen=True, slots=True)
class Ruling:
    """What follows. `phase` None: stay and wait."""

    phase: Phase | None
    why: str
    verdicts: tuple[Verdict, ...] = ()
    approvals: tuple[Approval, ...] = ()


def ended(view: View, plan: Plan, now_ns: int) -> Ruling | None:
    """Whether its time before the first effect is over: a person said no, or nobody has said yes in time."""
    if view.noted(DENY):
        return Ruling(Phase.DENIED, f"denied by a person: {view.noted(DENY)}")
    if now_ns >= plan.expires_ns:
        return Ruling(Phase.EXPIRED, "nobody approved it, or it was not begun, before the plan's time was over")
    return None


def judged(plan: Plan, leave: Leave | str, world: World) -> Ruling:
    """Ask everybody. Steps, in this order:

    1 a policy gives leave   2 every guard says yes   3 some driver can do it   4 no brake holds it back

    Raises Retryable when the driver cannot look now.
    """
    # 1 a policy
    if isinstance(leave, str):
        return Ruling(Phase.DENIED, leave, (Verdict("policy", "any", False, leave),))
    allowed = Verdict("policy", "any", True, f"FoldPolicy {leave.policy}")
    # 2 every guard
    told = world.deciders(plan.mode).judge(plan)
    verdicts = (allowed, *told)
    if not told or any(one.allow is not True for one in told):
        return Ruling(Phase.DENIED, str(PlanRefused(plan.id, told)), verdicts)
    # 3 the driver
    able = _able(plan, world.driver)
    if able.allow is not True:
        return Ruling(Phase.DENIED, f"it cannot be done: {able.reason}", (*verdicts, able))
    # 4 the brakes
    if leave.brake:
        return Ruling(None, leave.brake)
    return Ruling(Phase.GUARDED, "every guard has answered yes", (*verdicts, able))


def approved(view: View, plan: Plan, leave: Leave, world: World) -> Ruling:
    """Whether everybody who has to has approved: so many persons as mode, kind and policy ask for, else the guards."""
    mode = least(plan.mode, leave.mode, world.mode)
    if mode is Mode.SHADOW:
        return Ruling(None, "mode shadow: nothing is touched, it ends with its plan")
    if leave.brake:
        return Ruling(None, leave.brake)
    asked = person_asked(plan.fold.kind, mode)  # by the least mode: a policy's guarded binds a Fold that says more
    persons = max(leave.persons, int(bool(asked)))
    signed = approvals_of(view, plan, world.signer, world.clock.now_ns())
    if len(signed) < persons:
        why = f"waits for {persons - len(signed)} more of {persons} approvals by persons"
        return Ruling(None, f"{why} ({asked})" if asked else why)
    try:
        granted = signed or [world.deciders(plan.mode).decide(plan)]
    except PlanRefused as refused:
        return Ruling(Phase.DENIED, str(refused), refused.verdicts)
    return Ruling(Phase.APPROVED, f"approved by {', '.join(one.approver for one in granted)}", (), (*granted,))


def opened(view: View, plan: Plan, leave: Leave | str, world: World) -> Approval:
    """Leave to carry it out right now, asked of everybody once more. Raises PlanRefused."""
    if isinstance(leave, str):
        raise PlanRefused(plan.id, (Verdict("policy", "any", False, leave),))
    ruling = approved(view, plan, leave, world)
    if ruling.phase is not Phase.APPROVED:
        raise PlanRefused(plan.id, (Verdict("approvals", "enough", False, ruling.why),))
    return world.deciders(plan.mode).decide(plan, ruling.approvals[0].approver)


def _able(plan: Plan, driver: Driver) -> Verdict:
    """The driver's answer as a verdict. Looking for the inverse says more than `check`: what passes is told apart."""
    try:
        driver.inverse(plan.fold)
    except Retryable:
        raise
    except LoomidiError as error:
        return Verdict("driver", driver.name, False, str(error))
    return Verdict("driver", driver.name, True, "it can be done")
