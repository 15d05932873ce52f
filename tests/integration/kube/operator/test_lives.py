"""Whole lives of Folds on a real API server: to the end, with the cluster as it was before."""

import signal
import subprocess
import sys
import time

import pytest

from loomidi.contracts import Mode
from loomidi.fold.operator import approval_note
from tests.integration.kube.operator.stages import Stage
from tests.integration.kube.rooms import wait
from tests.unit.ionic.acting import SIGNER


@pytest.mark.parametrize("what", ["scale", "block"])
def test_a_fold_goes_through_its_whole_life_and_leaves_the_cluster_as_it_was(stage: Stage, what: str) -> None:
    with stage.operator():
        plan = stage.propose(getattr(stage, what)(ttl_s=4))
        stage.reaches(plan, "Active")
        assert not stage.as_before()
        stage.reaches(plan, "Released")
    assert stage.as_before()
    steps = [one["step"] for one in stage.status(plan)["receipts"]]
    assert steps == ["intent", "applied", "verified", "expired"]


def test_a_settled_fold_is_not_written_again(stage: Stage) -> None:
    with stage.operator():
        plan = stage.propose(stage.scale())
        stage.reaches(plan, "Active")
        time.sleep(0.5)
        before = (stage.fold(plan) or {})["metadata"]["resourceVersion"]
    with stage.operator():
        time.sleep(1.5)
        assert (stage.fold(plan) or {})["metadata"]["resourceVersion"] == before


@pytest.mark.parametrize("given", ["fold", "operator"])
def test_shadow_touches_nothing(stage: Stage, given: str) -> None:
    with stage.operator(Mode.SHADOW if given == "operator" else Mode.AUTONOMOUS):
        mode = Mode.SHADOW if given == "fold" else Mode.AUTONOMOUS
        plans = [stage.propose(fold, mode, lasts_s=3) for fold in (stage.scale(), stage.block())]
        for plan in plans:
            stage.reaches(plan, "Expired")
            assert "receipts" not in stage.status(plan)
    assert stage.as_before()


def test_suggest_waits_for_a_person(stage: Stage) -> None:
    with stage.operator():
        plan = stage.propose(stage.scale(), Mode.SUGGEST)
        stage.reaches(plan, "Guarded")
        time.sleep(1)
        assert stage.phase(plan) == "Guarded"
        assert stage.as_before()
        stage.annotate(plan, dict([approval_note(plan, "alice", SIGNER, time.time_ns())]))
        stage.reaches(plan, "Active")
        stage.annotate(plan, {"loomidi.io/release": "enough"})
        stage.reaches(plan, "Released")
    assert stage.as_before()


def test_what_no_policy_and_no_guard_allows_is_denied(stage: Stage) -> None:
    with stage.operator():
        long = stage.propose(stage.scale(ttl_s=3000))
        stage.reaches(long, "Denied")
        late = stage.propose(stage.scale(), Mode.AUTONOMOUS, lasts_s=0.001)
        stage.reaches(late, "Expired")
    assert stage.as_before()


def test_a_fold_that_is_deleted_while_it_is_active_is_undone_and_goes(stage: Stage) -> None:
    with stage.operator():
        plan = stage.propose(stage.block())
        stage.reaches(plan, "Active")
        stage.delete(plan)
        wait(lambda: stage.fold(plan) is None, "the Fold goes", 20)
    assert stage.as_before()


def test_another_workload_of_the_same_name_supersedes_the_fold(stage: Stage) -> None:
    with stage.operator():
        plan = stage.propose(stage.scale(ttl_s=30))
        stage.reaches(plan, "Active")
        stage.room.remove("/apis/apps/v1/namespaces/{}/deployments/web")
        stage.annotate(plan, {"note": "look"})
        stage.reaches(plan, "Superseded")


def test_an_object_that_carries_a_plan_without_an_open_fold_is_taken_back(stage: Stage) -> None:
    with stage.operator():
        plan = stage.propose(stage.scale(ttl_s=3))
        stage.reaches(plan, "Released")
    notes = {"loomidi.io/plan": plan.id}
    stage.room.merge("/apis/apps/v1/namespaces/{}/deployments/web", {"metadata": {"annotations": notes}})
    with stage.operator():
        wait(stage.as_before, "the mark goes", 20)


def test_the_operator_writes_nothing_while_another_holds_the_lease(stage: Stage) -> None:
    with stage.process("first") as first:
        stage.reaches(stage.propose(stage.scale(ttl_s=2)), "Released")
        with stage.operator():
            plan = stage.propose(stage.block())
            stage.reaches(plan, "Active")
            assert stage.status(plan)["lease"]["holder"] == "first"
            assert first.poll() is None


def test_the_verb_carries_a_fold_through_and_lets_go_of_the_lease_at_the_end(stage: Stage) -> None:
    given = ["--kubeconfig", str(stage.kubeconfig), "--namespace", stage.namespace, "--mode", "autonomous"]
    command = [sys.executable, "-m", "loomidi", "serve", "operator", *given, "--holder", "verb", *stage.flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            plan = stage.propose(stage.scale(ttl_s=3))
            stage.reaches(plan, "Released")
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=30)
        finally:
            process.kill()  # one that is left would act in the tests after this one
    assert process.returncode == 0
    assert told.startswith("loomidi: operator verb at https://127.0.0.1")
    assert stage.as_before()
    lease = stage.room.get("/apis/coordination.k8s.io/v1/namespaces/{}/leases/loomidi-operator")
    assert lease["spec"].get("holderIdentity", "") == ""
