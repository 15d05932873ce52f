"""A Fold that a brake holds: it waits, says for what, goes on when it may, and expires with the reason."""

import dataclasses
from typing import Any

import pytest

from loomidi.fold.operator.overseeing import overseen
from loomidi.fold.operator.surrounding import all_counted
from loomidi.fold.resources import fold_object
from loomidi.fold.resources.objects import moment
from tests.unit.fold.operator.fakes import FOLDS, MADE, POLICY, Stage, a_stage
from tests.unit.ionic.making import NOW_NS, a_finding, a_plan

S = 10**9


def a_policy(**brakes: Any) -> dict[str, Any]:
    return POLICY | {"spec": POLICY["spec"] | {"brakes": brakes}}


def beside(stage: Stage, phase: str, **status: Any) -> None:
    """Another Fold about the same target, begun just now, with its end."""
    other = a_plan("rate", finding=a_finding(id="finding-fedcba9876543210"))
    obj = fold_object(dataclasses.replace(other, id="plan-other"), "default", policy="tests")
    receipts = [{"id": "r", "step": "intent", "atTime": MADE, "inverse": {}}]
    given = {"phase": phase, "since": MADE, "until": moment(NOW_NS + 20 * S), "receipts": receipts}
    metadata = obj["metadata"] | {"creationTimestamp": MADE}
    stage.cluster.put(f"{FOLDS}/plan-other", obj | {"metadata": metadata, "status": given | status})


def held(stage: Stage) -> tuple[str, str]:
    """Status and reason of the condition."""
    told = {one["type"]: one for one in stage.fold["status"].get("conditions", ())}.get("Held", {})
    return told.get("status", ""), told.get("reason", "")


def test_a_fold_waits_for_a_brake_with_a_condition_and_goes_on_when_it_lets_go() -> None:
    stage = a_stage()
    beside(stage, "Active")
    for _ in range(3):
        stage.once()
    assert (stage.phase, held(stage)) == ("Proposed", ("True", "CapWorkload"))
    assert stage.fold["status"]["message"] == (
        f"caps.workload: 1 of 1 Folds at work ({stage.plan.fold.target}); until {moment(NOW_NS + 20 * S)[:19]}Z"
    )
    beside(stage, "Released")
    stage.policies = [a_policy(cooldownSeconds=0)]
    stage.until("Active")
    assert held(stage) == ("False", "Free")


def test_a_fold_that_is_held_to_the_end_of_its_plan_expires_with_the_reason() -> None:
    stage = a_stage()
    beside(stage, "Released")
    stage.policies = [a_policy(cooldownSeconds=600)]
    stage.until("Expired")
    assert stage.fold["status"]["message"].startswith("it was held until its plan's time was over: cooldownSeconds")
    assert held(stage) == ("False", "Over")
    assert not stage.driver.world


@pytest.mark.parametrize("phase", ["Guarded", "Approved"])
def test_a_brake_holds_up_to_the_first_effect(phase: str) -> None:
    stage = a_stage()
    stage.until(phase)
    beside(stage, "Active")
    for _ in range(3):
        stage.once()
    assert (stage.phase, held(stage)[0]) == (phase, "True")
    assert not stage.driver.world


def test_a_fold_that_waits_is_written_once_and_looked_at_when_the_brake_may_let_go() -> None:
    stage = a_stage()
    beside(stage, "Released")
    stage.policies = [a_policy(cooldownSeconds=3)]
    stage.once()
    assert stage.once() == pytest.approx(3)
    before = stage.cluster.asked["PATCH"]
    stage.once()
    assert stage.cluster.asked["PATCH"] == before


def test_a_fold_that_cannot_be_counted_holds_every_brake() -> None:
    stage = a_stage()
    beside(stage, "Active", until="never")
    stage.once()
    assert stage.once() == 1
    assert held(stage) == ("True", "NotCounted")
    assert "Fold default/plan-other cannot be read" in stage.fold["status"]["message"]


@pytest.mark.parametrize(("brake", "phase"), [("Active", "Active"), ("paused", "RolledBack")])
def test_once_the_inverse_is_stored_only_a_pause_stops_it(brake: str, phase: str) -> None:
    stage = a_stage()
    stage.until("Applying")
    beside(stage, "Active")
    stage.policies = [a_policy(pause={"reason": "audit"})] if brake == "paused" else stage.policies
    stage.until(phase)


def test_what_is_in_force_stays_when_a_brake_holds() -> None:
    stage = a_stage()
    stage.until("Active")
    stage.policies = [a_policy(pause={"reason": "audit"}, storm={"findings": 1, "withinSeconds": 3600})]
    beside(stage, "Active")
    stage.once()
    assert stage.phase == "Active"


def test_a_policy_says_how_it_is_doing_and_says_it_once() -> None:
    stage = a_stage()
    beside(stage, "Active")
    stage.policies = [a_policy(bucket={"size": 3, "refillSeconds": 60})]
    stage.once()
    stage.once()
    told, why = all_counted(obj for path, obj in stage.cluster.objects.items() if path.startswith(FOLDS))
    policy = stage.policies[0]
    status, again = overseen(policy, told, why, NOW_NS)
    assert status["message"] == "1 in force, 1 wait, 0 denied; held: CapWorkload (1)"
    assert {name: status[name] for name in ("active", "waiting", "tokens", "storm")} == {
        "active": 1,
        "waiting": 1,
        "tokens": 2,
        "storm": False,
    }
    assert status["lastFoldTime"] == MADE
    assert again == 30
    assert overseen(policy | {"status": status}, told, why, NOW_NS + S)[0] == status


@pytest.mark.parametrize(
    ("brakes", "condition", "words"),
    [
        ({"pause": {"reason": "audit"}}, "Paused", "paused: audit"),
        ({"storm": {"findings": 1}}, "Storm", "0 in force, 0 wait, 0 denied; a storm rages"),
    ],
)
def test_a_policy_says_why_nothing_new_is_folded(brakes: dict[str, Any], condition: str, words: str) -> None:
    stage = a_stage()
    status, _ = overseen(a_policy(**brakes), *all_counted([stage.fold]), NOW_NS)
    conditions = {one["type"]: one["status"] for one in status["conditions"]}
    assert (conditions[condition], conditions["Ready"], status["message"]) == ("True", "True", words)


def test_a_policy_whose_folds_cannot_be_counted_is_not_ready() -> None:
    status, _ = overseen(a_policy(), (), "Fold a/b cannot be read", NOW_NS)
    conditions = {one["type"]: one["status"] for one in status["conditions"]}
    assert (conditions["Ready"], status["message"]) == ("False", "Fold a/b cannot be read")
