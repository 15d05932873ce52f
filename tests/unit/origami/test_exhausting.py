"""Forecasts of exhaustion: told before it comes, silent about what only looks like it, from the past alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from loomidi.contracts import InputError, Severity, UsageError
from loomidi.origami.forecasts import FORECASTS, READINGS, Exhaustion, ExhaustionSettings, exhaustions

EVERY_S, START_S = 5, 1_700_000_000
STAMP = READINGS.field("timestamp").type
Shape = Callable[[np.ndarray], np.ndarray]


def reading(at: int, values: dict[str, float], capacity: float | None = 100.0, epoch: int | None = None) -> pa.Table:
    count = len(values)
    stamps = pa.array([(START_S + at * EVERY_S) * 10**9] * count, pa.int64()).cast(STAMP)
    columns = [stamps, list(values), ["memory"] * count, list(values.values()), [capacity] * count, [epoch] * count]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, READINGS, strict=True)], READINGS)


def told(stream: Exhaustion, values: np.ndarray, start: int = 0, **more: Any) -> list[dict[str, Any]]:
    rows = [stream.update(reading(start + at, {"pod/a": value}, **more)) for at, value in enumerate(values)]
    return [row for table in rows for row in table.to_pylist()]


def noisy(shape: Shape, readings: int, seed: int = 0) -> np.ndarray:
    return shape(np.arange(readings, dtype=float)) + np.random.default_rng(seed).normal(0, 0.3, readings)


def leak(at: np.ndarray) -> np.ndarray:
    return 20 + np.maximum(at - 40, 0) * 0.8  # is 100 at reading 140


def saw(at: np.ndarray) -> np.ndarray:
    return 20 + (at * 2.0) % 60


def test_a_leak_is_told_before_it_ends_and_its_interval_holds_the_end() -> None:
    rows = told(Exhaustion(), noisy(leak, 122))
    last = rows[-1]
    assert last["probability"] > 0.75
    assert last["earliest_s"] < (140 - 121) * EVERY_S < (last["latest_s"] or 300) + 30
    assert last["slope"] == pytest.approx(0.8 / EVERY_S, rel=0.1)
    assert rows[20]["probability"] < 0.1


def test_what_stays_where_it_is_is_not_exhausted_within_the_horizon() -> None:
    last = told(Exhaustion(), noisy(lambda at: 60 + 0 * at, 100))[-1]
    assert last["probability"] < 0.05
    assert (last["earliest_s"], last["latest_s"], last["since"]) == (None, None, None)


def test_a_saw_that_has_ended_below_the_capacity_before_is_not_told() -> None:
    rows = told(Exhaustion(), noisy(saw, 300))
    assert max(row["probability"] for row in rows[150:]) < 0.5
    assert rows[-1]["resets"] >= 8


def test_a_saw_whose_teeth_grow_is_told() -> None:
    rows = told(Exhaustion(), noisy(lambda at: saw(at) + 0.09 * at, 200))
    assert rows[-1]["probability"] > max(row["probability"] for row in rows[60:90])


def test_a_restart_begins_anew() -> None:
    stream = Exhaustion()
    told(stream, noisy(leak, 120), epoch=0)
    rows = told(stream, noisy(lambda at: 90 + 0 * at, 10), 120, epoch=1)
    assert rows[0]["readings"] == ExhaustionSettings().least
    assert stream.counts["too_few"] == 2 * (ExhaustionSettings().least - 1)


def test_a_capacity_that_nobody_told_is_learned_from_restarts() -> None:
    stream = Exhaustion()
    for epoch in range(3):
        rows = told(stream, np.linspace(20, 100, 40), 40 * epoch, capacity=None, epoch=epoch)
    assert rows[-1]["learned"]
    assert rows[-1]["capacity"] == pytest.approx(100.0)
    assert stream.counts["no_capacity"] > 0


def test_a_value_that_is_no_number_and_one_that_comes_late_are_counted() -> None:
    stream = Exhaustion()
    stream.update(reading(1, {"pod/a": float("nan")}))
    for at in (5, 4):
        stream.update(reading(at, {"pod/a": 1.0}))
    assert (stream.counts["not_finite"], stream.counts["late"], stream.counts["readings"]) == (1, 1, 3)


def many(at: int, series: int = 12) -> pa.Table:
    draw = np.random.default_rng(at)
    return reading(at, {f"pod/{one}": 20 + one * at * 0.1 + draw.normal(0, 0.2) for one in range(series)})


def test_a_stream_goes_on_bit_for_bit_after_a_snapshot() -> None:
    whole, first, second = Exhaustion(), Exhaustion(), Exhaustion()
    for at in range(80):
        whole.update(many(at))
        first.update(many(at))
    second.restore(first.snapshot())
    for at in range(80, 140):
        assert whole.update(many(at)).equals(second.update(many(at)))
    assert whole.snapshot() == second.snapshot()


def test_a_batch_of_many_moments_is_the_same_as_its_parts() -> None:
    whole, parts = Exhaustion(), Exhaustion()
    last = whole.update(pa.concat_tables([many(at) for at in range(60)]))
    for at in range(60):
        told_last = parts.update(many(at))
    assert last.sort_by("entity").equals(told_last.sort_by("entity"))


def test_memory_is_bounded_and_what_is_forgotten_is_counted() -> None:
    stream = Exhaustion(ExhaustionSettings(series=5))
    size = len(stream.snapshot())
    for at in range(20):
        assert stream.update(many(at)).schema.equals(FORECASTS)
    assert stream.counts["forgotten"] > 0
    assert len(stream.snapshot()) < size + 1000


def test_a_snapshot_of_other_settings_is_refused() -> None:
    with pytest.raises(InputError, match="snapshot"):
        Exhaustion(ExhaustionSettings(series=9)).restore(Exhaustion(ExhaustionSettings(series=5)).snapshot())


def test_readings_of_another_schema_and_an_unknown_trend_are_refused() -> None:
    with pytest.raises(InputError, match="READINGS"):
        Exhaustion().update(pa.table({"value": [1.0]}))
    with pytest.raises(UsageError, match="theil or holt"):
        Exhaustion(ExhaustionSettings(trend="magic"))


def test_holts_trend_foresees_a_leak_as_well() -> None:
    assert told(Exhaustion(ExhaustionSettings(trend="holt")), noisy(leak, 125))[-1]["probability"] > 0.5


def test_a_forecast_becomes_a_finding_with_its_evidence_and_keeps_its_id() -> None:
    stream = Exhaustion()
    told(stream, noisy(leak, 130))
    tables = [stream.update(reading(at, {"pod/a": float(leak(np.array(at)))})) for at in (132, 136)]
    first, second = (exhaustions(table)[0] for table in tables)
    assert (first.pattern, first.entities, first.id) == ("exhaustion", ("pod/a",), second.id)
    evidence = {one.name: one for one in second.evidence}
    assert evidence["level"].threshold == 100.0
    assert float(evidence["exhausted_from"].value) < 60
    assert first.first_ns < second.last_ns
    assert second.severity in (Severity.MEDIUM, Severity.HIGH)


def test_of_what_is_well_there_is_no_finding() -> None:
    stream = Exhaustion()
    told(stream, noisy(lambda at: 30 + 0 * at, 60))
    assert exhaustions(stream.update(reading(60, {"pod/a": 30.0}))) == []
