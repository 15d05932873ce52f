"""A plan as a Fold, and back."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomidi.contracts import Evidence, Mode
from loomidi.fold.resources import fold_object, plan_of
from loomidi.ionic.documents import plan_id
from loomidi.ionic.errors import BadPlan
from tests.unit.ionic.making import a_finding, a_fold, a_plan

TIMES = st.integers(0, 4_000_000_000 * 10**9)
MEASURED = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.text())


def through_json(obj: dict[str, Any]) -> dict[str, Any]:
    """As the API server gives it back: whole floats have lost their point."""

    def whole(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: whole(item) for key, item in value.items()}
        if isinstance(value, list):
            return [whole(item) for item in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    back: dict[str, Any] = json.loads(json.dumps(whole(obj)))
    return back


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("action", ["rate", "drop"])
def test_a_plan_comes_back_as_it_was_id_and_all(action: str, mode: Mode) -> None:
    plan = a_plan(action, mode)
    back = plan_of(through_json(fold_object(plan, "shop", policy="scanners")))
    assert back == plan
    assert plan_id(back) == plan.id


@given(first=TIMES, value=MEASURED, threshold=st.one_of(st.none(), MEASURED), confidence=st.floats(0, 1))
def test_times_and_measured_values_keep_their_type_and_every_digit(
    first: int, value: float | str, threshold: float | str | None, confidence: float
) -> None:
    evidence = (Evidence("rate", value, threshold),)
    plan = a_plan(finding=a_finding(first_ns=first, evidence=evidence, confidence=confidence))
    assert plan_id(plan_of(through_json(fold_object(plan, "shop")))) == plan.id


def test_a_fold_is_named_by_its_plan_and_says_nothing_that_goes_without_saying() -> None:
    plan = a_plan(mode=Mode.SHADOW)
    obj = fold_object(plan, "shop")
    assert obj["metadata"] == {"name": plan.id, "namespace": "shop"}
    assert not {"replicas", "ratePps", "burst", "policy"} & set(obj["spec"])


@pytest.mark.parametrize("mode", Mode)
def test_one_that_may_act_without_a_person_cannot_vanish_before_it_is_undone(mode: Mode) -> None:
    acts = mode in (Mode.GUARDED, Mode.AUTONOMOUS)
    finalizers = fold_object(a_plan(mode=mode), "shop")["metadata"].get("finalizers", [])
    assert finalizers == ["loomidi.io/undo"] * acts


def test_a_time_to_live_of_broken_seconds_is_no_fold() -> None:
    with pytest.raises(BadPlan, match="a Fold lasts whole seconds"):
        fold_object(a_plan(fold=a_fold(ttl_s=0.5)), "shop")


@pytest.mark.parametrize("name", ["finding", "blastRadius", "plan"])
def test_a_fold_made_by_hand_holds_no_plan_and_says_so(name: str) -> None:
    obj = fold_object(a_plan(), "shop")
    del obj["spec"][name]
    with pytest.raises(BadPlan, match=rf"spec\.{name}: missing; a Fold that a person made is planned first"):
        plan_of(obj)


def test_a_fold_that_was_changed_has_another_id() -> None:
    obj = fold_object(a_plan(), "shop")
    obj["spec"]["ttlSeconds"] += 1
    assert plan_id(plan_of(obj)) != obj["spec"]["plan"]["id"]


@pytest.mark.parametrize("text", ["soon", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00.xZ", ""])
def test_what_is_no_time_is_named(text: str) -> None:
    obj = fold_object(a_plan(), "shop")
    obj["spec"]["plan"]["createdTime"] = text
    with pytest.raises(BadPlan, match="is no time such as"):
        plan_of(obj)


def test_a_time_in_another_zone_is_the_same_moment() -> None:
    obj = fold_object(a_plan(), "shop")
    obj["spec"]["plan"]["createdTime"] = "2026-01-01T02:00:00.5+02:00"
    assert plan_of(obj).created_ns == 1_767_225_600_500_000_000


def test_the_mode_is_the_plans() -> None:
    plan = dataclasses.replace(a_plan(), mode=Mode.SHADOW)
    assert fold_object(plan, "shop")["spec"]["mode"] == "shadow"
