"""The same scenario and seed give the same course of events, on any machine and for ever."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomidi.contracts.errors import InputError
from loomidi_lab.staging import draw
from loomidi_lab.staging.drawing import fill


def test_a_seed_gives_these_very_values(scenario_of: Any) -> None:
    """Known values: a change of the drawing would silently change every recording's truth."""
    ranges = {"count": {"integer": [2, 900]}, "share": {"number": [0.0, 1.0]}, "who": {"choice": ["a", "b", "c"]}}
    assert draw(scenario_of(parameters=ranges), 0).parameters == {"count": 155, "share": 0.949, "who": "c"}
    assert draw(scenario_of(parameters=ranges), 7).parameters == {"count": 462, "share": 0.973, "who": "a"}


def test_another_parameter_leaves_the_others_as_they_were(scenario_of: Any) -> None:
    one = draw(scenario_of(parameters={"count": {"integer": [2, 900]}}), 3)
    two = draw(scenario_of(parameters={"extra": {"integer": [1, 5]}, "count": {"integer": [2, 900]}}), 3)
    assert one.parameters["count"] == two.parameters["count"]


def test_values_stay_in_their_ranges(scenario_of: Any) -> None:
    ranges = {"count": {"integer": [2, 4]}, "share": {"number": [0.5, 0.75]}}
    drawn = [draw(scenario_of(parameters=ranges), seed).parameters for seed in range(200)]
    assert {one["count"] for one in drawn} == {2, 3, 4}
    assert all(0.5 <= float(one["share"]) <= 0.75 for one in drawn)


def test_templates_keep_types_where_they_stand_alone() -> None:
    template = {"n": "${n}", "text": "n=${n}, x=${x}", "list": ["${x}", 1], "shell": "$(date) $n ${n}"}
    found = fill(template, {"n": 3, "x": 0.5})
    assert found == {"n": 3, "text": "n=3, x=0.5", "list": [0.5, 1], "shell": "$(date) $n 3"}


def test_nothing_is_evaluated() -> None:
    assert fill("${n}", {"n": "${n}; $(id) __import__('os')"}) == "${n}; $(id) __import__('os')"


@given(st.integers(0, 10**9))
def test_derived_values_are_arithmetic_over_the_drawn(seed: int) -> None:
    from loomidi_lab.staging.drawing import _derived

    values: dict[str, Any] = {"n": seed}
    assert _derived(None, "x", {"multiply": ["n", 2]}, values) == seed * 2  # type: ignore[arg-type]
    assert _derived(None, "x", {"quotient": ["${n}", 7]}, values) == seed // 7  # type: ignore[arg-type]


def test_a_division_by_zero_is_told(scenario_of: Any) -> None:
    broken = scenario_of(parameters={"n": {"integer": [0, 0]}}, derived={"x": {"divide": [1, "n"]}})
    with pytest.raises(InputError, match="`x` divides by 0"):
        draw(broken, 0)


def test_deriving_from_what_is_unknown_is_told(scenario_of: Any) -> None:
    with pytest.raises(InputError, match="no number known before it"):
        draw(scenario_of(derived={"x": {"add": ["nothing", 1]}}), 0)


def test_what_is_planned_depends_on_scenario_and_seed_alone(scenario_of: Any) -> None:
    one, two = (draw(scenario_of(), 5).planned() for _ in range(2))
    assert json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert set(one) == {
        *("scenario", "category", "family", "technique", "kind", "seed", "parameters"),
        *("duration_s", "sources", "victims", "fold"),
    }
