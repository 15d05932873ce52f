"""Brakes on a real API server: Folds wait for what live objects say, whoever counts them."""

import time
from typing import Any

import pytest

from loomidi.contracts import FoldKind, FoldSpec, Match, Plan
from tests.integration.kube.operator.stages import LOOSE, POLICIES, Stage
from tests.integration.kube.rooms import wait


def held(stage: Stage, plan: Plan) -> str:
    """The brake that holds it, or ''."""
    told = {one["type"]: one for one in stage.status(plan).get("conditions", ())}.get("Held", {})
    return str(told.get("reason", "")) if told.get("status") == "True" else ""


def waits(stage: Stage, plan: Plan, brake: str) -> None:
    """Until it is held by this one."""
    until = time.monotonic() + 20
    while held(stage, plan) != brake:
        assert time.monotonic() < until, stage.status(plan)
        time.sleep(0.05)


def isolate(stage: Stage, pod: str) -> FoldSpec:
    target, match = f"pod/{stage.namespace}/{pod}", Match(source="10.244.0.9")
    because = "finding-0123456789abcdef"
    return FoldSpec(FoldKind.ISOLATE_POD, target, "isolate", match, ttl_s=60.0, because=because, undo="by hand")


def told(stage: Stage) -> dict[str, Any]:
    """The policy's status."""
    found: dict[str, Any] = stage.room.get(f"{POLICIES}/{stage.namespace}").get("status") or {}
    return found


def test_a_second_fold_on_a_workload_waits_for_the_first_and_the_policy_says_so(stage: Stage) -> None:
    slow = {"bucket": {"size": 99, "refillSeconds": 3600}}  # no token comes back meanwhile, which would be told
    stage.policy(brakes=LOOSE | {"caps": LOOSE["caps"] | {"workload": 1}} | slow)
    with stage.operator():
        first = stage.propose(stage.scale())
        stage.reaches(first, "Active")
        second = stage.propose(stage.scale(ttl_s=50))
        waits(stage, second, "CapWorkload")
        wait(lambda: told(stage).get("held") == "CapWorkload (1)", "the policy says so", 10)
        assert (told(stage)["active"], told(stage)["waiting"]) == (1, 1)
        stage.annotate(first, {"loomidi.io/release": "enough"})
        stage.reaches(second, "Active")
        wait(lambda: told(stage)["waiting"] == 0 and told(stage)["held"] == "", "nobody waits", 10)
        before = stage.room.get(f"{POLICIES}/{stage.namespace}")["metadata"]["resourceVersion"]
        time.sleep(2)
        assert stage.room.get(f"{POLICIES}/{stage.namespace}")["metadata"]["resourceVersion"] == before


def test_a_healthy_pod_is_spared_until_enough_others_are_healthy(stage: Stage) -> None:
    stage.policy(brakes=LOOSE | {"minHealthy": "100%"}, allow=[{"kind": "ISOLATE_POD"}])
    pods = [pod["metadata"]["name"] for pod in stage.room.pods(app="web")]
    for name in pods:
        stage.room.ready(name)
    with stage.operator():
        plan = stage.propose(isolate(stage, pods[0]))
        waits(stage, plan, "MinHealthy")
        assert "1 of 2 pods" in stage.status(plan)["message"]
        stage.policy(brakes=LOOSE | {"minHealthy": "50%"}, allow=[{"kind": "ISOLATE_POD"}])
        stage.reaches(plan, "Active")
        assert stage.status(plan)["target"]["workload"] == f"{stage.namespace}/web"
        other = stage.propose(isolate(stage, pods[1]))
        waits(stage, other, "MinHealthy")


@pytest.mark.lab_long
def test_an_empty_bucket_holds_also_after_a_restart_and_the_fold_expires_with_the_reason(stage: Stage) -> None:
    stage.policy(brakes=LOOSE | {"bucket": {"size": 1, "refillSeconds": 3600}})
    with stage.operator():
        stage.reaches(stage.propose(stage.scale()), "Active")
    late = stage.propose(stage.block(), lasts_s=4)
    with stage.operator():
        waits(stage, late, "TokenBucket")
        stage.reaches(late, "Expired")
        assert "until its plan's time was over: bucket: 1 Folds" in stage.status(late)["message"]


@pytest.mark.lab_long
@pytest.mark.parametrize(("share", "phase"), [("25%", "Active"), ("24%", "Proposed")])
def test_a_share_is_of_the_pods_that_are_there(stage: Stage, share: str, phase: str) -> None:
    stage.room.pod("web-1", app="lone")
    stage.room.workload("Deployment", "api")  # with the two that are added 8 pods: 25 % are two
    stage.policy(brakes=LOOSE | {"caps": LOOSE["caps"] | {"namespace": share}})
    with stage.operator():
        stage.reaches(stage.propose(stage.scale()), "Active")
        plan = stage.propose(stage.block())
        if phase == "Active":
            stage.reaches(plan, "Active")
        else:
            waits(stage, plan, "CapNamespace")


def test_a_namespace_that_has_spent_its_budget_waits_and_the_policy_says_so(stage: Stage) -> None:
    stage.policy(brakes=LOOSE | {"budget": {"folds": 1}})
    with stage.operator():
        first = stage.propose(stage.scale(ttl_s=2))
        stage.reaches(first, "Released")
        second = stage.propose(stage.block())
        waits(stage, second, "BudgetFolds")
        wait(lambda: told(stage).get("held") == "BudgetFolds (1)", "the policy says so", 10)
        stage.policy(brakes=LOOSE | {"budget": {"folds": 2}})
        stage.reaches(second, "Active")
