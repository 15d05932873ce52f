"""Times of the environment come from the lab's own result lines, and environment and lab are held against each other.

`results/example.jsonl` is an example of the format of `loomidi-lab heal --results`, made by hand: no measurement. The
parity itself is held on the lab's own lines, where a lab has left some.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from bench.folding_players import Rules
from loomidi.contracts import InputError
from loomidi.origami.gym import GymSettings, Idle, Simulator, calibrate, measured, parity, read_lines, read_page
from loomidi.origami.gym.comparing import LEAST_RUNS, halves
from loomidi.origami.gym.figures import first_kind
from loomidi_lab.cluster.places import labs
from loomidi_lab.healing.comparing import Healed

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = Path(__file__).with_name("results") / "example.jsonl"
PAGE = (ROOT / "docs" / "healing.md").read_text()


def lines(scenario: str = "scan-services", runs: int = 8, detected: float = 3.0, over: float = 4.0) -> list[dict]:
    """Runs of both ways, spread a little."""
    found = []
    for seed in range(runs):
        off = 0.05 * (seed - runs / 2)
        alone = {"scenario": scenario, "seed": seed, "defended": False, "detected_s": None, "folded_s": None}
        found.append({**alone, "over_s": 45.0 + off, "lasted_s": 45.0, "folds": []})
        acted = {"detected_s": detected + off, "folded_s": detected + 0.6 + off, "over_s": over + off, "lasted_s": 45.0}
        found.append({**alone, **acted, "defended": True, "folds": ["ISOLATE_POD pod/tenants/x Released"]})
    return found


def test_the_example_has_the_fields_that_the_lab_writes() -> None:
    names = {field.name for field in dataclasses.fields(Healed)} | {"network", "at"}
    for text in EXAMPLE.read_text().splitlines():
        line = json.loads(text)
        assert line.pop("example") == "of the format, made by hand"
        assert set(line) == names


def test_the_example_is_read_and_calibrates() -> None:
    figures = calibrate(read_lines(EXAMPLE), EXAMPLE.name)
    assert figures.detected["scan-services"].runs == 6
    assert figures.detected["scan-services"].source == EXAMPLE.name
    assert set(figures.folded) == {"ISOLATE_POD", "ROLLBACK"}


def test_means_and_deviations_are_those_of_the_lines() -> None:
    told = lines(runs=5)
    figures = calibrate(told, "here")
    detected = [line["detected_s"] for line in told if line["defended"]]
    assert figures.detected["scan-services"].mean == pytest.approx(np.mean(detected))
    assert figures.detected["scan-services"].deviation == pytest.approx(np.std(detected, ddof=1))
    assert figures.folded["ISOLATE_POD"].mean == pytest.approx(0.6)
    assert figures.over["ISOLATE_POD"].mean == pytest.approx(0.4)


def test_what_was_not_measured_is_pooled_and_says_so() -> None:
    figures = calibrate(lines(), "here")
    assert "fd-leak" not in figures.detected
    assert figures.any_detected.source == "pooled, here"
    assert figures.any_detected.runs == 0
    assert figures.detected_s("fd-leak", np.random.default_rng(0)) > 0


def test_a_trouble_that_outlives_its_act_says_nothing_of_the_fold() -> None:
    told = [{**line, "over_s": 50.0} if line["defended"] else line for line in lines()]
    assert calibrate(told, "here").over == {}


def test_a_draw_has_the_mean_and_deviation_of_its_figure() -> None:
    spread = calibrate(lines(detected=8.0), "here").detected["scan-services"]
    drawn = [spread.draw(rng := np.random.default_rng(seed)) + 0 * rng.random() for seed in range(2000)]
    assert np.mean(drawn) == pytest.approx(spread.mean, rel=0.02)


def test_the_page_of_healing_can_be_read_and_has_both_ways_of_its_scenarios() -> None:
    told = read_page(PAGE)
    assert {line["scenario"] for line in told} >= {"scan-services", "cpu-saturation", "bad-rollout-crash"}
    assert len(told) == 2 * len({line["scenario"] for line in told})
    assert {first_kind(line) for line in told if line["defended"]} <= {
        "ISOLATE_POD",
        "SCALE_OUT",
        "ROLLBACK",
        "RECONFIGURE_NETWORK",
        "EVICT",
    }
    assert calibrate(read_page(PAGE), "page").detected


def test_the_figures_of_the_package_say_where_they_are_from() -> None:
    assert {spread.source for spread in measured().detected.values()} == {"docs/healing.md, 2026-11-26"}
    assert measured().detected["scan-services"].runs == 1


@pytest.mark.parametrize(("text", "why"), [('{"scenario": "x"}', "lacks"), ("nothing", "example.jsonl:1")])
def test_a_line_that_is_none_is_refused_with_its_number(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "example.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=why):
        read_lines(path)


def test_without_a_run_in_which_loomidi_acted_nothing_is_calibrated() -> None:
    with pytest.raises(InputError, match="loomidi-lab heal"):
        calibrate([line for line in lines() if not line["defended"]], "here")


def test_an_environment_calibrated_by_a_lab_agrees_with_it() -> None:
    even, odd = halves(lines(runs=16))
    for one in parity(odd, calibrate(even, "even"), Rules(), episodes=60):
        assert one.within, one


def test_an_environment_that_is_too_fast_or_too_slow_does_not_agree() -> None:
    even, _ = halves(lines(runs=16))
    slower = parity(lines(detected=9.0, over=11.0), calibrate(even, "even"), Rules(), episodes=60)
    assert {(one.measure, one.within) for one in slower if one.defended} == {("detected_s", False), ("over_s", False)}


def test_another_policy_than_the_labs_does_not_agree_with_it() -> None:
    even, odd = halves(lines(runs=16))
    found = parity(odd, calibrate(even, "even"), Idle(), episodes=60)
    assert [one.within for one in found if one.defended and one.measure == "over_s"] == [False]


def test_too_few_runs_are_no_agreement() -> None:
    with pytest.raises(InputError, match="more seeds"):
        parity(lines(runs=LEAST_RUNS - 1), measured(), Rules())


def test_what_is_compared_was_not_calibrated_on() -> None:
    even, odd = halves(lines())
    assert {line["seed"] for line in even} & {line["seed"] for line in odd} == set()


def test_environment_and_lab_agree_within_two_standard_errors() -> None:
    """Held where this machine's labs have left result lines, calibrated on the even seeds, compared on the odd ones."""
    path = labs() / "healing.jsonl"
    if not path.is_file():
        pytest.skip(f"no results of the lab at {path}; run: loomidi-lab heal, with {2 * LEAST_RUNS} seeds or more")
    even, odd = halves(read_lines(path))
    try:
        found = parity(odd, calibrate(even, str(path)), Rules())
    except InputError as lacking:
        pytest.skip(f"{path}: {lacking}")
    assert [one for one in found if not one.within] == []


def test_lab_times_reach_the_episode() -> None:
    figures = calibrate(lines(), "here")
    simulator = Simulator(GymSettings(figures=figures))
    simulator.reset("scan-services", 1, lasts_s=45.0)
    assert simulator.trouble.detected_s == pytest.approx(3.0, abs=0.6)
    assert simulator.trouble.lasts_s == 45.0
