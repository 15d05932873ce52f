"""The ladder of a policy: a step at a time, each a Fold of its own, and the one before stays until it is in force."""

import copy
import dataclasses
from typing import Any

import pytest

from loomidi.contracts import Mode, Plan
from loomidi.fold.resources import fold_object
from tests.unit.fold.operator.fakes import FOLDS, MADE, Stage, a_stage
from tests.unit.fold.operator.test_reconciling import policy
from tests.unit.ionic.making import NOW_NS, a_finding, a_plan

S = 10**9
STEPS = [
    {"kind": "RECONFIGURE_NETWORK", "action": "rate", "afterSeconds": 1},
    {"kind": "RECONFIGURE_NETWORK", "action": "drop", "afterSeconds": 30},
]
LADDER = policy(escalation={"steps": STEPS})
Obj = dict[str, Any]


def a_rung(action: str, last_s: float = 0.0, **finding: Any) -> Plan:
    """A Fold's plan about a scan from outside that was seen last at that moment."""
    seen = a_finding("vertical_scan", last_ns=NOW_NS + round(last_s * S), **finding)
    return a_plan(action, Mode.AUTONOMOUS, finding=seen, expires_ns=NOW_NS + 600 * S)


class Ladder:
    """A Fold in force by the first step, and one that would follow; passes are made over both."""

    def __init__(self, *policies: Obj) -> None:
        self.first = a_stage(plan=a_rung("rate"))
        self.first.policies = list(policies or (LADDER,))
        self.first.until("Active")
        self.second = copy.copy(self.first)

    def follow(self, plan: Plan, before: str = "") -> Stage:
        """Post it."""
        obj = fold_object(plan, "default", escalates_from=before or self.first.plan.id)
        self.second.plan = plan
        metadata = obj["metadata"] | {"generation": 1, "creationTimestamp": MADE}
        self.first.cluster.put(f"{FOLDS}/{plan.id}", obj | {"metadata": metadata})
        return self.second

    def escalation(self) -> tuple[str, str]:
        told = {one["type"]: one for one in self.first.fold["status"]["conditions"]}["Escalation"]
        return told["status"], told["reason"]


def denied(stage: Stage) -> str:
    stage.until("Denied")
    return str(stage.fold["status"]["message"])


def test_the_next_step_takes_the_place_of_the_one_before_only_once_it_is_in_force() -> None:
    ladder = Ladder()
    ladder.first.once()
    assert ladder.escalation() == ("False", "Waits")
    ladder.first.clock.sleep(40)
    second = ladder.follow(a_rung("drop", 40.0))
    for phase in ("Guarded", "Approved", "Applying", "Verifying"):
        second.until(phase)
        ladder.first.once()
        assert ladder.first.phase == "Active"
    assert ladder.escalation() == ("True", "NextStep")
    second.until("Active")
    ladder.first.until("Superseded")
    assert ladder.first.fold["status"]["message"] == f"Fold {second.plan.id} has taken its place"
    assert list(second.driver.world.values()) == [second.plan.fold.target]
    second.once()
    told = {one["type"]: one for one in second.fold["status"]["conditions"]}["Escalation"]
    assert (told["reason"], "a person has to look" in told["message"]) == ("TopStep", True)


def test_a_step_that_fails_leaves_the_one_before_as_it_is() -> None:
    ladder = Ladder()
    ladder.first.clock.sleep(40)
    second = ladder.follow(a_rung("drop", 40.0))
    second.driver.failing = ["apply"]
    second.until("RolledBack")
    ladder.first.once()
    assert ladder.first.phase == "Active"
    assert len(ladder.first.driver.world) == 1


def test_a_step_is_not_taken_early_nor_for_something_else_nor_past_a_pin() -> None:
    ladder = Ladder()
    ladder.first.clock.sleep(40)
    assert "went on for 17 of 30 s" in denied(ladder.follow(a_rung("drop", 20.0)))
    other = a_rung("drop", 40.0, id="finding-00000000000000ff", entities=("host/198.51.100.9",))
    other = dataclasses.replace(other, fold=dataclasses.replace(other.fold, target="host/198.51.100.9"))
    assert "is about something else" in denied(ladder.follow(a_plan("drop", fold=other.fold, finding=other.finding)))
    ladder.first.note({"loomidi.io/pin": "the customer is told"})
    ladder.first.once()
    assert ladder.escalation() == ("False", "Pinned")
    assert "is pinned: the customer is told" in denied(ladder.follow(a_rung("drop", 41.0)))


def test_nothing_follows_what_is_not_in_force_or_not_the_step_below() -> None:
    ladder = Ladder()
    ladder.first.clock.sleep(40)
    assert "Fold nobody, which it would follow, is not in force" in denied(
        ladder.follow(a_rung("drop", 40.0), "nobody")
    )
    assert "follows no other Fold" in denied(ladder.follow(a_rung("rate", 40.0)))
    ladder = Ladder(policy())
    assert "follows no other Fold on its ladder" in denied(ladder.follow(a_rung("drop", 40.0)))


@pytest.mark.parametrize(("source", "phase"), [("detector", "Denied"), ("person/alice", "Active")])
def test_a_higher_step_comes_first_only_by_a_persons_word(source: str, phase: str) -> None:
    stage = a_stage(plan=a_rung("drop", source=source))
    stage.policies = [LADDER]
    stage.until(phase)
    if phase == "Denied":
        assert "step 2 of its ladder follows a Fold in force by RECONFIGURE_NETWORK by rate" in denied(stage)


def test_a_step_of_which_there_is_no_answer_is_passed_by() -> None:
    stage = a_stage(plan=a_rung("rate"))
    steps = [{"kind": "SCALE_OUT", "action": "scale", "afterSeconds": 5}, *STEPS]  # a scan is not answered by replicas
    stage.policies = [policy(escalation={"steps": steps})]
    stage.until("Active")


def test_brakes_count_the_two_as_one_but_hold_the_next_step_like_any_other() -> None:
    ladder = Ladder()
    ladder.first.clock.sleep(40)
    ladder.first.policies[0] = policy(
        escalation={"steps": STEPS}, brakes={"pause": {"reason": "a release"}, "caps": {"workload": 1}}
    )
    second = ladder.follow(a_rung("drop", 40.0))
    for _ in range(4):
        second.once()
    assert (second.phase, second.fold["status"]["message"]) == ("Proposed", "paused: a release")
    ladder.first.policies[0] = policy(escalation={"steps": STEPS}, brakes={"caps": {"workload": 1, "total": 1}})
    second.until("Active")
