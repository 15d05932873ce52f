"""The ladder of a policy: which step a Fold is, what comes before it, whether it may follow now. Pure.

Called by `policing` (may it), by `running` (what a Fold in force is told) and by `services.folds.climbing` (what to
propose). In: the policy's steps, findings, Folds as they are counted. Out: positions, reasons, conditions. A step that
the finding has no answer for, or that the policy does not allow, is passed by; one in mode shadow is not, and so holds
up what is above it. Nothing here lets a Fold off guards, approvals or brakes.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from loomidi.contracts import Finding, Plan
from loomidi.fold.operator.braking import Around
from loomidi.fold.operator.counting import Counted
from loomidi.fold.operator.views import PIN, Object, View
from loomidi.fold.resources.phases import TERMINAL, Phase
from loomidi.ionic.decide import propose

PERSON = "person/"  # the source of a finding that is somebody's word
Condition = tuple[bool, str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One rung."""

    kind: str
    action: str
    after_s: float  # for which the finding must go on while the step before is in force

    @property
    def answer(self) -> tuple[str, str]:
        """What it does."""
        return self.kind, self.action

    def __str__(self) -> str:
        return f"{self.kind} by {self.action}"


def steps_of(spec: Object) -> list[Step]:
    """Of a policy; none: it has no ladder."""
    told = (spec.get("escalation") or {}).get("steps") or ()
    return [Step(one["kind"], one["action"], float(one["afterSeconds"])) for one in told]


def step_at(steps: Sequence[Step], kind: str, action: str) -> int:
    """From 0; -1 when it is no step."""
    return next((at for at, one in enumerate(steps) if one.answer == (kind, action)), -1)


def before(spec: Object, finding: Finding, at: int) -> int:
    """The step that has to be in force before this one may follow; -1: it comes first for this finding."""
    answers = {(fold.kind.value, fold.action) for fold in propose(finding)}
    steps = steps_of(spec)
    lower = [one for one in range(at) if steps[one].answer in answers and _allows(spec, steps[one])]
    return max(lower, default=-1)


def after(spec: Object, answers: Iterable[tuple[str, str]], at: int) -> int:
    """The next step of which there is an answer; -1: this is the last."""
    steps, there = steps_of(spec), set(answers)
    return next((one for one in range(at + 1, len(steps)) if steps[one].answer in there), -1)


def _allows(spec: Object, step: Step) -> bool:
    allowed = (one for one in spec["allow"] if one["kind"] == step.kind)
    return any(step.action in one.get("actions", (step.action,)) for one in allowed)


def unclimbed(policy: Object, plan: Plan, fold: Object, around: Around) -> str:
    """'' when the ladder lets it come now. Steps, in this order:

    1 what was begun was asked before   2 without a Fold before it, it is the first step, or a person's word
    3 with one, it is a step above the first, and that Fold is in force as the step below   4 it is the same trouble,
    and has gone on for long enough   5 nobody has pinned it
    """
    spec, steps, name = policy["spec"], steps_of(policy["spec"]), fold.get("escalatesFrom", "")
    at = step_at(steps, plan.fold.kind.value, plan.fold.action)
    # 1 begun before
    if any(one.key == around.key and one.begun_ns for one in around.folds):
        return ""
    below = before(spec, plan.finding, at) if at >= 0 else -1
    # 2 nothing before it
    if not name:
        free = below < 0 or plan.finding.source.startswith(PERSON)
        return "" if free else f"step {at + 1} of its ladder follows a Fold in force by {steps[below]}"
    # 3 the Fold before it
    found = next((one for one in around.folds if one.key == around.replaced), None)
    if below < 0:
        return f"{plan.fold.kind.value} by {plan.fold.action} follows no other Fold on its ladder"
    if found is None or found.phase is not Phase.ACTIVE or found.policy != policy["metadata"]["name"]:
        return f"Fold {name}, which it would follow, is not in force by this policy"
    if (found.kind, found.action) != steps[below].answer:
        return f"Fold {name} is not the step below: that is {steps[below]}"
    # 4 the same trouble, for long enough
    if found.pattern != plan.finding.pattern or not _same(found, plan):
        return f"Fold {name} is about something else"
    lasted_s = (plan.finding.last_ns - found.since_ns) / 1e9
    if lasted_s < steps[at].after_s:
        return f"it went on for {max(0.0, lasted_s):.0f} of {steps[at].after_s:g} s while Fold {name} was in force"
    # 5 nobody has pinned it
    return f"Fold {name} is pinned: {found.pinned}" if found.pinned else ""


def _same(found: Counted, plan: Plan) -> bool:
    return found.finding == plan.finding.id or found.target == plan.fold.target


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """Where a Fold in force stands on its ladder."""

    successor: str = ""  # the Fold in force that has taken its place
    told: Condition | None = None  # for its condition Escalation; None: there is no ladder


def standing(view: View, folds: Iterable[Counted], policies: Iterable[Object]) -> Standing:
    """Of one Fold, by all others."""
    after_it = [one for one in folds if one.replaces == view.key]
    successor = next((one for one in after_it if one.phase is Phase.ACTIVE), None)
    named = view.status.get("policy", "")
    spec: Object = next((one["spec"] for one in policies if one["metadata"]["name"] == named), {})
    steps = steps_of(spec)
    at = step_at(steps, view.spec["kind"], view.spec["action"])
    name = successor.key.partition("/")[2] if successor else ""
    return Standing(name, _told(view, steps, at, after_it) if at >= 0 else None)


def _told(view: View, steps: Sequence[Step], at: int, after_it: Sequence[Counted]) -> Condition:
    where = f"step {at + 1} of {len(steps)}"
    asked = [one for one in after_it if one.phase not in TERMINAL]
    if asked:
        return True, "NextStep", f"{where}; the next is asked for by Fold {asked[-1].key.partition('/')[2]}"
    if view.noted(PIN):
        return False, "Pinned", f"{where}; a person has pinned it: {view.noted(PIN)}"
    if at == len(steps) - 1:
        return False, "TopStep", f"{where}, the last: if the trouble goes on, a person has to look"
    return False, "Waits", f"{where}; {steps[at + 1]} may follow if it goes on for {steps[at + 1].after_s:g} s"
