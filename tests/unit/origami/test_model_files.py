"""A model is a folder that scores as it was trained, without MLflow; one that does not fit is refused."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from loomidi.contracts.errors import EnvironmentLacks, InputError, Refused, UsageError
from loomidi.origami import scoring
from loomidi.origami.scoring import Bounds, BoundSettings, Misfit, Model, Shelf, manifests, watched
from loomidi.origami.train import FitSettings, Stream, fit
from tests.unit.origami.lives import stream

SMALL = {"half-space-trees": {"window": 4096, "trees": 5}}


@pytest.fixture(scope="module")
def usual() -> Stream:
    return stream()


@pytest.fixture(scope="module")
def models(usual: Stream, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("models")
    return {
        kind: fit(usual, FitSettings(kind=kind, settings=SMALL.get(kind, {})), 1, folder / kind).model
        for kind in manifests.FLOOR
    }


@pytest.mark.parametrize("kind", manifests.FLOOR)
def test_a_model_scores_the_same_after_it_was_read_again(models: dict[str, Model], usual: Stream, kind: str) -> None:
    first, again = models[kind].detector(), manifests.load(models[kind].folder).detector()
    part = usual.seen.part(usual.calibrate, usual.calibrate + 2000)
    nothing = np.zeros(len(part), bool)
    assert first.score(part, nothing).tolist() == again.score(part, nothing).tolist()
    p_values = models[kind].guarded().p_values(part)
    assert (p_values >= 0).all()
    assert (p_values <= 1).all()


def test_the_champions_folder_is_all_that_the_live_loop_needs(models: dict[str, Model], tmp_path: Path) -> None:
    Shelf(tmp_path).put(models["robust-norm"], "a test")
    code = (
        "import sys; from pathlib import Path; from loomidi.origami.scoring import champion; "
        f"champion(Path({str(tmp_path / 'champion')!r}))(); "
        "print(sorted({'mlflow', 'torch', 'river', 'ray'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def copied(model: Model, folder: Path) -> Path:
    Shelf(folder).put(model, "a test")
    return folder / "champion"


def test_a_file_that_was_changed_is_refused(models: dict[str, Model], tmp_path: Path) -> None:
    folder = copied(models["robust-norm"], tmp_path)
    (folder / manifests.CALIBRATION).write_bytes(b"other")
    with pytest.raises(Misfit, match=r"calibration.npz is changed"):
        manifests.load(folder)
    (folder / manifests.CALIBRATION).unlink()
    with pytest.raises(Misfit, match=r"calibration.npz is missing"):
        manifests.load(folder)


def test_a_file_that_nobody_named_is_refused(models: dict[str, Model], tmp_path: Path) -> None:
    folder = copied(models["robust-norm"], tmp_path)
    (folder / "more").write_text("x")
    with pytest.raises(Misfit, match="files that its manifest does not name"):
        manifests.load(folder)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("schema_hash", "0" * 64, "another schema of features"),
        ("features", ["edge_count_1m"], "features that this version does not tell"),
        ("kind", "oracle", "an? 'oracle' in format 1"),
        ("format", 9, "in format 9"),
    ],
)
def test_a_model_of_something_else_is_refused(
    models: dict[str, Model], tmp_path: Path, field: str, value: object, told: str
) -> None:
    folder = copied(models["robust-norm"], tmp_path)
    path = folder / manifests.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(Misfit, match=told):
        manifests.load(folder)


def test_what_is_no_model_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`loomidi model promote` writes one"):
        manifests.load(tmp_path)
    (tmp_path / manifests.MANIFEST).write_text("[1]")
    with pytest.raises(InputError, match="not a manifest"):
        scoring.champion(tmp_path)


def test_settings_of_another_version_are_refused() -> None:
    with pytest.raises(Misfit, match="does not know"):
        manifests.blank("robust-norm", 24, {"colour": "red"})
    with pytest.raises(UsageError, match="no detector of the floor"):
        manifests.blank("graph", 24)


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed here")
def test_a_graph_model_says_what_to_install_where_torch_is_not(usual: Stream, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacks, match=r"pip install 'loomidi\[train\]'"):
        fit(usual, FitSettings(kind="graph"), 0, tmp_path / "graph")


def test_the_champion_is_turned_over_and_comes_back(models: dict[str, Model], tmp_path: Path) -> None:
    shelf, (norm, trees) = Shelf(tmp_path), (models["robust-norm"], models["half-space-trees"])
    assert shelf.champion() is None
    shelf.put(norm, "the first")
    shelf.put(trees, "better", {"recall": 1})
    assert [one.manifest.kind for one in (shelf.champion(), shelf.previous()) if one] == [
        "half-space-trees",
        "robust-norm",
    ]
    assert shelf.back("too slow").kind == "robust-norm"
    champion = shelf.champion()
    assert champion is not None
    assert champion.manifest.id == norm.manifest.id
    told = [(row["what"], row["because"]) for row in shelf.history()]
    assert told == [("promoted", "the first"), ("promoted", "better"), ("rolled back", "too slow")]
    with pytest.raises(Refused, match="no model was champion before"):
        shelf.back("again")


def test_a_reader_holds_one_model_while_the_champion_is_turned_over(models: dict[str, Model], tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.put(models["robust-norm"], "the first")
    held = shelf.champion()
    shelf.put(models["edge-sketch"], "another")
    assert held is not None
    assert held.detector().snapshot() == models["robust-norm"].detector().snapshot()


def test_only_the_last_models_are_kept(models: dict[str, Model], tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for number in range(8):
        manifest = dataclasses.replace(models["edge-sketch"].manifest, seed=number)
        shelf.put(Model(manifest, models["edge-sketch"].folder), "a test")
    assert len(list((tmp_path / "kept").iterdir())) <= 6
    assert shelf.champion() is not None
    assert shelf.previous() is not None


def test_alarms_beyond_their_bound_bring_the_model_before_back(models: dict[str, Model], tmp_path: Path) -> None:
    shelf, bounds = Shelf(tmp_path), Bounds(BoundSettings(least=20))
    shelf.put(models["robust-norm"], "the first")
    now = shelf.put(models["edge-sketch"], "better, it seemed")
    back = [watched(shelf, bounds, now, (1000, 100, 1.0)) for _ in range(20)]
    assert back[:19] == [None] * 19
    assert back[19] is not None
    assert back[19].kind == "robust-norm"
    last = shelf.history()[-1]
    assert last["because"] == "by itself: 20 of 20 ticks had over 5 times the alarms that it was calibrated for"
    assert last["evidence"] == {"ticks": 20, "bad": 20, "slow": 0}


def test_slow_ticks_and_what_is_no_number_are_beyond_the_bound() -> None:
    slow, broken = Bounds(BoundSettings(least=100)), Bounds(BoundSettings(least=10))
    told = [slow.see(1000, 1, 60.0 if number % 50 == 0 else 1.0) for number in range(100)]
    assert "longer than 50 ms" in told[-1]
    assert "alarms" in [broken.see(1000, float("nan"), 1.0) for _ in range(10)][-1]  # type: ignore[arg-type]


def test_one_flood_brings_nobody_back() -> None:
    bounds = Bounds(BoundSettings(least=20, ticks=100))
    told = [bounds.see(1000, 1000 if number > 60 else 1, 1.0) for number in range(100)]
    assert set(told) == {""}


def test_who_was_replaced_meanwhile_is_not_taken_back(models: dict[str, Model], tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.put(models["robust-norm"], "the first")
    old = shelf.put(models["edge-sketch"], "better")
    shelf.put(models["half-space-trees"], "better still")
    with pytest.raises(Refused, match="nothing was changed"):
        shelf.back("by itself", only=old.id)
