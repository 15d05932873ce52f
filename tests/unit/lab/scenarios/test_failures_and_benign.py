"""Failures and benign look-alikes as they are written: complete, argued, undone, short enough for a recording."""

import functools
from typing import Any

import pytest

from loomidi_lab import staging

FAILURES = (
    "bad-rollout-config",
    "bad-rollout-crash",
    "bad-rollout-image",
    "cascading-retries",
    "certificate-expired",
    "clock-skew",
    "cpu-saturation",
    "dependency-down",
    "disk-fill",
    "dns-failure",
    "fd-leak",
    "memory-leak-oom",
    "node-down",
    "node-pressure",
    "noisy-neighbour",
    "packet-loss",
    "pool-exhaustion",
    "queue-growth",
    "slow-dependency",
)
BENIGN = (
    "backup",
    "cron-burst",
    "dns-retry-burst",
    "health-check-storm",
    "load-test",
    "monitoring-scrape",
    "new-service",
    "node-drain",
    "package-download",
    "port-forward-debug",
    "rolling-update",
    "scale-up-down",
)
SEEDS = range(24)
MOST_S = 90  # of an act, so that recordings can hold it
MOST_IN_A_PLAN_S = {"failure": 45, "benign": 40}  # some draw has to be as short: recordings ask for it
load = functools.cache(staging.load)  # read and checked once; what is tested is drawing


def drawn(name: str) -> list[staging.Drawn]:
    return [staging.draw(load(name), seed) for seed in SEEDS]


@pytest.mark.parametrize("name", FAILURES + BENIGN)
def test_it_is_valid_and_says_which_category_and_kind(name: str) -> None:
    scenario = staging.load(name)
    assert scenario.category == ("failure" if name in FAILURES else "benign")
    assert scenario.kind
    assert not scenario.technique
    assert len(scenario.description.split()) >= 20


@pytest.mark.parametrize("name", FAILURES + BENIGN)
def test_every_draw_fits_a_recording_and_some_draw_fits_a_short_one(name: str) -> None:
    lengths = [one.duration_s for one in drawn(name)]
    assert 20 <= min(lengths) <= MOST_IN_A_PLAN_S[staging.load(name).category]
    assert max(lengths) <= MOST_S


@pytest.mark.parametrize("name", FAILURES + BENIGN)
def test_folds_are_argued_and_none_is_both_right_and_harmful(name: str) -> None:
    for one in drawn(name):
        right, harmful = (
            {(fold["kind"], str(fold["target"])) for fold in one.fold[side]} for side in ("right", "harmful")
        )
        assert not right & harmful
        for fold in [*one.fold["right"], *one.fold["harmful"]]:
            assert len(fold["why"].split()) >= 7
            assert fold["kind"] == "NONE" or fold["target"]


@pytest.mark.parametrize("name", BENIGN)
def test_what_is_benign_needs_no_fold_and_has_no_victim(name: str) -> None:
    one = drawn(name)[0]
    assert one.fold["right"][0]["kind"] == "NONE"
    assert not one.victims
    assert one.sources


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_has_victims_and_at_least_two_symptoms(name: str) -> None:
    one = drawn(name)[0]
    assert one.victims
    assert len(one.symptoms) >= 2


@pytest.mark.parametrize("name", FAILURES + BENIGN)
def test_what_is_begun_is_undone(name: str) -> None:
    """Steps undo themselves from the journal; a guard in `act.py` is released by a step of the undo besides."""
    scenario = staging.load(name)
    phases = scenario.document["phases"]
    assert "undo" in phases
    code = scenario.folder / "act.py"
    if code.is_file() and "guarding.guard(" in code.read_text():
        assert any("python" in step for step in phases["undo"])


@pytest.mark.parametrize("name", FAILURES + BENIGN)
def test_functions_that_steps_name_are_there(name: str) -> None:
    scenario = staging.load(name)
    calls = [
        step["python"]["call"] for steps in scenario.document["phases"].values() for step in steps if "python" in step
    ]
    code = (scenario.folder / "act.py").read_text() if calls else ""
    for call in calls:
        assert f"\ndef {call}(" in code


def test_the_same_seed_gives_the_same_course() -> None:
    for name in FAILURES + BENIGN:
        assert [one.planned() for one in drawn(name)] == [one.planned() for one in drawn(name)]


def test_every_scenario_that_is_no_attack_is_held_by_these_tests() -> None:
    others = {name for name in staging.names() if staging.load(name).category != "attack"}
    assert others == {*FAILURES, *BENIGN}


def test_no_name_in_the_cluster_gives_the_answer_away() -> None:
    """Recordings show names of pods and services: they must sound like every day."""
    words = ("fail", "fault", "broken", "noisy", "stress", "hog", "delay", "proxy", "attack", "scenario")
    for name in FAILURES + BENIGN:
        for step in _steps(staging.load(name).document["phases"]):
            made = [step["pod"]["name"]] if "pod" in step else []
            made += [one["metadata"]["name"] for one in step.get("apply", {}).get("manifests", [])]
            assert not [one for one in made if any(word in one for word in words)]


def _steps(phases: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for steps in phases.values() for step in steps]
