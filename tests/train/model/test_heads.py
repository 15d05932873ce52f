"""The heads beside the score: attacks from labels, metrics of nodes ahead. Both are reported apart."""

import numpy as np
import pyarrow as pa
import pytest

from loomidi.contracts.errors import UsageError
from loomidi.origami.features import hashes
from loomidi.origami.model import ModelSettings, TrainedModel, train
from loomidi.origami.model.attacks import average_precision
from loomidi.origami.model.forecasting import answers
from loomidi.origami.model.made import TICK_NS, stream
from loomidi.origami.model.samples import Metered, seen_of
from loomidi.origami.scoring import GraphModel

SMALL = ModelSettings(members=1, dim=8, hidden=16, epochs=1, tick_s=5.0, ends=256)
BATCH, _ = stream(1, workloads=20, ticks=400)
SEEN = seen_of([BATCH], 0)


def with_attacks() -> pa.RecordBatch:
    """Attacks are what the last of the workloads does."""
    truth = [name == "deployment/shop/19" for name in BATCH.column("source").to_pylist()]
    return BATCH.append_column("attack", pa.array(truth))


def metrics(seed: int) -> pa.RecordBatch:
    """Every ten seconds of each of five nodes: a value that decays to its middle, which `as now` does not know."""
    random = np.random.default_rng(seed)
    start = BATCH.column("time").cast(pa.int64())[0].as_py()
    values, rows = random.normal(0, 1, 5), list[np.ndarray]()
    for _ in range(200):
        values = 0.8 * values + random.normal(0, 0.6, 5)
        rows.append(values)
    times = start + np.repeat(np.arange(200), 5) * 2 * TICK_NS
    ends = [f"deployment/shop/{number}" for number in range(5)] * 200
    columns = [pa.array(times, pa.timestamp("ns", "UTC")), pa.array(ends), pa.array(np.concatenate(rows))]
    return pa.RecordBatch.from_arrays(columns, names=["time", "end", "load"])


@pytest.fixture(scope="module")
def plain() -> TrainedModel:
    return train([BATCH], SMALL, 5)


@pytest.fixture(scope="module")
def headed() -> TrainedModel:
    return train([with_attacks()], SMALL, 5, nodes=[metrics(2)])


def test_the_supervised_head_ranks_later_attacks_of_the_kind_it_was_shown(headed: TrainedModel) -> None:
    assert headed.metrics["attack_average_precision"] > headed.metrics["attack_base_rate"]
    told = GraphModel.of(headed.data).attacks(SEEN)
    assert ((told >= 0) & (told <= 1)).all()
    assert len(told) == len(SEEN)


def test_heads_do_not_change_the_score(plain: TrainedModel, headed: TrainedModel) -> None:
    assert np.array_equal(GraphModel.of(plain.data).score(SEEN), GraphModel.of(headed.data).score(SEEN))


def test_metrics_of_nodes_are_forecast_better_than_as_now_where_that_is_possible(headed: TrainedModel) -> None:
    for horizon in ("60s", "300s"):
        assert headed.metrics[f"forecast_{horizon}_error"] < headed.metrics[f"as_now_{horizon}_error"]


def test_a_forecast_has_a_mean_and_a_deviation_for_each_horizon(headed: TrainedModel) -> None:
    ends = hashes(pa.array(["deployment/shop/1"]), 0)
    mean, deviation = GraphModel.of(headed.data).forecast(ends, np.ones((1, 1), np.float32))
    assert mean.shape == deviation.shape == (1, 2, 1)
    assert (deviation > 0).all()


def test_a_model_without_a_head_says_so(plain: TrainedModel) -> None:
    model = GraphModel.of(plain.data)
    with pytest.raises(UsageError, match="no forecast"):
        model.forecast(np.zeros(1, np.uint64), np.zeros((1, 1), np.float32))
    with pytest.raises(UsageError, match="no supervised head"):
        model.attacks(SEEN)


def test_labels_without_an_attack_are_refused() -> None:
    batch = BATCH.append_column("attack", pa.array(np.zeros(BATCH.num_rows, bool)))
    with pytest.raises(UsageError, match="needs attacks"):
        train([batch], SMALL, 5)


def test_an_answer_is_a_sample_at_the_horizon_or_soon_after_it() -> None:
    times = np.array([0, 60, 120, 200]) * 10**9
    nodes = Metered(times, np.full(4, 9, np.uint64), np.array([[1], [2], [3], [4]], np.float32))
    later, known = answers(nodes, (60.0,))
    assert known[:, 0].tolist() == [True, True, False, False]
    assert later[:2, 0, 0].tolist() == [2, 3]


def test_ties_count_against_a_model() -> None:
    assert average_precision(np.zeros(4, np.float32), np.array([True, False, False, False])) == 0.25
