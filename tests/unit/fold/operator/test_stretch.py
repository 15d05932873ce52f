"""From its posting to its effect a Fold is carried at a stretch; whatever comes in between is seen all the same."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from loomidi.contracts import Mode
from loomidi.fold.operator import Leadership, Operator, RunSettings, SharedKey
from loomidi.ionic.act.kube.api import KubeApi
from loomidi.ionic.act.kube.looking import LASTS_S
from tests.unit.fold.operator.fakes import POLICY, Stage, _guards, a_stage
from tests.unit.ionic.acting import SIGNER
from tests.unit.ionic.making import a_decider

SPACE = "/api/v1/namespaces/default"


@pytest.fixture
def stage() -> Stage:
    stage = a_stage()
    stage.cluster.put(SPACE, {"metadata": {"name": "default"}})
    return stage


def _changed(**more: object) -> dict[str, Any]:
    """The policy, newer and with other words."""
    return {**POLICY, "metadata": {**POLICY["metadata"], "resourceVersion": "2"}, "spec": POLICY["spec"] | more}


def an_operator(stage: Stage, fault: Callable[[str], None] | None = None) -> Operator:
    """One that leads, with its collections filled; nothing runs by itself."""
    leadership = Leadership(KubeApi(stage.cluster.client(), clock=stage.clock), "one", clock=stage.clock)
    assert leadership.tend()
    operator = Operator(
        stage.cluster.client(),
        lambda api, books: stage.driver,
        lambda active: lambda mode: a_decider(mode, clock=stage.clock, signer=SIGNER, guards=_guards(mode)),
        SharedKey(SIGNER),
        leadership,
        settings=RunSettings(mode=Mode.AUTONOMOUS),
        clock=stage.clock,
        fault=fault,
    )
    operator._policies.put({**POLICY, "metadata": {**POLICY["metadata"], "resourceVersion": "1"}})
    operator._pods.filled.set()
    stage.cluster.asked.clear()
    return operator


def by_hand(stage: Stage) -> Stage:
    """The Fold as a person writes it: without our finalizer."""
    kept = {name: value for name, value in stage.fold["metadata"].items() if name != "finalizers"}
    stage.cluster.objects[stage.path]["metadata"] = kept
    return stage


def test_what_nobody_waits_for_is_written_with_the_inverse_before_the_effect(stage: Stage) -> None:
    an_operator(stage).pass_over(f"default/{stage.plan.id}")
    first, second = stage.cluster.written
    assert (first["phase"], second["phase"]) == ("Applying", "Verifying")
    assert [one["step"] for one in first["receipts"]] == ["intent"]
    assert first["verdicts"]
    assert first["approvals"]
    assert {one["type"]: one["status"] for one in first["conditions"]} == {"Guarded": "True", "Approved": "True"}
    assert list(stage.driver.world.values()) == [stage.plan.fold.target]


def test_one_turn_brings_one_that_a_person_wrote_to_its_effect_with_every_phase_written(stage: Stage) -> None:
    an_operator(by_hand(stage)).pass_over(f"default/{stage.plan.id}")
    told = [status["phase"] for status in stage.cluster.written]
    assert told == ["Proposed", "Guarded", "Approved", "Applying", "Verifying"]
    assert list(stage.driver.world.values()) == [stage.plan.fold.target]


def test_one_that_has_to_wait_says_where_it_is(stage: Stage) -> None:
    operator = an_operator(stage)
    operator._policies.put(_changed(mode="suggest"))
    operator.pass_over(f"default/{stage.plan.id}")
    assert [status["phase"] for status in stage.cluster.written] == ["Guarded"]
    assert "waits for 1 more" in stage.fold["status"]["message"]


def test_one_that_may_not_be_ends_by_its_first_write(stage: Stage) -> None:
    operator = an_operator(stage)
    operator._policies.put(_changed(allow=[{"kind": "SCALE_OUT"}]))
    operator.pass_over(f"default/{stage.plan.id}")
    assert [status["phase"] for status in stage.cluster.written] == ["Denied"]
    assert not stage.driver.world


def test_of_one_that_was_passed_over_in_vain_every_step_is_written(stage: Stage) -> None:
    def noted(name: str) -> None:
        if name == "intent_unwritten" and not stage.cluster.written:
            stage.note({"note": "changed meanwhile"})

    operator = an_operator(stage, noted)
    operator.pass_over(f"default/{stage.plan.id}")
    assert (stage.phase, stage.cluster.written) == ("", [])
    operator.pass_over(f"default/{stage.plan.id}")
    assert [status["phase"] for status in stage.cluster.written][:3] == ["Proposed", "Guarded", "Approved"]


def test_of_one_that_is_written_once_before_its_effect_the_cluster_is_looked_at_once(stage: Stage) -> None:
    an_operator(stage).pass_over(f"default/{stage.plan.id}")
    assert stage.cluster.asked["GET"] == 2  # the Fold, and its namespace
    assert list(stage.driver.world.values()) == [stage.plan.fold.target]


def test_a_look_that_is_a_second_old_is_not_acted_upon(stage: Stage) -> None:
    def slow(name: str) -> None:
        if name == "intent_unwritten":
            time.sleep(LASTS_S + 0.1)

    an_operator(stage, slow).pass_over(f"default/{stage.plan.id}")
    assert stage.cluster.asked["GET"] == 3  # its namespace twice
    assert list(stage.driver.world.values()) == [stage.plan.fold.target]


def test_the_cluster_is_looked_at_once_to_judge_and_once_more_to_act(stage: Stage) -> None:
    an_operator(by_hand(stage)).pass_over(f"default/{stage.plan.id}")
    assert stage.cluster.asked["GET"] == 3  # the Fold, and its namespace twice


def test_the_first_look_at_a_second_fold_of_a_kind_begins_beside_its_first_write(stage: Stage) -> None:
    by_hand(stage)
    known, asked = threading.Event(), 0

    def fault(name: str) -> None:
        nonlocal asked
        if name == "proposed_unwritten" and known.is_set():
            until = time.monotonic() + 10
            while stage.cluster.asked["GET"] < 2 and time.monotonic() < until:
                time.sleep(0.001)
            asked = stage.cluster.asked["GET"]

    operator = an_operator(stage, fault)
    operator.pass_over(f"default/{stage.plan.id}")
    stage.cluster.put(stage.path, {**stage.fold, "status": {}})
    by_hand(stage)
    stage.cluster.asked.clear()
    known.set()
    operator.pass_over(f"default/{stage.plan.id}")
    assert (asked, stage.cluster.asked["GET"]) == (2, 3)  # no more in all than for the first


def test_a_fold_that_the_watch_has_told_is_not_read_again_for_its_first_pass(stage: Stage) -> None:
    operator = an_operator(stage)
    operator._folds.put(stage.fold)
    operator.pass_over(f"default/{stage.plan.id}")
    assert stage.cluster.asked["GET"] == 1  # its namespace
    assert list(stage.driver.world.values()) == [stage.plan.fold.target]


def test_a_fold_that_was_changed_after_the_watch_has_told_it_is_read_and_judged_as_it_is(stage: Stage) -> None:
    operator = an_operator(stage)
    operator._folds.put(stage.fold)
    stage.note({"loomidi.io_deny": "no"})
    operator.pass_over(f"default/{stage.plan.id}")
    assert (stage.phase, stage.driver.world) == ("", {})
    operator.pass_over(f"default/{stage.plan.id}")
    assert (stage.phase, stage.driver.world) == ("Denied", {})


@pytest.mark.parametrize("write", ["guarded", "approved", "intent"])
def test_who_denies_it_in_between_is_heard(stage: Stage, write: str) -> None:
    def denied(name: str) -> None:
        if name == f"{write}_unwritten" and "Denied" not in [status["phase"] for status in stage.cluster.written]:
            stage.note({"loomidi.io_deny": "no"})

    operator = an_operator(stage if write == "intent" else by_hand(stage), denied)
    operator.pass_over(f"default/{stage.plan.id}")
    assert not stage.driver.world
    operator.pass_over(f"default/{stage.plan.id}")
    assert stage.phase == "Denied"
    assert not stage.driver.world
