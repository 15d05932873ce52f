"""Plans as documents: bound to their content, read back strictly."""

import copy
import dataclasses
import json
from typing import Any

import pytest

from loomidi.ionic.documents import plan_hash, plan_id, read_plan, rule_id
from loomidi.ionic.errors import BadPlan
from tests.unit.ionic.making import a_fold, a_plan


def a_document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(a_plan().as_dict()))
    return document


def test_a_plan_survives_the_way_through_json() -> None:
    assert read_plan(a_document()) == a_plan()
    assert plan_hash(read_plan(a_document())) == plan_hash(a_plan())


def test_the_id_follows_from_the_content() -> None:
    assert plan_id(a_plan()) == a_plan().id
    assert a_plan(fold=a_fold(ttl_s=1.0)).id != a_plan().id


def test_the_hash_covers_the_manifest() -> None:
    other = dataclasses.replace(a_plan(), fold=a_fold(manifest={"kind": "Namespace"}))
    assert plan_hash(other) != plan_hash(a_plan())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("fold", "ttl_s"), "60", 'plan.fold.ttl_s: expected a number, found "60"'),
        (("fold", "ttl_s"), True, "plan.fold.ttl_s: expected a number, found true"),
        (("fold", "match", "source"), 7, "plan.fold.match.source: expected text, found 7"),
        (("mode",), "yolo", "plan.mode: expected one of shadow, suggest, guarded, autonomous"),
        (("created_ns",), 1.5, "plan.created_ns: expected a whole number, found 1.5"),
        (("finding", "evidence"), {}, "plan.finding.evidence: expected a list, found {}"),
        (
            ("finding", "evidence"),
            [{"name": "x", "value": []}],
            "plan.finding.evidence[0].value: expected float or int",
        ),
        (("blast_radius",), None, "plan.blast_radius: expected an object, found null"),
        (("sudo",), True, "plan.sudo: no such field"),
    ],
)
def test_a_wrong_field_is_named_in_one_line(path: tuple[str, ...], value: Any, message: str) -> None:
    document = copy.deepcopy(a_document())
    holder = document
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    with pytest.raises(BadPlan, match=r"^[^\n]*$") as caught:
        read_plan(document)
    assert str(caught.value).startswith(message)


def test_a_missing_field_is_named() -> None:
    document = a_document()
    del document["fold"]["target"]
    with pytest.raises(BadPlan, match=r"plan\.fold\.target: missing"):
        read_plan(document)


def test_a_number_that_json_cannot_carry_makes_no_hash() -> None:
    with pytest.raises(BadPlan):
        plan_hash(a_plan(fold=a_fold(ttl_s=float("nan"))))


def test_a_rule_id_is_32_bits_and_never_0() -> None:
    assert all(0 < rule_id(f"plan-{number}") < 2**32 for number in range(1000))
