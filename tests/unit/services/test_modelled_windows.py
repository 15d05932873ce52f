"""Live windows under trained models: used as they are, watched, taken back; a challenger beside that nobody hears."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from loomidi.origami.features import WindowFeatures
from loomidi.origami.scoring import Judge, Model, Tick, watched
from loomidi.origami.scoring.champions import CHAMPION, Bounds, BoundSettings, Shelf
from loomidi.services.anomalies.champions import Makers, makers
from loomidi.services.anomalies.noticing import CALIBRATING, LEARNING, TELLING, Noticing
from loomidi.services.anomalies.overseeing import PATTERN, Overseeing
from loomidi.services.anomalies.shadowing import Shadowing
from loomidi.services.settings.anomalies import AnomalySettings
from tests.unit.origami.shops import SCANNER, Shop
from tests.unit.services.modelled import shelf_of, trained

SETTINGS = AnomalySettings(
    learn_s=1200, calibrate_s=900, learn_rows=1280, kept_rows=20_000, pairs=4096, watch_ticks=12, early_s=0
)
TICK = Tick(1, 100, 0, 0.5, 1.0)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return trained(tmp_path_factory.mktemp("models") / "good")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return shelf_of(tmp_path_factory.mktemp("state"))


def by(model: Model) -> Makers:
    return Makers(f"champion-{model.manifest.id}", model.detector, model=model)


def features(windows: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    told = WindowFeatures()
    return [told.feed(window) for window in windows]


def test_the_table_of_the_manifest_is_what_p_values_are_made_of(good: Model) -> None:
    judge, told = Judge(good.detector), features(list(Shop(seed=1).windows(120)))
    judge.adopt(good, told[:60])
    assert judge.guarded.calibration.snapshot() == good.calibration().snapshot()
    seen = judge.seen(told[60:61])
    p_values, _ = judge.guarded.both(seen)
    expected = good.calibration().p_values(good.detector().score(seen, np.zeros(len(seen), bool)))
    assert (p_values == expected).all()


def test_a_trained_model_learns_nothing_here_and_tells_by_the_budget_of_here(good: Model) -> None:
    one, shop = Noticing(SETTINGS, 10, by(good)), Shop(seed=1)
    phases = []
    for window in shop.windows(220):
        assert one.take(window) == []
        phases.append(one.phase)
    assert list(dict.fromkeys(phases)) == [LEARNING, CALIBRATING, TELLING]
    seen = one.judge.seen(features(list(Shop(seed=3).windows(2))))
    nothing = np.zeros(len(seen), bool)
    assert (one.judge.guarded.frozen.score(seen, nothing) == good.detector().score(seen, nothing)).all()
    found = [told for window in (shop.scan(0), *shop.windows(1)) for told in one.take(window)]
    assert SCANNER in found[0].entities


def test_another_model_keeps_what_the_features_know_and_one_that_was_here_tells_at_once(good: Model) -> None:
    one, shop = Noticing(SETTINGS, 10, by(good)), Shop(seed=1)
    for window in shop.windows(220):
        one.take(window)
    floor, model = makers(Path("/nowhere"), SETTINGS), one.makers
    later = Noticing(SETTINGS, 10, dataclasses.replace(by(good), name="champion-new"))
    later.restore(one.to_bytes())
    assert (later.phase, later.features.snapshot()) == (CALIBRATING, one.features.snapshot())
    one.replace(floor)
    assert one.phase == LEARNING
    one.replace(model)
    assert one.phase == TELLING


def test_a_champion_that_alarms_at_everything_is_taken_back_once_half_of_the_ticks_were_bad(shelf: Shelf) -> None:
    good, bad = shelf.previous(), shelf.champion()
    assert good is not None
    assert bad is not None
    overseeing, scoring = Overseeing(shelf.folder / CHAMPION, SETTINGS), by(bad)
    backs = [overseeing.see(scoring, dataclasses.replace(TICK, strange=50)) for _ in range(4)]
    assert backs[:3] == [None, None, None]
    assert backs[3] is not None
    assert backs[3].makers.model.manifest.id == good.manifest.id  # type: ignore[union-attr]
    assert (backs[3].finding.pattern, backs[3].finding.entities) == (PATTERN, ("model/edges",))
    assert shelf.history()[-1]["because"].startswith("by itself: ")
    again = [overseeing.see(backs[3].makers, dataclasses.replace(TICK, strange=50)) for _ in range(9)]
    assert set(again) == {None}  # nobody was before it: two models do not take turns


def test_one_broken_promise_is_enough_and_a_flood_is_not(tmp_path: Path, good: Model) -> None:
    shelf = Shelf(tmp_path)
    shelf.put(good, "a test")
    newer = trained(tmp_path / "newer", seed=2)
    shelf.put(newer, "a test")
    bounds = Bounds(BoundSettings(ticks=12, least=4))
    quiet = [watched(shelf, bounds, newer.manifest, (100, 100 * (at % 3 == 0), 1.0)) for at in range(12)]
    assert set(quiet) == {None}
    back = watched(shelf, bounds, newer.manifest, (100, 0, 1.0), "the model gave 3 scores that are no numbers")
    assert back is not None
    assert back.id == good.manifest.id


def test_a_champion_whose_forerunner_is_spoiled_stays_and_it_is_counted(tmp_path: Path, good: Model) -> None:
    shelf = Shelf(tmp_path)
    first = shelf.put(good, "a test")
    newer = trained(tmp_path / "newer", seed=2)
    shelf.put(newer, "a test")
    (tmp_path / "kept" / first.id / "detector.bin").write_bytes(b"spoiled")
    overseeing = Overseeing(tmp_path / CHAMPION, SETTINGS)
    loud = [overseeing.see(by(newer), dataclasses.replace(TICK, strange=50)) for _ in range(5)]
    assert set(loud) == {None}
    assert overseeing.counts["not_taken_back"] == overseeing.counts["beyond_bounds"] == 2
    back = overseeing.see(by(newer), TICK, "the model failed")
    assert back is not None
    assert back.makers.name == "floor"  # somebody has to score


class Broken:
    """A model that keeps no promise."""

    def __init__(self, why: str) -> None:
        self.why = why

    def score(self, seen: Any, learn: Any = None) -> Any:
        if self.why == "fails":
            raise RuntimeError("out of something")
        return np.full(len(seen), np.nan, np.float32)


@pytest.mark.parametrize("why", ["fails", "gives no numbers"])
def test_a_champion_that_breaks_costs_its_tick_and_tells_the_watch(good: Model, why: str) -> None:
    one, shop = Noticing(SETTINGS, 10, by(good)), Shop(seed=1)
    one.replace(one.makers)
    one.judge.adopt(good, limits=one.judge.limits)
    one.phase, one.judge.guarded.frozen = TELLING, Broken(why)  # type: ignore[assignment]
    told = list[str]()
    one.scored = lambda _features, _tick, broken: told.append(broken)
    assert [one.take(window) for window in shop.windows(3)] == [[], [], []]
    assert one.counts["broken_ticks"] == 2
    assert all(broken.startswith("the model ") for broken in told)


def test_a_challenger_is_scored_beside_the_champion_and_kept_as_pairs(tmp_path: Path, good: Model) -> None:
    Shelf(tmp_path).challenge(good)
    kept = list[pa.RecordBatch]()
    shadowing = Shadowing(tmp_path, SETTINGS, kept.append)
    for told in features(list(Shop(seed=1).windows(3))):
        shadowing.see(told, Tick(5, told.num_rows, 1, 0.4, 2.0), "champion-1")
    rows = kept[0].select(["metric_name", "attributes"]).to_pylist()
    assert {(row["metric_name"], dict(row["attributes"])["role"]) for row in rows} == {
        (f"loomidi_model_{figure}", role)
        for figure in ("edges", "strange", "median_p", "cpu_ms")
        for role in ("champion", "challenger")
    }
    assert shadowing.counts["ticks"] == 3
    assert {one.name for one in shadowing.samples()} == {"loomidi_challenger_total", "loomidi_challenger_seconds"}


def test_a_challenger_that_breaks_or_is_slow_is_left_out_and_counted(tmp_path: Path, good: Model) -> None:
    shelf, told = Shelf(tmp_path), features(list(Shop(seed=1).windows(2)))
    shelf.challenge(good)
    slow = Shadowing(tmp_path, dataclasses.replace(SETTINGS, model_ms=1e-6), lambda rows: None)
    broken = Shadowing(tmp_path, SETTINGS, lambda rows: None)
    broken._follow()
    assert broken._guarded is not None
    broken._guarded.frozen = Broken("fails")  # type: ignore[assignment]
    for one in (slow, broken):
        for batch in told:
            one.see(batch, TICK, "champion-1")
    assert (slow.counts["left_out_slow"], slow.counts["left_out_ticks"]) == (1, 1)
    assert (broken.counts["left_out_broken"], broken.counts["left_out_ticks"]) == (1, 1)
    assert "out of something" in broken.left_out
    shelf.challenge(trained(tmp_path / "newer", seed=2))
    broken.see(told[0], TICK, "champion-1")
    assert broken.counts["ticks"] == 1  # another one is tried


def test_a_challenger_that_cannot_be_opened_is_counted_and_one_that_is_promoted_is_none_any_more(
    tmp_path: Path, good: Model
) -> None:
    shelf = Shelf(tmp_path)
    manifest = shelf.challenge(good)
    shadowing = Shadowing(tmp_path, SETTINGS, lambda rows: None)
    (tmp_path / "kept" / manifest.id / "stranger").write_text("x")
    shadowing.see(features(list(Shop(seed=1).windows(1)))[0], TICK, "floor")
    assert shadowing.counts["left_out_unusable"] == 1
    (tmp_path / "kept" / manifest.id / "stranger").unlink()
    shelf.put(good, "a test")
    assert shelf.challenger() is None
