"""What a killed run did is on disk and is taken back by the next one; what lives is left alone."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from loomidi_lab.staging import draw, steps
from loomidi_lab.staging.journals import Journal, lives, process_id, runner_id
from loomidi_lab.staging.observing import Observer
from loomidi_lab.staging.stages import RUNNER, SCENARIO, Stage, journals_of
from loomidi_lab.staging.sweeping import sweep, sweep_all
from tests.unit.lab.staging.conftest import FakeLab

DEAD = "999999999.1"


def test_this_process_lives_and_another_of_its_number_does_not() -> None:
    assert lives(runner_id())
    assert not lives(runner_id() + "0")
    assert not lives(DEAD)
    assert not lives("")


def test_a_process_that_has_ended_does_not_live() -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    name = process_id(process.pid)
    process.wait()
    assert not lives(name)


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, {"scenario": "x", "seed": 1, "runner": DEAD, "number": 1})
    journal.remember({"do": "delete", "path": "/a"})
    with journal.path.open("a") as file:
        file.write('{"do": "del')
    assert journal.read()[1] == [{"do": "delete", "path": "/a"}]


def died(lab: FakeLab, scenario_of: Any, **changed: Any) -> Stage:
    """A stage whose runner is dead: its journal says so."""
    stage = Stage(lab, draw(scenario_of(**changed), 1), Observer(lab))  # type: ignore[arg-type]
    path = stage._journal.path
    path.write_text(path.read_text().replace(stage.runner, DEAD))
    return stage


def test_the_next_run_takes_back_what_a_dead_one_did(lab: FakeLab, scenario_of: Any) -> None:
    stage = died(lab, scenario_of)
    steps.perform(stage, {"pod": {"name": "left"}})
    lab.api.put_in("Deployment", "web", "shop", spec={"replicas": 1})
    entity = {"kind": "Deployment", "namespace": "shop", "name": "web"}
    steps.perform(stage, {"scale": {"entity": entity, "replicas": 5}})
    assert sweep(lab) == ["a run of sample that was cut off"]  # type: ignore[arg-type]
    assert not lab.api.exists("/api/v1/namespaces/tenants/pods/left")
    assert lab.api.get("/apis/apps/v1/namespaces/shop/deployments/web")["spec"]["replicas"] == 1
    assert not list(journals_of(lab).glob("*.jsonl"))  # type: ignore[arg-type]


def test_a_run_that_lives_is_left_alone(lab: FakeLab, scenario_of: Any) -> None:
    stage = Stage(lab, draw(scenario_of(), 1), Observer(lab))  # type: ignore[arg-type]
    steps.perform(stage, {"pod": {"name": "busy"}})
    assert sweep(lab) == []  # type: ignore[arg-type]
    assert sweep_all(lab) == []  # type: ignore[arg-type]
    assert lab.api.exists("/api/v1/namespaces/tenants/pods/busy")


def test_marked_objects_without_a_journal_are_swept(lab: FakeLab) -> None:
    made = lab.api.put_in("Secret", "left")
    made["metadata"]["annotations"] = {SCENARIO: "x", RUNNER: DEAD}
    lab.api.put_in("Secret", "not-ours")
    assert sweep_all(lab) == ["Secret tenants/left"]  # type: ignore[arg-type]
    assert lab.api.exists("/api/v1/namespaces/tenants/secrets/not-ours")


def test_what_cannot_be_taken_back_is_told_and_kept_for_the_next_time(lab: FakeLab, scenario_of: Any) -> None:
    from loomidi.contracts.errors import Retryable

    stage = died(lab, scenario_of)
    stage.remember(do="delete", path="/api/v1/namespaces/x/pods/a")

    def refuse(path: str, **_: Any) -> None:
        raise Retryable("the API server does not answer")

    lab.api.delete = refuse  # type: ignore[method-assign, assignment]
    told = sweep(lab)  # type: ignore[arg-type]
    assert "not yet: delete /api/v1/namespaces/x/pods/a: the API server does not answer" in told[0]
    assert len(list(journals_of(lab).glob("*.jsonl"))) == 1  # type: ignore[arg-type]


def test_taking_back_twice_is_no_fault(lab: FakeLab, scenario_of: Any) -> None:
    stage = Stage(lab, draw(scenario_of(), 1), Observer(lab))  # type: ignore[arg-type]
    steps.perform(stage, {"pod": {"name": "a"}})
    assert stage.take_back() == []
    assert stage.take_back() == []
