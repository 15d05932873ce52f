"""Surprise of metrics: high where a series leaves its own past, told once, from the past alone."""

import numpy as np
import pytest

from loomidi.contracts import InputError, UsageError
from loomidi.origami.forecasts import VIEWS, Surprises, SurpriseSettings

SETTINGS = SurpriseSettings(kept=512, mature=100, quiet=50)
TIMES_S = 300.0 * np.arange(2000)


def daily(readings: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, readings)
    return 50 + 20 * np.sin(2 * np.pi * TIMES_S[:readings] / 86_400) + noise


def bits(*series: np.ndarray, settings: SurpriseSettings = SETTINGS) -> np.ndarray:
    detector = Surprises(len(series), settings)
    rows = np.stack(series, axis=1)
    return np.stack([detector.update(np.full(len(series), at), row) for at, row in zip(TIMES_S, rows, strict=False)])


def test_a_spike_is_the_most_surprising_reading() -> None:
    values = daily(1200)
    values[1000] += 60
    assert int(np.argmax(bits(values)[:, 0])) == 1000


def test_a_lasting_new_level_is_told_and_then_not_again() -> None:
    values = daily(1200)
    values[900:] += 80
    found = bits(values)[:, 0]
    assert int(np.argmax(found)) in range(900, 915)
    assert np.count_nonzero(found[915:950] > 6) == 0


def test_a_line_that_goes_flat_is_told() -> None:
    values = daily(1200)
    values[1000:1100] = values[1000]
    found = bits(values, settings=SurpriseSettings(kept=512, mature=100, weights=(0, 0, 0, 1, 0)))[:, 0]
    assert int(np.argmax(found)) in range(1000, 1030)


def test_what_is_usual_at_another_time_of_day_is_told_by_the_season() -> None:
    values = daily(1900)
    values[1740:1760] = 65.0  # usual at noon, not at this hour
    only = SurpriseSettings(kept=512, mature=100, weights=(0, 0, 0, 0, 1))
    assert int(np.argmax(bits(values, settings=only)[:, 0])) in range(1738, 1764)


def test_nothing_is_told_before_there_is_a_past() -> None:
    assert not bits(daily(300))[:100].any()


def test_scale_and_shift_of_a_series_change_nothing() -> None:
    values = np.round(daily(700), 3)
    found = bits(values, values * 1024 + 4096)
    assert found[:, 0] == pytest.approx(found[:, 1], abs=1e-3)


def test_series_do_not_see_each_other_and_a_gap_changes_nothing() -> None:
    values, other = daily(700), daily(700, 1)
    other[::3] = np.nan
    assert np.array_equal(bits(values, other)[:, 0], bits(values)[:, 0])
    assert not bits(values, other)[::3, 1].any()


def test_what_comes_later_does_not_change_what_was_told() -> None:
    values = daily(900)
    assert np.array_equal(bits(values)[:600], bits(values[:600]))


def test_a_stream_goes_on_bit_for_bit_after_a_snapshot() -> None:
    values, first, second = daily(900), Surprises(1, SETTINGS), Surprises(1, SETTINGS)
    for at in range(600):
        first.update(TIMES_S[at : at + 1], values[at : at + 1])
    second.restore(first.snapshot())
    later = [second.update(TIMES_S[at : at + 1], values[at : at + 1]) for at in range(600, 900)]
    assert np.array_equal(np.stack(later), bits(values)[600:])


def test_a_snapshot_of_other_series_and_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="does not fit"):
        Surprises(2, SETTINGS).restore(Surprises(1, SETTINGS).snapshot())
    with pytest.raises(UsageError, match="weight"):
        Surprises(1, SurpriseSettings(weights=(1.0,)))
    assert len(SurpriseSettings().weights) == len(VIEWS)
