"""Every scenario of the checkout is valid, draws for many seeds, and tells its truth completely."""

import functools
import re
from typing import Any

import pytest

from loomidi_lab import staging
from loomidi_lab.staging import draw, loading, names
from loomidi_lab.staging.steps import KINDS as STEPS
from loomidi_lab.staging.symptoms import KINDS as SYMPTOMS
from loomidi_lab.staging.symptoms import make, within_s

ALL = names()
load = functools.cache(staging.load)  # read and checked once for all tests
SELF_UNDOING = frozenset({"pod", "apply", "delete", "patch", "scale", "exec", "outside", "wait"})
# Techniques of ATT&CK for Enterprise that the attacks use, looked up by hand; a new one is added here once looked up.
TECHNIQUES = frozenset(
    {
        *("T1018", "T1021.004", "T1030", "T1046", "T1048.003", "T1071.001", "T1071.004", "T1110.001", "T1496"),
        *("T1498.001", "T1498.002", "T1499.002", "T1552.005", "T1552.007", "T1557.002", "T1610", "T1613"),
    }
)


@pytest.mark.parametrize("name", ALL)
def test_it_is_valid_and_draws_for_many_seeds(name: str) -> None:
    scenario = load(name)
    for seed in range(25):
        drawn = draw(scenario, seed)
        assert drawn.duration_s > 0
        assert not re.search(r"\$\{[a-z_]+\}", repr((drawn.planned(), drawn.phases, drawn.symptoms)))


@pytest.mark.parametrize("name", ALL)
def test_its_truth_is_complete(name: str) -> None:
    drawn = draw(load(name), 0)
    assert drawn.victims or drawn.scenario.category == "benign"
    assert drawn.sources or drawn.scenario.category != "attack"
    assert {"right", "harmful"} == set(drawn.fold)
    for fold in (*drawn.fold["right"], *drawn.fold["harmful"]):
        assert (fold["target"] is None) == (fold["kind"] == "NONE")
        assert len(fold["why"].split()) >= 5


@pytest.mark.parametrize("name", ALL)
def test_a_fold_is_not_right_and_harmful_at_once(name: str) -> None:
    fold = draw(load(name), 0).fold
    right, harmful = ({(one["kind"], str(one["target"])) for one in fold[side]} for side in ("right", "harmful"))
    assert not right & harmful


@pytest.mark.parametrize("name", ALL)
def test_it_proves_itself_by_a_symptom(name: str) -> None:
    for written in draw(load(name), 0).symptoms:
        assert loading.symptom_kind(dict(written)) in SYMPTOMS
        assert make(written).wanted
        assert 0 < within_s(written) <= 120


@pytest.mark.parametrize("name", ALL)
def test_everything_is_undone(name: str) -> None:
    """Each step undoes itself; what `act.py` does is undone by what it remembers, or by an undo phase."""
    scenario, drawn = load(name), draw(load(name), 0)
    used = {kind for phase in ("setup", "act") for step in drawn.phases[phase] for kind in step}
    assert used <= set(STEPS)
    if "python" in used:
        text = (scenario.folder / "act.py").read_text()
        assert re.search(r"remember|perform\(|put\(", text) or drawn.phases["undo"]
    assert used - SELF_UNDOING <= {"python"}


@pytest.mark.parametrize("name", ALL)
def test_what_it_starts_ends_by_itself(name: str) -> None:
    for phase in draw(load(name), 0).phases.values():
        for step in phase:
            for kind, arguments in step.items():
                assert kind not in ("exec", "outside") or 0 < float(arguments["deadline_s"]) <= 900


@pytest.mark.parametrize("name", [name for name in ALL if load(name).category == "attack"])
def test_an_attack_names_a_technique_that_exists(name: str) -> None:
    assert load(name).technique in TECHNIQUES


def test_names_of_pods_do_not_give_the_answer_away() -> None:
    """Recordings show names; a model must not learn to look for the word."""
    telling = re.compile(r"attack|evil|malic|scan|flood|miner|exfil|victim|intruder|hack|brute|spoof|beacon|tunnel")
    for name in ALL:
        for step in draw(load(name), 0).phases["setup"]:
            if "pod" in step:
                assert not telling.search(step["pod"]["name"]), (name, step["pod"]["name"])


def test_there_are_as_many_attacks_as_promised() -> None:
    found: dict[str, int] = {}
    for name in ALL:
        category = load(name).category
        found[category] = found.get(category, 0) + 1
    assert found["attack"] >= 16


def test_the_examples_of_the_readme_are_valid() -> None:
    text = (loading._HERE / "README.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        name: Any = re.match(r"name: (\S+)", block)
        draw(loading.parse(block, loading.SCENARIOS / name[1] / "scenario.yaml"), 1)


def test_the_readme_tells_every_kind_of_step_and_symptom() -> None:
    text = (loading._HERE / "README.md").read_text()
    for kind in (*STEPS, *SYMPTOMS):
        assert f"| `{kind}` |" in text, kind
