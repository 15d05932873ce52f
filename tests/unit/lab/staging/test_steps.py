"""A step does what it says on the lab, and its inverse is on disk before its effect and takes it back."""

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts.errors import LoomidiError
from loomidi_lab.staging import draw, steps
from loomidi_lab.staging.journals import KILL
from loomidi_lab.staging.observing import Observer
from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.stages import RUNNER, SCENARIO, Stage
from loomidi_lab.staging.steps.execute import WRAPPER
from loomidi_lab.staging.targets import path_of
from tests.unit.lab.staging.conftest import FakeLab

WEB = EntityRef("Deployment", "shop", "web")


@pytest.fixture
def stage(lab: FakeLab, scenario_of: Any) -> Stage:
    return Stage(lab, draw(scenario_of(), 1), Observer(lab))  # type: ignore[arg-type]


def deployment(lab: FakeLab, replicas: int = 2) -> dict[str, Any]:
    return lab.api.put_in("Deployment", "web", "shop", spec={"replicas": replicas, "image": "web:1"})


def test_a_pod_is_made_marked_and_taken_back(stage: Stage, lab: FakeLab) -> None:
    steps.perform(stage, {"pod": {"name": "report", "env": {"A": 1}, "capabilities": ["NET_RAW"]}})
    pod = lab.api.get("/api/v1/namespaces/tenants/pods/report")
    assert pod["metadata"]["annotations"] == {SCENARIO: "sample", RUNNER: stage.runner}
    assert pod["metadata"]["labels"] == {"app": "report"}  # folds select by labels: nothing of ours in them
    assert stage.take_back() == []
    assert not lab.api.exists("/api/v1/namespaces/tenants/pods/report")


def test_pods_in_a_row_are_made_together(stage: Stage, lab: FakeLab) -> None:
    applied: list[int] = []
    apply, lab.apply = lab.apply, lambda objects: (applied.append(len(objects)), apply(objects))  # type: ignore[assignment, func-returns-value]
    steps.perform_all(stage, [{"pod": {"name": "a"}}, {"pod": {"name": "b"}}, {"wait": {"seconds": 0}}])
    assert applied == [1, 2]  # the namespace, then both pods


def test_applying_over_what_is_there_puts_it_back_as_it_was(stage: Stage, lab: FakeLab) -> None:
    lab.api.put_in("ConfigMap", "settings", "shop", data={"a": "1"})
    lab.api.put_in("Namespace", "shop", "")
    new = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": "shop", "name": "settings"},
        "data": {"b": "2"},
    }
    steps.perform(stage, {"apply": {"manifests": [new]}})
    assert lab.api.get("/api/v1/namespaces/shop/configmaps/settings")["data"] == {"b": "2"}
    stage.take_back()
    assert lab.api.get("/api/v1/namespaces/shop/configmaps/settings")["data"] == {"a": "1"}


def test_a_patch_is_restored_with_what_it_added_and_removed(stage: Stage, lab: FakeLab) -> None:
    deployment(lab)
    body = {"spec": {"image": "web:2", "paused": True}, "metadata": {"labels": {"x": "y"}}}
    steps.perform(stage, {"patch": {"entity": WEB.as_dict(), "body": body}})
    assert lab.api.get(path_of(WEB))["spec"]["paused"] is True
    stage.take_back()
    assert lab.api.get(path_of(WEB))["spec"] == {"replicas": 2, "image": "web:1"}
    assert not lab.api.get(path_of(WEB))["metadata"].get("labels")


def test_scaling_is_scaled_back(stage: Stage, lab: FakeLab) -> None:
    deployment(lab, replicas=3)
    steps.perform(stage, {"scale": {"entity": WEB.as_dict(), "replicas": 0}})
    assert lab.api.get(path_of(WEB))["spec"]["replicas"] == 0
    stage.take_back()
    assert lab.api.get(path_of(WEB))["spec"]["replicas"] == 3


def test_what_is_deleted_is_made_again(stage: Stage, lab: FakeLab) -> None:
    lab.api.put_in("Service", "web", "shop", spec={"ports": [80]}, status={"loadBalancer": {}})
    steps.perform(stage, {"delete": {"entity": {"kind": "Service", "namespace": "shop", "name": "web"}}})
    assert not lab.api.exists("/api/v1/namespaces/shop/services/web")
    stage.take_back()
    again = lab.api.get("/api/v1/namespaces/shop/services/web")
    assert again["spec"] == {"ports": [80]}
    assert "status" not in again


def test_deleting_what_is_not_there_is_a_mistake_but_not_in_an_undo(stage: Stage) -> None:
    step = {"delete": {"entity": {"kind": "Service", "namespace": "shop", "name": "gone"}}}
    with pytest.raises(LoomidiError, match="step `delete`: Service shop/gone is not there"):
        steps.perform(stage, step)
    stage.begin_undo()
    steps.perform(stage, step)


def test_a_command_in_a_pod_has_a_deadline_and_can_be_killed(stage: Stage, lab: FakeLab) -> None:
    steps.perform(stage, {"pod": {"name": "a"}})
    pod = {"kind": "Pod", "namespace": "tenants", "name": "a"}
    lab.answer = (0, "out", "@started 123\n")
    steps.perform(stage, {"exec": {"in": pod, "command": ["nmap", 1], "deadline_s": 30}})
    words = lab.executed[0]
    assert words[:2] == ("tenants", "a")
    assert words[-2:] == ("nmap", "1")
    assert "30" in words
    assert "timeout -k 2" in words[4]
    assert stage.began_ns == 0  # it had no moment to wait for
    stage.take_back()
    assert any("kill $(cat" in word for call in lab.executed[1:] for word in call)


def wrapped(begin_ns: int, pid_file: Path, *command: str) -> "subprocess.Popen[str]":
    words = ["sh", "-c", WRAPPER, "sh", str(begin_ns), "60", str(pid_file), *command]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)


def test_a_command_waits_for_its_moment(tmp_path: Path) -> None:
    planned_ns = time.time_ns() + 300_000_000
    with wrapped(planned_ns, tmp_path / "pid", "true") as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert int(errors.split()[1]) >= planned_ns


def test_a_command_that_waits_for_its_moment_can_be_ended_with_its_sleep(tmp_path: Path) -> None:
    with wrapped(time.time_ns() + 60 * 10**9, tmp_path / "pid", "true") as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until = time.monotonic() + 20
        while not any(_is_sleep(pid) for pid in children.read_text().split()) and time.monotonic() < until:
            time.sleep(0.01)
        process.terminate()
        process.communicate(timeout=20)  # ends when nobody holds its standard error: the sleep does not
    assert process.returncode == 143


def test_what_does_not_listen_is_killed_with_what_it_started(tmp_path: Path) -> None:
    deaf = "trap '' TERM; echo deaf; while :; do sleep 60; done"
    words = ["sh", "-c", WRAPPER, "sh", "0", "60", str(tmp_path / "pid"), "sh", "-c", deaf]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "deaf\n"
        subprocess.run(["sh", "-c", KILL.format(file=tmp_path / "pid")], check=True)
        assert process.stdout.read() == ""  # closed by all of them
    assert not (tmp_path / "pid").exists()
    subprocess.run(["sh", "-c", KILL.format(file=tmp_path / "pid")], check=True)


def _is_sleep(pid: str) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().strip() == "sleep"


def test_a_command_that_fails_makes_the_run_void_with_its_words(stage: Stage, lab: FakeLab) -> None:
    steps.perform(stage, {"pod": {"name": "a"}})
    lab.answer = (3, "", "no route to host")
    step = {"exec": {"in": {"kind": "Pod", "namespace": "tenants", "name": "a"}, "script": "x", "deadline_s": 5}}
    with pytest.raises(LoomidiError, match="step `exec`: sh ended with 3: no route to host"):
        steps.perform(stage, step)


@pytest.mark.parametrize("code", [124, 137])
def test_being_ended_by_the_deadline_is_fine_where_it_is_meant(stage: Stage, lab: FakeLab, code: int) -> None:
    steps.perform(stage, {"pod": {"name": "a"}})
    lab.answer = (code, "", "")
    arguments = {"in": {"kind": "Pod", "namespace": "tenants", "name": "a"}, "script": "x", "deadline_s": 5}
    steps.perform(stage, {"exec": {**arguments, "ends_by_deadline": True}})
    with pytest.raises(LoomidiError, match=str(code)):
        steps.perform(stage, {"exec": arguments})


def test_runtime_values_are_put_in_before_a_step(stage: Stage, lab: FakeLab) -> None:
    lab.api.put_in("Service", "web", "shop", spec={"clusterIP": "10.65.0.7", "ports": [{"nodePort": 30080}]})
    filled = stage.lookup.fill(["@{service:shop/web}", "@{node:n1}:@{node_port:shop/web}", "@{dns}", "@{pod_cidr:n1}"])
    assert filled == ["10.65.0.7", "10.65.255.11:30080", "10.65.0.10", "10.64.1.0/24"]


@pytest.mark.parametrize("text", ["@{nothing}", "@{service:shop/gone}", "@{pod:shop/gone}", "@{node:n9}"])
def test_a_runtime_value_that_is_not_there_is_told(stage: Stage, text: str) -> None:
    with pytest.raises(LoomidiError):
        stage.lookup.fill(text)


def test_waiting_for_a_value_gives_up_in_time(stage: Stage, lab: FakeLab) -> None:
    lab.api.put_in("Pod", "a", status={"phase": "Pending"})
    pod = {"kind": "Pod", "namespace": "tenants", "name": "a"}
    step = {"wait": {"entity": pod, "path": "status.phase", "equals": "Running", "timeout_s": 0.3}}
    with pytest.raises(LoomidiError, match=r"status.phase of Pod tenants/a = Running did not come within 0 s"):
        steps.perform(stage, step)


def test_a_python_step_calls_its_function(stage: Stage) -> None:
    (stage.folder / "act.py").write_text("def go(stage, n):\n    stage.heard(f'went {n}')\n")
    steps.perform(stage, {"python": {"call": "go", "with": {"n": 2}}})
    assert "went 2" in stage.outputs
    with pytest.raises(LoomidiError, match="defines no function stop"):
        steps.perform(stage, {"python": {"call": "stop"}})
