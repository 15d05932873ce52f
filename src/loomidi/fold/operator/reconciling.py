"""One pass over one Fold: what is there and what shall be, then at most one write and the driver's work.

Called by `running` for every Fold that changed or is due. In: the Fold as the API server has it now. Out: seconds until
it is looked at again, or None when nothing is to come by itself. Nothing is remembered between two passes, so a crash
anywhere is met by the next pass, here or in another replica: what was begun goes on, or is taken back by the inverse
that lies in the Fold. A Fold that has our finalizer from the start may act without a person: what nobody waits for on
its way is written with the inverse (ADR 0098). Judging is left to `judging`, effects to `carrying`.
"""

import dataclasses

from loomidi.contracts import LoomidiError, Plan, Retryable, Step
from loomidi.fold.operator import judging
from loomidi.fold.operator.braking import NOT_COUNTED, Brake
from loomidi.fold.operator.carrying import Carrier
from loomidi.fold.operator.noting import approval_noted, conditioned, following, receipted, verdicts_noted
from loomidi.fold.operator.policing import Leave
from loomidi.fold.operator.spots import spot_of
from loomidi.fold.operator.targets import shown
from loomidi.fold.operator.views import Object, View
from loomidi.fold.operator.world import World
from loomidi.fold.resources.objects import namespaces_of, plan_of
from loomidi.fold.resources.phases import TERMINAL, Phase
from loomidi.ionic.decide import PlanRefused
from loomidi.ionic.errors import Clash

AT_ONCE = 0.0
COUNTED_S = 1.0  # until what could not be counted is counted again: a watch is back within that
WAIT_S = 5.0  # until a Fold that waits for somebody is looked at again, whatever the watch says


class Reconciler:
    """Passes over Folds, one at a time."""

    def __init__(self, world: World, carrier: Carrier) -> None:
        self._world = world
        self._carrier = carrier

    def reconcile(self, obj: Object) -> float | None:
        """One pass. Raises Retryable, Clash and NotLeading: nothing is lost, the next pass sees what is stored.

        1 an end stays an end   2 what was begun is carried on or taken back   3 a deleted one that was not begun goes
        4 a life begins   5 no plan, no Fold   6 judge, wait, approve, begin
        """
        view = View(obj)
        # 1 an end stays an end
        if view.over:
            return self._ended(view)
        # 2 what was begun
        if view.begun:
            return self._carrier.carry(view)
        # 3 deleted before it was begun
        if view.deleting:
            self._free(view)
            return None
        # 4 a life begins
        now_ns = self._world.clock.now_ns()
        if view.phase is None:
            self._world.look_ahead(view)
            status = following(view, now_ns, Phase.PROPOSED, "not judged yet")
            self._world.pen.status(view, status, "proposed", passing=view.held)
            return AT_ONCE
        # 5 no plan
        try:
            plan = plan_of(obj)
        except (LoomidiError, KeyError) as error:
            return self._rule(view, judging.Ruling(Phase.DENIED, str(error)), now_ns)
        # 6 on the way
        return self._on_the_way(view, plan, now_ns)

    def _ended(self, view: View) -> float | None:
        """What was cut is listened for once more, then our finalizer goes."""
        again = self._carrier.heard_again(view) if view.held else None
        if again is None:
            self._free(view)
        return again

    def _free(self, view: View) -> None:
        if view.held:
            self._world.pen.free(view)

    def _on_the_way(self, view: View, plan: Plan, now_ns: int) -> float | None:
        leave = self._world.leave(view, plan)
        ruling = judging.ended(view, plan, now_ns) or self._superseded(view, plan)
        if ruling is None and view.phase is Phase.APPROVED:
            return self._begin(view, plan, leave, now_ns)
        if ruling is None:
            ruling = self._ruled(view, plan, leave)
        again = self._rule(view, ruling, now_ns, leave.policy if isinstance(leave, Leave) else "")
        return None if again is None else min(again, max(0.0, (plan.expires_ns - now_ns) / 1e9))

    def _ruled(self, view: View, plan: Plan, leave: Leave | str) -> judging.Ruling:
        """Judge it, again where the spec has changed since; then ask whether everybody has approved."""
        if strange := namespaces_of(plan.fold) - {view.metadata["namespace"]}:
            there = ", ".join(sorted(strange))
            return judging.Ruling(Phase.DENIED, f"a Fold lies in the namespace that it aims at: {there}")
        if view.phase is not Phase.GUARDED or view.judged != view.metadata.get("generation") or isinstance(leave, str):
            return judging.judged(plan, leave, self._world)
        return judging.approved(view, plan, leave, self._world)

    def _superseded(self, view: View, plan: Plan) -> judging.Ruling | None:
        """Whether another object has the name of the one that was judged."""
        was = view.status.get("target", {}).get("uid", "")
        live = self._world.target(plan) if was else None
        if was and (live is None or live["metadata"]["uid"] != was):
            return judging.Ruling(Phase.SUPERSEDED, f"{plan.fold.target} is gone, or another one than was judged")
        return None

    def _rule(self, view: View, ruling: judging.Ruling, now_ns: int, policy: str = "") -> float | None:
        """Write down what was ruled; again at once when that was a step, later when it waits, never at an end."""
        status = following(view, now_ns, ruling.phase, ruling.why) | ({"policy": policy} if policy else {})
        if ruling.brake is not None:
            status = conditioned(status, now_ns, Held=(True, ruling.brake.name, ruling.why))
        elif view.holding:
            over = ruling.phase in TERMINAL
            status = conditioned(status, now_ns, Held=(False, "Over" if over else "Free", ruling.why))
        if ruling.verdicts:
            yes = ruling.phase is Phase.GUARDED
            status["verdicts"] = verdicts_noted(ruling.verdicts)
            status = conditioned(status, now_ns, Guarded=(yes, "AllAllow" if yes else str(ruling.phase), ruling.why))
        if ruling.phase is Phase.GUARDED:
            status |= self._seen(view, plan_of(view.obj))
        if ruling.phase is Phase.APPROVED:
            status["approvals"] = [approval_noted(one) for one in ruling.approvals]
            status = conditioned(status, now_ns, Approved=(True, "Approved", ruling.why))
        name = {None: "noted", Phase.GUARDED: "guarded", Phase.APPROVED: "approved"}.get(ruling.phase, "ended")
        self._world.pen.status(view, status, name, passing=view.held and name in ("guarded", "approved"))
        if ruling.phase is None:
            return _wait_s(ruling.brake, now_ns)
        return AT_ONCE if name != "ended" or view.held else None

    def _seen(self, view: View, plan: Plan) -> dict[str, Object]:
        """The target with where it is, so that it is counted there also when it is gone."""
        live = self._world.target(plan)
        spot = dataclasses.asdict(spot_of(plan.fold, live))
        return {"target": (shown(dict(live)) if live else {}) | {name: text for name, text in spot.items() if text}}

    def _begin(self, view: View, plan: Plan, leave: Leave | str, now_ns: int) -> float | None:
        """Steps, in this order, a pass each for 2 and 4:

        1 no brake holds it back   2 our finalizer   3 everybody is asked once more   4 the inverse is stored
        """
        # 1 no brake
        if isinstance(leave, Leave) and leave.brake:
            return self._rule(view, judging.held(leave.brake), now_ns)
        # 2 our finalizer
        if not view.held:
            self._world.pen.hold(view)
            return AT_ONCE
        # 3 everybody once more, 4 the inverse
        try:
            judging.opened(view, plan, leave, self._world)
            return self._carrier.intend(view, plan, now_ns)
        except (Retryable, Clash):
            raise
        except PlanRefused as no:
            return self._rule(view, judging.refused(plan, no, (), self._world), now_ns)
        except LoomidiError as error:
            return self._refused(view, str(error), now_ns)

    def _refused(self, view: View, why: str, now_ns: int) -> float | None:
        """The driver cannot do it any more: nothing was touched, and that is on record."""
        status = following(view, now_ns, Phase.DENIED, f"it cannot be done: {why}")
        status["receipts"] = receipted(view, Step.REFUSED, self._world.driver.name, {"why": why}, now_ns)
        self._world.pen.status(view, status, "ended")
        return AT_ONCE


def _wait_s(brake: Brake | None, now_ns: int) -> float:
    """Until it is looked at again: when the brake may let go, if that is sooner than always."""
    if brake is not None and brake.name == NOT_COUNTED:
        return COUNTED_S
    until_ns = brake.until_ns if brake else 0
    return min(WAIT_S, (until_ns - now_ns) / 1e9) if until_ns > now_ns else WAIT_S
