"""A drill that was ended goes on where it was, and is not well before every run lies in its results."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from loomidi_lab.cluster import Lab
from loomidi_lab.drills.commands import command
from loomidi_lab.drills.records import Drilled

NAME = "scan-services"


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake = SimpleNamespace(network="bridge", folder=tmp_path / "lab")
    monkeypatch.setattr(Lab, "open", lambda name: fake)
    return tmp_path / "drills.jsonl"


def put(results: Path, *runs: tuple[int, bool], **more: object) -> None:
    done = [Drilled(NAME, "attack", seed, "bridge", way, True, "", detected_s=1.0, **more) for seed, way in runs]  # type: ignore[arg-type]
    results.write_text("".join(json.dumps(one.as_dict()) + "\n" for one in done))


def drilled(results: Path, *flags: str) -> tuple[object, str]:
    outcome = CliRunner().invoke(
        command, [NAME, "--seed", "1", "--results", str(results), *flags], standalone_mode=False
    )
    return outcome.return_value, outcome.output


def test_with_every_run_in_its_results_it_is_over_and_well(results: Path) -> None:
    put(results, (1, False), (1, True))
    code, told = drilled(results)
    assert (code, "left" in told) == (0, False)


def test_runs_that_are_left_are_counted_and_not_well(results: Path) -> None:
    put(results, (1, False))
    code, told = drilled(results, "--minutes", "1e-9")
    assert code == 1
    assert "1 of 2 runs are left; the same call goes on there" in told


def test_a_harmful_fold_is_not_well(results: Path) -> None:
    put(results, (1, False), (1, True), harmful=1)
    assert drilled(results)[0] == 1
