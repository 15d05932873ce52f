"""A run is valid only when every symptom was seen; whatever happens, everything is taken back."""

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts.errors import EnvironmentLacks
from loomidi_lab.staging import draw, run
from loomidi_lab.staging.observing import Observer
from loomidi_lab.staging.stages import RunEnded, Stage, journals_of
from tests.unit.lab.staging.conftest import FakeLab

SETUP = [{"pod": {"name": "a"}}, {"pod": {"name": "b"}}]
SEEN = [{"name": "seen", "within_s": 0.2, "command": {"at": "host", "script": "x", "code": 0}}]
UNSEEN = [{"name": "unseen", "within_s": 0.2, "command": {"at": "host", "script": "x", "code": 9}}]


def play(lab: FakeLab, scenario_of: Any, **changed: Any) -> Any:
    at = changed.pop("at", None)
    phases = {"setup": SETUP, "act": [{"wait": {"seconds": 0.1}}], "undo": []} | changed.pop("phases", {})
    drawn = draw(scenario_of(phases=phases, **({"symptoms": SEEN} | changed)), 1)
    return run(lab, drawn, at=at, observer=Observer(lab, lag_s=0.0))  # type: ignore[arg-type]


def nothing_left(lab: FakeLab) -> bool:
    pods = [path for path in lab.api.objects if "/pods/" in path]
    return not pods and not list(journals_of(lab).glob("*.jsonl"))  # type: ignore[arg-type]


def test_a_run_whose_symptoms_are_seen_is_valid(lab: FakeLab, scenario_of: Any) -> None:
    found = play(lab, scenario_of)
    assert found.valid
    measured = found.as_dict()["measured"]
    assert measured["symptoms"][0]["confirmed"] is True
    assert measured["sources"][0]["pods"][0]["name"] == "a"
    assert measured["end_ns"] > measured["start_ns"] > 0
    assert nothing_left(lab)
    json.dumps(found.as_dict())


def test_a_symptom_that_does_not_come_makes_it_void_with_the_reason(lab: FakeLab, scenario_of: Any) -> None:
    found = play(lab, scenario_of, symptoms=UNSEEN)
    assert not found.valid
    assert found.void_because == "symptom not confirmed: unseen: 0, wanted exit code 9"
    assert nothing_left(lab)


def test_a_lab_of_which_a_part_has_ended_plays_nothing(lab: FakeLab, scenario_of: Any) -> None:
    lab.ended = ["n2-kubelet"]
    with pytest.raises(EnvironmentLacks, match="not running: n2-kubelet; see `loomidi-lab restart"):
        play(lab, scenario_of)
    assert nothing_left(lab)


def test_it_starts_at_the_planned_moment(lab: FakeLab, scenario_of: Any) -> None:
    at = time.monotonic() + 1.0
    wall_ns = time.time_ns() + 10**9
    found = play(lab, scenario_of, at=at)
    assert found.start_ns >= wall_ns - 10**7
    assert found.jitter_ns >= 0
    assert abs(found.start_ns - wall_ns - found.jitter_ns) < 10**8


def test_a_start_that_was_missed_is_told_as_jitter(lab: FakeLab, scenario_of: Any) -> None:
    assert play(lab, scenario_of, at=time.monotonic() - 2.0).jitter_ns >= 2 * 10**9


@pytest.mark.parametrize("phase", ["setup", "act"])
def test_a_step_that_fails_makes_it_void_and_is_taken_back(lab: FakeLab, scenario_of: Any, phase: str) -> None:
    broken = {"delete": {"entity": {"kind": "Service", "namespace": "shop", "name": "gone"}}}
    steps = {"setup": [*SETUP, broken]} if phase == "setup" else {"act": [broken]}
    found = play(lab, scenario_of, phases=steps)
    assert found.void_because == "step `delete`: Service shop/gone is not there"
    assert nothing_left(lab)


def test_an_interruption_takes_back_first(lab: FakeLab, scenario_of: Any) -> None:
    class Interrupting(Observer):
        def flow_count(self, start_ns: int) -> int:
            return 0

    phases = {"setup": SETUP, "act": [{"wait": {"seconds": 20}}], "undo": []}
    drawn = draw(scenario_of(phases=phases, symptoms=SEEN), 1)

    def interrupt(*_: Any, **__: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return subprocess.CompletedProcess("x", 1, "", "")

    lab.run = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run(lab, drawn, observer=Interrupting(lab, lag_s=0.0))  # type: ignore[arg-type]
    assert nothing_left(lab)


def test_the_scenarios_own_undo_is_done_too(lab: FakeLab, scenario_of: Any) -> None:
    secret = {"kind": "Secret", "namespace": "tenants", "name": "left"}
    lab.api.put_in("Secret", "left")
    assert play(lab, scenario_of, phases={"undo": [{"delete": {"entity": secret}}]}).valid
    assert not lab.api.exists("/api/v1/namespaces/tenants/secrets/left")


@pytest.mark.parametrize(
    ("needs", "told"),
    [
        ({"shop": True}, "needs the shop"),
        ({"shop": False, "network": ["cilium"]}, "needs a lab with network cilium"),
        ({"shop": False, "nodes": 3}, "needs 3 nodes"),
    ],
)
def test_what_the_lab_has_not_is_told_before_anything_begins(
    lab: FakeLab, scenario_of: Any, needs: dict[str, Any], told: str
) -> None:
    with pytest.raises(EnvironmentLacks, match=told):
        play(lab, scenario_of, needs=needs)
    assert not lab.api.objects


def test_judged_at_the_end_means_that_a_passing_low_value_does_not_count(lab: FakeLab, scenario_of: Any) -> None:
    """`at_most` must hold once the act is over: what is still small may grow."""
    symptom = {"name": "few", "within_s": 0.3, "command": {"at": "host", "script": "x", "at_most": 5}}
    values = iter(range(3, 100))
    lab.run = lambda *_, **__: type("Done", (), {"stdout": str(next(values) * 3), "stderr": "", "returncode": 0})()  # type: ignore[method-assign, assignment]
    assert not play(lab, scenario_of, symptoms=[symptom]).valid


HANGS = {"exec": {"in": {"kind": "Pod", "namespace": "tenants", "name": "a"}, "script": "x", "deadline_s": 60}}
ENDED = {
    "in the set-up": {"setup": [*SETUP, {"wait": {"seconds": 60}}]},
    "while it waits for something": {
        "act": [{"wait": {"ready": {"kind": "Pod", "namespace": "shop", "name": "never"}, "timeout_s": 60}}]
    },
    "in a pause of the act": {"act": [{"wait": {"seconds": 60}}]},
    "before the planned start": {"at": 60},
    "while a command runs in a pod": {"act": [HANGS]},
    "while a symptom is waited for": {"symptoms": [{**UNSEEN[0], "within_s": 60}]},
}


class HangingLab(FakeLab):
    """A lab where a command in a pod runs until its pid file is asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.killed = threading.Event()

    def exec(self, namespace: str, pod: str, *argv: str, **more: Any) -> Any:
        if "kill $(cat" in argv[-1]:
            self.killed.set()
        else:
            assert self.killed.wait(20)
        return super().exec(namespace, pod, *argv, **more)


@pytest.mark.parametrize("when", ENDED)
def test_a_run_that_is_ended_takes_back_and_says_so(tmp_path: Path, scenario_of: Any, when: str) -> None:
    lab, ending, changed = HangingLab(tmp_path), threading.Event(), dict(ENDED[when])
    at = time.monotonic() + changed.pop("at") if "at" in changed else None
    symptoms = changed.pop("symptoms", SEEN)
    phases = {"setup": SETUP, "act": [{"wait": {"seconds": 0.01}}], "undo": []} | changed
    drawn = draw(scenario_of(phases=phases, symptoms=symptoms), 1)
    threading.Timer(0.5, ending.set).start()
    begun = time.monotonic()
    with pytest.raises(RunEnded):
        run(lab, drawn, at=at, observer=Observer(lab, lag_s=0.0), ending=ending)  # type: ignore[arg-type]
    assert time.monotonic() - begun < 20  # of the 60 that it would have gone on
    assert nothing_left(lab)


def test_the_undo_of_a_run_that_is_ended_does_all_and_waits_for_nothing(lab: FakeLab, scenario_of: Any) -> None:
    never, secret = ({"kind": kind, "namespace": "tenants", "name": "left"} for kind in ("Pod", "Secret"))
    lab.api.put_in("Secret", "left")
    undo = [{"wait": {"ready": never, "timeout_s": 60}}, {"wait": {"seconds": 60}}, {"delete": {"entity": secret}}]
    drawn, ending = (
        draw(scenario_of(phases={"act": [{"wait": {"seconds": 60}}], "undo": undo}, symptoms=SEEN), 1),
        threading.Event(),
    )
    ending.set()
    with pytest.raises(RunEnded):
        run(lab, drawn, observer=Observer(lab, lag_s=0.0), ending=ending)  # type: ignore[arg-type]
    assert not lab.api.exists("/api/v1/namespaces/tenants/secrets/left")


def test_a_moment_to_wait_for_is_set_for_first_steps_that_can_wait_alone(
    lab: FakeLab, scenario_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(Stage, "join", lambda self: seen.append(self.begin_ns))
    assert play(lab, scenario_of).valid
    assert seen == [0]
