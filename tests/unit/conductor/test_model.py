"""`loomidi model` where MLflow is not: what it can do all the same, and what it says otherwise."""

import importlib.util
import json
from pathlib import Path

import pytest
from pyarrow import parquet

from loomidi.conductor.cli import guarded, loomidi
from loomidi.origami.scoring import Shelf
from loomidi.origami.train import FitSettings, fit
from tests.unit.origami.lives import stream, table

WITHOUT = pytest.mark.skipif(importlib.util.find_spec("mlflow") is not None, reason="mlflow is installed here")


def run(*arguments: str | Path) -> int:
    return guarded(lambda: loomidi.main([str(a) for a in arguments], standalone_mode=False))


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOOMIDI_STORAGE_STATE", str(tmp_path))
    return tmp_path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    parquet.write_table(table(), tmp_path / "edges.parquet")
    return tmp_path / "edges.parquet"


@WITHOUT
@pytest.mark.parametrize("verb", [("train", "x.parquet"), ("rollback", "--because", "a test")])
def test_without_mlflow_it_says_what_to_install(
    state: Path, verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("model", *verb) == 2
    assert "pip install 'loomidi[learn]'" in capsys.readouterr().err


@WITHOUT
def test_without_mlflow_who_scores_live_and_what_became_of_models_is_listed_all_the_same(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf = Shelf(state / "models")
    manifest = shelf.put(fit(stream(), FitSettings(), 0, state / "model").model, "a test")
    assert run("model", "list", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["champion"]["id"], found["challenger"], found["versions"]) == (manifest.id, None, [])
    assert "pip install 'loomidi[learn]'" in found["lacking"]
    assert [row["what"] for row in found["history"]] == ["promoted"]


def test_a_model_is_evaluated_explained_and_drawn_without_mlflow(
    state: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(stream(), FitSettings(), 0, state / "model")
    report, page = state / "report.json", state / "page.html"
    assert run("model", "evaluate", state / "model", data, "--into", report, "--json") == 0
    assert json.loads(capsys.readouterr().out)["at"] == json.loads(report.read_text())["at"]
    assert run("model", "explain", state / "model", data, "--most", "3", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["edges"]
    assert [len(row["reasons"]) for row in rows] == [4, 4, 4]
    assert {row["family"] for row in rows} <= {"scan", "lateral"}
    assert run("model", "report", report, "--into", page) == 0
    assert page.read_text().startswith("<!doctype html>")


def test_compare_answers_each_criterion_and_exits_1_when_it_refuses(
    state: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Shelf(state / "models").put(fit(stream(), FitSettings(), 0, state / "good").model, "a test")
    fit(stream(), FitSettings(kind="edge-sketch"), 0, state / "worse")
    assert run("model", "compare", data, "--model", state / "worse", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "refused"
    assert {one["name"] for one in told["criteria"]} == {"promises", "latency", "alarms", "not worse", "better"}
    assert all(one["figure"] and one["limit"] and one["how"] for one in told["criteria"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("evaluate", "champion", "none.parquet"), "none.parquet is not there"),
        (("evaluate", "champion", "DATA", "--since", "1h"), "are for the lake"),
        (("evaluate", "champion", "DATA"), "there is no champion yet"),
        (("evaluate", "champion", "DATA", "--train-share", "1.5"), "use shares such as 0.5"),
        (("report", "DATA", "--into", "page.html"), "not JSON"),
    ],
)
def test_a_users_mistake_is_one_line(
    state: Path, data: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert run("model", *[str(data) if one == "DATA" else one for one in arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
