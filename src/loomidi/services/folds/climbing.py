"""The next step of a policy's ladder for a trouble that goes on while a Fold is in force; chosen, not posted.

Called by `folding`. In: the finding, its allowed folds, the Folds at work on the same targets and those that have
ended, the policy. Out: a `Climb` with the fold to propose, or with the reason why none is, which is also told as an
event on the Fold in force. The operator holds each step to the ladder again; a person may pin a Fold, and at the top a
person has to look. Pure.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from loomidi.contracts import Finding
from loomidi.fold.operator.climbing import after, step_at, steps_of
from loomidi.fold.operator.views import PIN
from loomidi.fold.resources.objects import nanoseconds
from loomidi.fold.resources.phases import Phase
from loomidi.insight.report import ProposedFold

Fold = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Climb:
    """What follows."""

    outcome: str  # in a word, as it is counted
    fold: Fold  # the one in force
    proposed: ProposedFold | None = None
    told: tuple[str, str] | None = None  # reason and message of an event


def in_force(at_work: Sequence[Fold]) -> Fold | None:
    """The one Fold in force when nothing else is on the way."""
    (one, *others) = at_work
    return None if others or (one.get("status") or {}).get("phase") != Phase.ACTIVE else one


def climb(finding: Finding, allowed: Sequence[ProposedFold], fold: Fold, ended: Sequence[Fold], spec: Fold) -> Climb:
    """`ended`: Folds on the same targets that are over, without what has rested long enough. Steps, in this order:

    1 it is on the ladder and about this trouble   2 there is a step above   3 a person has not pinned it
    4 it has gone on for long enough   5 nobody has just refused the step   6 the fold of that step
    """
    steps, own = steps_of(spec), fold["spec"]
    at = step_at(steps, own["kind"], own["action"])
    # 1 on the ladder
    if at < 0 or own.get("finding", {}).get("pattern") != finding.pattern:
        return Climb("in_force", fold)
    answers = {(one.fold.kind.value, one.fold.action): one for one in allowed}
    nxt = after(spec, answers, at)
    goes_on = f"{finding.pattern} goes on while Fold {fold['metadata']['name']} is in force"
    lasted_s = (finding.last_ns - nanoseconds(fold["status"]["since"])) / 1e9
    # 2 a step above
    if nxt < 0:
        waited = lasted_s >= steps[at].after_s
        told = f"{goes_on}, and no step of the ladder is left that answers it: a person has to look"
        return Climb("top_step", fold, told=("TopStep", told) if waited else None)
    # 3 not pinned
    if reason := (fold["metadata"].get("annotations") or {}).get(PIN):
        told = f"{goes_on}; {steps[nxt]} would follow, but a person has pinned it: {reason}"
        return Climb("pinned", fold, told=("Pinned", told))
    # 4 for long enough
    if lasted_s < steps[nxt].after_s:
        return Climb("in_force", fold)
    # 5 not refused just now
    if any(one["spec"].get("escalatesFrom") == fold["metadata"]["name"] for one in ended):
        return Climb("resting", fold)
    # 6 the fold
    told = f"{goes_on} for {lasted_s:.0f} s: step {nxt + 1} of {len(steps)} is proposed, {steps[nxt]}"
    return Climb("climbed", fold, answers[steps[nxt].answer], ("NextStep", told))
