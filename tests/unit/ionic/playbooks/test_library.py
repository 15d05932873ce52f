"""Each playbook that ships is valid, plans what it should about its sample, and knows what to do when a step fails."""

import json

import pytest

from loomidi.contracts import Mode
from loomidi.garden.graph import EntityGraph
from loomidi.ionic.decide import Decider, DeciderSettings, standard_guards
from loomidi.ionic.playbooks import Hands, Report, Runner, library, read_playbook, written
from loomidi.origami.online.rules import rules_folder
from tests.unit.ionic.making import a_clock
from tests.unit.ionic.playbooks.playing import SAMPLES, sample

NAMES = sorted(path.stem for path in SAMPLES.glob("*.json"))
FAILURES = [(name, step) for name in NAMES for step in sample(name)[2]["failures"]]


def dry_run(name: str, assumed: tuple[str, ...] = ()) -> Report:
    """As `loomidi playbook run` does it: both guards, nothing to act with."""
    book, finding, _ = sample(name)
    settings = DeciderSettings(mode=Mode.SHADOW)
    guards = standard_guards((), settings, patience_s=30)
    decider = Decider(guards, (), settings, EntityGraph(), clock=a_clock())  # nothing else was seen on the network
    runner = Runner(Hands(decider), books=library().values(), clock=a_clock())
    return runner.start(book, finding, assumed=assumed)


def planned(report: Report) -> list[list[str]]:
    return [[fold["action"], fold["target"]] for fold in report.folds]


def test_there_are_twelve_and_each_has_its_sample() -> None:
    assert sorted(library()) == NAMES
    assert len(NAMES) == 12


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run_plans_these_folds_and_the_guards_allow_them(name: str) -> None:
    report = dry_run(name)
    assert report.state == "completed", report.why
    assert planned(report) == sample(name)[2]["folds"]
    assert [step for step in report.steps if not step[1]] == []


@pytest.mark.parametrize(("name", "step"), FAILURES)
def test_when_a_step_fails_this_branch_is_taken_and_the_run_ends_in_order(name: str, step: str) -> None:
    folds, branch = sample(name)[2]["failures"][step]
    report = dry_run(name, (step,))
    taken = [place for place, _, _ in report.steps] + ["end--" if branch.startswith("end--") else ""]
    assert any(place.endswith(branch) for place in taken) or branch.startswith("end--")
    assert planned(report) == folds
    assert report.state == "completed"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_what_was_read(name: str) -> None:
    text = (rules_folder("playbooks") / f"{name}.cacao.json").read_text()
    assert written(read_playbook(text)) == text
    assert json.loads(written(read_playbook(written(read_playbook(text))))) == json.loads(text)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_folds_probes_undos_and_questions_to_people_is_in_it(name: str) -> None:
    commands = [c["type"] for step in library()[name].steps.values() for c in step.get("commands", ())]
    assert set(commands) <= {"x-loomidi-fold", "x-loomidi-probe", "x-loomidi-undo", "manual"}
