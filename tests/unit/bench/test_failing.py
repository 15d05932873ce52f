"""The bench of forecasts: answers, precision and lead by hand, faults that end and look-alikes that do not."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from bench import failing_lab
from bench.failing import judged, leads, ranked
from bench.failing_faults import BENIGN, EVERY_S, FAULTS, KINDS, Run, runs
from loomidi_lab.recording.streams import STREAMS


def run(exhausted: int, readings: int = 200) -> Run:
    times = np.arange(readings) * EVERY_S
    return Run("one", times, np.zeros((readings, 1)), np.ones(1), np.array([exhausted]), ("linear",), ("memory",))


def test_an_answer_is_known_where_the_horizon_has_been_seen() -> None:
    known, fails = judged(run(exhausted=100))
    assert np.flatnonzero(fails[:, 0]).tolist() == list(range(40, 100))
    assert np.flatnonzero(known[:, 0]).tolist() == list(range(12, 100))
    known, fails = judged(run(exhausted=200))
    assert not fails.any()
    assert np.flatnonzero(known[:, 0]).tolist() == list(range(12, 140))


def test_precision_is_averaged_over_recall_and_ties_count_against_the_method() -> None:
    area, threshold = ranked(np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False]))
    assert area == pytest.approx((1 + 2 / 3) / 2)
    assert threshold == 0.9
    assert ranked(np.array([0.5, 0.5]), np.array([True, False]))[0] == 0.5


def test_a_lead_is_from_the_first_alarm_within_the_horizon_and_nothing_for_a_miss() -> None:
    scores = np.zeros((200, 1))
    scores[[10, 80, 81]] = 1.0
    assert leads([run(100)], [scores], 0.5).tolist() == [100.0]
    assert leads([run(100)], [np.zeros((200, 1))], 0.5).tolist() == [0.0]


def test_faults_may_end_and_look_alikes_never_do() -> None:
    draw = np.random.default_rng(0)
    real = {kind: 100 + draw.normal(0, 1, (360, 5)) for kind in KINDS}
    (made,) = runs({"a": real}, ("a",), seed=1, series=300)
    ended = {shape for shape, at in zip(made.shapes, made.exhausted, strict=True) if at < 360}
    assert ended
    assert ended <= set(FAULTS)
    assert set(made.shapes) == {*FAULTS, *BENIGN}


def test_a_recording_of_the_lab_is_read_as_series_with_capacities(tmp_path: Path) -> None:
    rows = [
        (at * 5 * 10**9, name, value)
        for at in range(30)
        for name, value in (("process_open_fds", 10.0 + 2 * at), ("process_max_fds", 64.0), ("shop_pool_in_use", 1.0))
    ]
    columns = {"time_ns": [row[0] for row in rows], "recorded_ns": [row[0] for row in rows]}
    columns |= {"job": ["cart"] * len(rows), "instance": ["shop/cart-0"] * len(rows), "name": [row[1] for row in rows]}
    columns |= {"kind": ["gauge"] * len(rows), "labels": ["{}"] * len(rows), "value": [row[2] for row in rows]}
    (tmp_path / "metrics").mkdir()
    parquet.write_table(pa.table(columns).select(STREAMS["metrics"].names), tmp_path / "metrics" / "part-0.parquet")
    (tmp_path / "schedule.json").write_text("{}")
    window = {"begin_ns": 0, "origin_ns": 0, "end_ns": 150 * 10**9}
    (tmp_path / "provenance.json").write_text(json.dumps({"window": window}))
    found = failing_lab.run_of(tmp_path)
    assert (found.kinds, found.capacities.tolist()) == (("descriptors",), [0.95 * 64])  # a pool without size is none
    assert int(found.exhausted[0]) == 26  # 62 of 64
