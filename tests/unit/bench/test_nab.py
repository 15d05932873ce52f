"""The scorer of `bench.nab` gives what the benchmark's definition says on examples that can be worked out by hand."""

import math

import numpy as np
import pytest

from bench.nab_scores import Series, at_threshold, best, probation, sigmoid, totals, worth

WINDOW = (500, 599)


def series(length: int = 1000, *windows: tuple[int, int]) -> Series:
    return Series("one", np.arange(length, dtype=float), np.zeros(length), windows or (WINDOW,))


def alarms(*at: int, length: int = 1000) -> np.ndarray:
    scores = np.zeros(length)
    scores[list(at)] = 1.0
    return scores


def total(*at: int) -> float:
    thresholds, sums = totals([series()], [alarms(*at)])
    return float(sums[np.flatnonzero(thresholds >= 1.0)[-1]])


def test_the_probation_is_fifteen_percent_of_at_most_five_thousand_readings() -> None:
    assert [probation(length) for length in (100, 1000, 5000, 22_695)] == [15, 150, 750, 750]


def test_the_sigmoid_has_its_published_values() -> None:
    assert sigmoid(np.array([-1.0, -0.5, 0.0, 1.0, 3.0])) == pytest.approx(
        [0.98661, 0.84828, 0, -0.98661, -1], abs=1e-5
    )


def test_silence_is_zero_and_an_alarm_at_the_start_of_each_window_a_hundred() -> None:
    assert at_threshold([series()], [alarms(500)], math.inf) == 0.0
    assert at_threshold([series()], [alarms(500)], 1.0) == pytest.approx(100.0)


def test_in_a_window_the_earliest_alarm_counts_alone() -> None:
    assert total(550) == pytest.approx(0.84828 / 0.98661, abs=1e-4)
    assert total(550, 560, 599) == pytest.approx(total(550))


def test_a_false_alarm_costs_less_close_behind_a_window_than_far_from_any() -> None:
    assert total(300) == pytest.approx(-1 - 0.11)
    assert total(599 + 33) == pytest.approx(-1 + 0.11 * (2 / (1 + math.exp(5 * 33 / 99)) - 1))
    assert total(300, 301) == pytest.approx(-1 - 0.22)


def test_alarms_in_the_probation_count_for_nothing() -> None:
    assert total(0, 149) == pytest.approx(-1.0)
    assert total(150) == pytest.approx(-1.11)


def test_a_threshold_takes_all_readings_that_score_as_high() -> None:
    scores = alarms(500)
    scores[[200, 300]] = 0.5
    thresholds, sums = totals([series()], [scores])
    assert list(thresholds[:3]) == [math.inf, 1.0, 0.5]
    assert sums[:3] == pytest.approx([-1.0, 1.0, 1.0 - 0.22])


def test_one_threshold_is_chosen_for_the_whole_corpus() -> None:
    loud = np.where(np.arange(1000) == 500, 0.9, 0.4)
    threshold, score = best([series(), series()], [alarms(500), loud])
    assert (threshold, score) == (0.9, pytest.approx(100.0))


def test_a_series_without_windows_can_only_cost() -> None:
    empty = Series("none", np.arange(1000.0), np.zeros(1000), ())
    assert at_threshold([series(), empty], [alarms(500), alarms(700)], 1.0) == pytest.approx(100 * (2 - 0.11) / 2)


def test_owners_are_the_numbers_of_windows() -> None:
    _, owner = worth(10, [(2, 3), (6, 8)])
    assert owner.tolist() == [-1, -1, 0, 0, -1, -1, 1, 1, 1, -1]
