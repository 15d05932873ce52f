"""From its posting to its effect a Fold is carried at a stretch; whatever comes in between is seen all the same."""

import threading
import time
from collections.abc import Callable

import pytest

from loomidi.contracts import Mode
from loomidi.fold.operator import Leadership, Operator, RunSettings, SharedKey
from loomidi.ionic.act.kube.api import KubeApi
from tests.unit.fold.operator.fakes import POLICY, Stage, _guards, a_stage
from tests.unit.ionic.acting import SIGNER
from tests.unit.ionic.making import a_decider

SPACE = "/api/v1/namespaces/default"


@pytest.fixture
def stage() -> Stage:
    stage = a_stage()
    stage.cluster.put(SPACE, {"metadata": {"name": "default"}})
    return stage


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


def test_one_turn_brings_it_from_its_posting_to_its_effect_with_every_phase_written(stage: Stage) -> None:
    an_operator(stage).pass_over(f"default/{stage.plan.id}")
    told = [status["phase"] for status in stage.cluster.written]
    assert told == ["Proposed", "Guarded", "Approved", "Applying", "Verifying"]
    assert list(stage.driver.world.values()) == [stage.plan.fold.target]


def test_the_cluster_is_looked_at_once_to_judge_and_once_more_to_act(stage: Stage) -> None:
    an_operator(stage).pass_over(f"default/{stage.plan.id}")
    assert stage.cluster.asked["GET"] == 3  # the Fold, and its namespace twice


def test_the_first_look_at_a_second_fold_of_a_kind_begins_beside_its_first_write(stage: Stage) -> None:
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
    stage.cluster.asked.clear()
    known.set()
    operator.pass_over(f"default/{stage.plan.id}")
    assert (asked, stage.cluster.asked["GET"]) == (2, 3)  # no more in all than for the first


def test_a_fold_that_the_watch_has_told_is_not_read_again_for_its_first_pass(stage: Stage) -> None:
    operator = an_operator(stage)
    operator._folds.put(stage.fold)
    operator.pass_over(f"default/{stage.plan.id}")
    assert stage.cluster.asked["GET"] == 2  # its namespace twice
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
        if name == f"{write}_unwritten" and stage.cluster.written[-1]["phase"] != "Denied":
            stage.note({"loomidi.io_deny": "no"})

    operator = an_operator(stage, denied)
    operator.pass_over(f"default/{stage.plan.id}")
    assert not stage.driver.world
    operator.pass_over(f"default/{stage.plan.id}")
    assert stage.phase == "Denied"
    assert not stage.driver.world
