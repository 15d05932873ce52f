"""What holds of the scoring of a graph model whatever its network is: ends, ticks, cards, lack of torch."""

import dataclasses
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loomidi.contracts.errors import EnvironmentLacks, InputError, UsageError
from loomidi.origami.features import CAUSAL
from loomidi.origami.model import ModelSettings, learn
from loomidi.origami.online import Detector, Seen
from loomidi.origami.scoring import Calibration, Card, GraphModel, Guarded
from loomidi.origami.scoring.cards import CARD, SCHEMA, read
from loomidi.origami.scoring.ends import EndTable, laid_out

SECOND = 10**9
WIDTH, FEATURES = 3, len(CAUSAL)
CARD_OF_TEST = Card(
    features=CAUSAL,
    middle=(0.0,) * FEATURES,
    spread=(1.0,) * FEATURES,
    members=1,
    width=WIDTH,
    tick_s=1.0,
    horizon_s=100.0,
    ends=16,
    remember="all",
    graph=True,
    hash_seed=0,
    seed=0,
)


def adding(fed: dict[str, Any], names: list[str]) -> list[Any]:
    """A network by hand: an edge scores by what its source is remembered for; an end remembers the sum of its edges."""
    score = fed["memory"][fed["source"], 0] + fed["values"][:, 0] + fed["past"][fed["destination"], FEATURES]
    told = {"score": score, "renewed": fed["memory"][fed["own"]] + fed["news"][:, :WIDTH], "shares": fed["values"]}
    return [told[name] for name in names]


def model(**changed: Any) -> GraphModel:
    return GraphModel(dataclasses.replace(CARD_OF_TEST, **changed), {"": adding}, Calibration(), "00" * 32)


def seen(rows: int = 600, ends: int = 12, seed: int = 1) -> Seen:
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, 60, rows)) * SECOND + 1000 * SECOND
    sources, destinations = random.integers(1, ends, (2, rows)).astype(np.uint64)
    return Seen(times, sources, destinations, random.normal(1, 1, (rows, FEATURES)).astype(np.float32))


def one_edge(at_s: int, source: int, destination: int, value: float) -> Seen:
    ends = (np.array([end], np.uint64) for end in (source, destination))
    return Seen(np.array([at_s * SECOND]), *ends, np.full((1, FEATURES), value, np.float32))


def test_it_is_a_detector_that_a_guard_accepts() -> None:
    detector: Detector = model()
    guarded = Guarded(model)
    guarded.fit(seen(2000, seed=2), seen(2000, seed=3))
    assert len(guarded.p_values(seen())) == len(detector.score(seen()))


def test_an_edge_is_judged_by_what_was_before_its_tick_and_not_by_its_tick() -> None:
    one = model()
    assert one.score(one_edge(5, 1, 2, 3.0))[0] == 3.0
    assert one.score(one_edge(5, 1, 4, 3.0))[0] == 3.0
    assert one.score(one_edge(6, 1, 4, 3.0))[0] == 3.0 + 3.0 + 3.0


def test_how_a_stream_is_cut_makes_no_difference_to_any_bit() -> None:
    whole, cut = model(), model()
    parts = [cut.score(seen().part(a, b)) for a, b in pairwise([0, 1, 7, 8, 100, 250, 251, 599, 600])]
    assert np.concatenate(parts).tobytes() == whole.score(seen()).tobytes()
    assert cut.snapshot() == whole.snapshot()


def test_a_restored_one_goes_on_bit_for_bit_also_within_a_tick() -> None:
    one, other = model(), model()
    one.score(seen().part(0, 333))
    other.restore(one.snapshot())
    assert other.score(seen().part(333, 600)).tobytes() == one.score(seen().part(333, 600)).tobytes()
    assert other.snapshot() == one.snapshot()


def test_what_scores_above_the_gate_is_not_remembered_but_while_it_is_fitted() -> None:
    usual = Calibration()
    usual.fit(np.linspace(0, 10, 2000, dtype=np.float32))
    one = GraphModel(dataclasses.replace(CARD_OF_TEST, gate=0.01), {"": adding}, usual)
    one.score(one_edge(5, 1, 2, 50.0))
    one.score(one_edge(6, 3, 4, 5.0))
    one.score(one_edge(7, 5, 6, 5.0))
    assert one.memories(np.array([1, 3], np.uint64))[:, 0].tolist() == [0.0, 5.0]
    one.fit(one_edge(8, 1, 2, 50.0))
    one.score(one_edge(9, 5, 6, 5.0))
    assert one.memories(np.array([1], np.uint64))[0, 0] == 50.0


def test_an_end_is_told_by_a_slow_mean_of_its_edges_and_by_how_often_it_was_seen() -> None:
    fed = list[dict[str, Any]]()
    one = GraphModel(dataclasses.replace(CARD_OF_TEST, fading=0.25), {"": adding}, Calibration())
    for at, value in enumerate([8.0, 4.0, 6.0, 6.0, 0.0]):
        fed += [given for _, given in one.walk(one_edge(at, 1, 2, value))]
    sources = [(given["past"][given["source"][0], 0], given["age"][given["source"][0], 0]) for given in fed]
    assert sources == [(0.0, 0.0), (8.0, 1.0), (6.0, 2.0), (6.0, 3.0), (6.0, 4.0)]


def test_what_is_not_in_the_mask_is_not_remembered() -> None:
    one = model()
    one.score(seen(), np.zeros(600, bool))
    assert one.remembered["ends"] == 0
    one.score(one_edge(5000, 1, 2, 1.0))
    one.score(one_edge(5001, 1, 2, 1.0), np.zeros(1, bool))
    assert one.remembered["ends"] == 2


def test_the_least_recently_seen_end_makes_room_and_is_counted() -> None:
    one = model(ends=4)
    for at, pair in enumerate([(1, 2), (3, 4), (1, 2), (5, 6), (7, 7)]):
        one.score(one_edge(at, *pair, 1.0))
    assert one.remembered == {"ends": 4, "forgotten": 2, "crowded_out": 0}
    assert one.memories(np.array([1, 3], np.uint64))[:, 0].tolist() == [2.0, 0.0]


def test_more_ends_in_a_tick_than_there_is_room_for_are_counted() -> None:
    one = model(ends=4)
    one.score(seen(200, ends=30).part(0, 40))
    one.score(one_edge(9000, 1, 2, 1.0))
    assert one.remembered["ends"] <= 4
    assert one.remembered["crowded_out"] > 0


def test_memory_does_not_grow() -> None:
    one = model()
    one.score(seen(2000, ends=500))
    first = len(one.snapshot())
    one.score(seen(4000, ends=5000, seed=2))
    assert len(one.snapshot()) <= first + 20_000
    assert one.remembered["ends"] <= CARD_OF_TEST.ends


def test_a_late_edge_counts_for_the_latest_tick_and_is_counted() -> None:
    one = model()
    one.score(one_edge(50, 1, 2, 1.0))
    one.score(one_edge(40, 1, 2, 1.0))
    assert one.counts == {"edges": 2, "late": 1}


def test_shares_are_told_without_learning() -> None:
    one = model()
    one.score(seen())
    before = one.snapshot()
    assert one.shares(seen()).shape == (600, FEATURES)
    assert one.snapshot() == before


def test_a_snapshot_of_another_model_is_refused() -> None:
    other = GraphModel(CARD_OF_TEST, {"": adding}, Calibration(), "11" * 32)
    with pytest.raises(InputError, match="another graph model"):
        other.restore(model().snapshot())


def test_other_features_than_it_was_trained_on_are_refused() -> None:
    given = seen()
    with pytest.raises(UsageError, match="24 features, not 5"):
        model().score(Seen(given.times_ns, given.sources, given.destinations, given.values[:, :5]))


def test_the_last_learned_edge_of_an_end_is_what_is_told_of_it() -> None:
    given = Seen(np.zeros(3, np.int64), *np.array([[1, 2, 1], [2, 3, 3]], np.uint64), np.zeros((3, 1), np.float32))
    layout = laid_out(given, np.array([0, 1]))
    assert layout.ends[layout.own].tolist() == [1, 2, 3]
    assert layout.row.tolist() == [0, 1, 1]
    assert layout.role.tolist() == [0, 0, 1]
    assert layout.last[1].tolist() == [-1, 0, 1]


def test_a_full_table_keeps_what_was_written_last() -> None:
    table, random = EndTable(64, np.zeros(1, np.float32)), np.random.default_rng(3)
    for tick in range(200):
        ends = np.unique(random.integers(0, 1000, 10).astype(np.uint64))
        table.write(ends, np.full((len(ends), 1), tick, np.float32), tick)
        assert (table.look(ends)[0] == tick).all()
    assert len(table) <= 64


METADATA = CARD_OF_TEST.metadata(Calibration().snapshot(), {})


def test_a_card_comes_back_as_it_was_written() -> None:
    assert read(METADATA) == CARD_OF_TEST


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({SCHEMA: "0" * 64}, "graph schema"),
        ({CARD: "{}"}, "damaged"),
        ({CARD: "[]"}, "damaged"),
        (dataclasses.replace(CARD_OF_TEST, features=("a", "b")).metadata(b"", {}), "other features"),
        (dataclasses.replace(CARD_OF_TEST, middle=(0.0,)).metadata(b"", {}), "scaler"),
    ],
)
def test_a_card_that_does_not_fit_is_refused_and_says_why(changed: dict[str, str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        read(METADATA | changed)


def test_a_file_without_a_card_is_refused() -> None:
    with pytest.raises(InputError, match="lack the card"):
        read({})


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    with pytest.raises(InputError, match="no ONNX model"):
        GraphModel.load(tmp_path / "x.onnx")
    with pytest.raises(InputError, match="cannot be read"):
        GraphModel.load(tmp_path / "absent.onnx")


def test_without_a_runtime_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EnvironmentLacks, match=r"loomidi\[pipeline\]"):
        GraphModel.of(b"")


def test_without_torch_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in ("exporting", "learning", "steps", "memories"):  # as if they had never been imported
        monkeypatch.delitem(sys.modules, f"loomidi.origami.model.{name}", raising=False)
        monkeypatch.delattr(f"loomidi.origami.model.{name}", raising=False)
    with pytest.raises(EnvironmentLacks, match=r"loomidi\[train\]"):
        learn(seen(8000), ModelSettings(), 0)


def test_too_few_edges_are_refused() -> None:
    with pytest.raises(UsageError, match="too few"):
        learn(seen(100), ModelSettings(), 0)


@pytest.mark.parametrize("changed", [{"remember": "much"}, {"trim": 0.6}, {"epochs": 0}, {"tick_s": 0.0}])
def test_settings_out_of_bounds_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        learn(seen(8000), ModelSettings(**changed), 0)
