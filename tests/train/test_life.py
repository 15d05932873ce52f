"""The life of a model under MLflow: recorded, promoted past the gate or refused, taken back, read without MLflow."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from loomidi.conductor.cli import guarded, loomidi
from loomidi.contracts.errors import InputError
from loomidi.insight.learn import DriftSettings, ScoreChanges
from loomidi.origami.scoring import Bounds, BoundSettings, manifests, watched
from loomidi.origami.train import GateSettings, Stream
from loomidi.services.anomalies.modelling import Models, Wanted
from tests.unit.origami.lives import stream, table

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of MLflow and what it brings
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
GATE = GateSettings(latency_ms=1e6)  # how busy this machine is decides no test


@pytest.fixture(scope="module")
def usual() -> Stream:
    return stream(40)


@pytest.fixture(scope="module")
def house(usual: Stream, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """One installation, in the order of the tests: a sketch and a norm are trained."""
    models = Models(tmp_path_factory.mktemp("state"))
    models.train(usual, Wanted(kind="edge-sketch", seeds=(3, 4)))
    models.train(usual, Wanted(kind="robust-norm", seeds=(0,)))
    return models


def test_what_was_trained_last_is_there_to_be_scored_beside_the_champion(house: Models, tmp_path: Path) -> None:
    challenger = house.shelf.challenger()
    assert challenger is not None
    assert challenger.manifest.id == house.model("challenger", tmp_path).manifest.id


def aliases(models: Models) -> dict[str, str]:
    return {alias: one.version for one in models.registry.versions("edges") for alias in one.aliases}


def test_a_training_is_a_run_with_all_that_it_needs_to_be_trusted(house: Models, usual: Stream) -> None:
    client, version = house.registry._client, house.registry.find("edges", "1")
    run = client.get_run(version.run)
    assert run.data.params["kind"] == "edge-sketch"
    assert run.data.params["data.snapshot"] == "sha256:0"
    assert {int(one.step) for one in client.get_metric_history(version.run, "recall_at_0.001")} == {3, 4}
    assert run.data.metrics["alarms.mean"] >= 0
    assert run.data.tags["loomidi.schema_hash"] == manifests.schema_hash(usual.rows.schema)
    assert len(house.registry.document(version.run, "calibration.json")["table"]) == 5
    assert house.registry.document(version.run, "report.json")["seeds"][1]["seed"] == 4


def test_the_version_is_an_mlflow_model_with_a_signature(house: Models) -> None:
    from mlflow.models import Model

    run = house.registry.find("edges", "1").run
    folder = house.registry._client.download_artifacts(run, "model")
    told = Model.load(folder)
    assert told.signature.inputs.inputs[0].shape == (-1, 24)
    assert told.flavors["loomidi"]["kind"] == "edge-sketch"


def test_the_newest_is_challenger_and_the_first_of_the_floor_becomes_champion(house: Models, usual: Stream) -> None:
    assert aliases(house) == {"challenger": "2"}
    assert house.compare("challenger", usual, GATE, go=True).gate.open
    assert aliases(house) == {"champion": "2"}
    champion = house.shelf.champion()
    assert champion is not None
    assert (champion.manifest.kind, champion.manifest.version) == ("robust-norm", "2")


def test_a_worse_one_is_refused_and_nothing_changes(house: Models, usual: Stream) -> None:
    refused = house.compare("1", usual, GATE, go=True)
    assert not refused.gate.open
    assert aliases(house) == {"champion": "2"}
    assert house.shelf.history()[-1]["what"] == "refused"
    assert house.report("1")["gate"]["open"] is False


def test_a_better_one_is_promoted_and_the_one_before_can_come_back(
    house: Models, usual: Stream, tmp_path: Path
) -> None:
    worse = Models(tmp_path)
    worse.train(usual, Wanted(kind="edge-sketch", seeds=(3,)))
    worse.shelf.put(worse.model("1", tmp_path / "fetched"), "put there by hand, for the test")
    worse.train(usual, Wanted(seeds=(0,)))
    assert worse.compare("challenger", usual, GATE, go=True).gate.open
    assert aliases(worse)["champion"] == "2"
    assert worse.roll_back("people were called at night").kind == "edge-sketch"
    assert aliases(worse)["champion"] == "1"
    assert worse.shelf.history()[-1]["because"] == "people were called at night"


def test_what_came_back_by_itself_is_what_the_registry_names(house: Models, usual: Stream, tmp_path: Path) -> None:
    models = Models(tmp_path)
    models.train(usual, Wanted(kind="edge-sketch", seeds=(3,)))
    models.shelf.put(models.model("1", tmp_path / "fetched"), "put there by hand, for the test")
    models.train(usual, Wanted(seeds=(0,)))
    models.compare("challenger", usual, GATE, go=True)
    champion = models.shelf.champion()
    assert champion is not None
    bounds = Bounds(BoundSettings(least=10))
    told = [watched(models.shelf, bounds, champion.manifest, (1000, 900, 1.0)) for _ in range(10)]
    assert told[-1] is not None
    assert aliases(models)["champion"] == "2"
    assert [one["aliases"] for one in Models(tmp_path).listing()["versions"]] == [(), ("champion",)]


def test_the_champions_folder_is_read_where_mlflow_is_not(house: Models) -> None:
    code = (
        "import sys; sys.modules['mlflow'] = None; from pathlib import Path; import numpy as np; "
        "from loomidi.origami.scoring import champion, Shelf; "
        f"make = champion(Path({str(house.folder / 'champion')!r})); print(type(make()).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "RobustNorm\n"


def test_what_is_not_there_is_named(house: Models) -> None:
    with pytest.raises(InputError, match="there are 2, 1"):
        house.registry.find("edges", "9")
    with pytest.raises(InputError, match="none yet: train one first"):
        house.registry.find("nodes", "champion")


def test_a_drift_asks_for_a_training_and_promotes_nothing(house: Models) -> None:
    champion, moved = house.shelf.champion(), stream(40, drift=3.0, seed=5)
    assert champion is not None
    report = house.evaluate(champion, moved, 1e-3)
    assert {one["kind"] for one in report["drift"]["drifts"]} >= {"features", "scores"}
    asked = house.ask(champion, moved, report, 7)
    assert asked is not None
    assert aliases(house)["champion"] == champion.manifest.version
    assert house.requests.open() == [asked]


def test_changes_of_scores_are_told_and_steady_ones_are_not() -> None:
    rng = np.random.default_rng(1)
    steady = ScoreChanges(DriftSettings())
    assert [drift for value in rng.normal(0.3, 0.05, 2000) for drift in steady.see(float(value))] == []
    told = [drift.what for value in rng.normal(0.9, 0.05, 400) for drift in steady.see(float(value))]
    assert {"ADWIN", "KSWIN"} <= set(told)


def test_the_verbs_train_promote_list_and_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str | Path) -> int:
        return guarded(lambda: loomidi.main(["model", *map(str, arguments)], standalone_mode=False))

    monkeypatch.setenv("LOOMIDI_STORAGE_STATE", str(tmp_path))
    data, page = tmp_path / "edges.parquet", tmp_path / "page.html"
    parquet.write_table(table(40), data)
    assert run("train", data, "--seeds", "0", "--ablate", "--json") == 0
    assert json.loads(capsys.readouterr().out)["version"] == "1"
    assert run("promote", data, "--latency", "1e6") == 0
    assert "promoted: every criterion is met" in capsys.readouterr().out
    assert run("promote", data, "--model", "1") == 1
    assert run("rollback", "--because", "a test") == 1
    capsys.readouterr()
    assert run("list", "--json") == 0
    assert json.loads(capsys.readouterr().out)["champion"]["version"] == "1"
    assert run("report", "champion", "--into", page) == 0
    assert "may" in page.read_text()
