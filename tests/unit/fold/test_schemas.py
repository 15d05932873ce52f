"""What the resources are made of: a word on every field, the contracts' own kinds and fields, bounds on everything."""

from collections.abc import Iterator
from typing import Any

import pytest

from loomidi.contracts import Approval, BlastRadius, Evidence, Finding, FoldKind, FoldSpec, Match, Mode, Severity
from loomidi.fold.resources import fold_definition, fold_policy_definition, records, schemas, specs
from loomidi.ionic.decide import Limits
from loomidi.ionic.decide.guards import FloorGuard
from tests.unit.ionic.making import a_fold, a_plan

Node = tuple[str, dict[str, Any]]
BOTH = {"Fold": fold_definition(), "FoldPolicy": fold_policy_definition()}


def schema_of(definition: dict[str, Any]) -> dict[str, Any]:
    root: dict[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return root


def every(schema: dict[str, Any], path: str = "") -> Iterator[Node]:
    """Each schema below spec and status, with its path."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        if path or name in ("spec", "status"):
            yield from every(field, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if inner in schema:
            yield from every(schema[inner], f"{path}[]")


def at(kind: str, *path: str) -> dict[str, Any]:
    found = schema_of(BOTH[kind])
    for name in path:
        found = found["items"] if name == "[]" else found["properties"][name]
    return found


def nodes(kind: str) -> list[Node]:
    return list(every(schema_of(BOTH[kind])))


@pytest.mark.parametrize("kind", BOTH)
def test_every_field_has_a_description_that_is_a_sentence(kind: str) -> None:
    assert [path for path, node in nodes(kind) if not node.get("description", "").endswith(".")] == []


@pytest.mark.parametrize("kind", BOTH)
def test_every_text_and_every_list_has_a_largest_size(kind: str) -> None:
    def bounded(node: dict[str, Any]) -> bool:
        if node.get("type") == "string":
            return bool({"maxLength", "enum", "format"} & set(node))
        return node.get("type") != "array" or "maxItems" in node

    assert [path for path, node in nodes(kind) if not bounded(node)] == []


@pytest.mark.parametrize("kind", BOTH)
def test_every_list_says_how_it_is_merged(kind: str) -> None:
    lists = [(path, node) for path, node in nodes(kind) if node.get("type") == "array"]
    assert lists
    assert [path for path, node in lists if "x-kubernetes-list-type" not in node] == []


@pytest.mark.parametrize("kind", BOTH)
def test_every_rule_says_what_to_do(kind: str) -> None:
    rules = [rule for _, node in nodes(kind) for rule in node.get("x-kubernetes-validations", ())]
    assert len(rules) > 10
    assert [rule for rule in rules if len(rule["message"]) < 30 or rule["message"].endswith(".")] == []


@pytest.mark.parametrize("kind", BOTH)
def test_a_default_is_one_that_the_schema_takes(kind: str) -> None:
    given = [(path, node) for path, node in nodes(kind) if "default" in node and "enum" in node]
    assert given
    assert [path for path, node in given if node["default"] not in node["enum"]] == []


def test_shadow_is_the_default_wherever_a_mode_has_one() -> None:
    modes = [node for kind in BOTH for path, node in nodes(kind) if path.endswith(".mode") and "default" in node]
    assert [node["default"] for node in modes] == [Mode.SHADOW] * 3


def test_kinds_modes_and_severities_are_those_of_the_contracts() -> None:
    assert at("Fold", "spec", "kind")["enum"] == list(FoldKind)
    assert at("Fold", "spec", "mode")["enum"] == list(Mode)
    assert at("Fold", "spec", "finding", "severity")["enum"] == list(Severity)
    assert at("FoldPolicy", "spec", "allow", "[]", "kind")["enum"] == list(FoldKind)
    assert at("FoldPolicy", "spec", "when", "severities", "[]")["enum"] == [s for s in Severity if s != "info"]


@pytest.mark.parametrize(
    ("record", "path", "without"),
    [
        (FoldSpec, ("spec",), ("thresholds",)),  # of one node
        (Match, ("spec", "match"), ()),
        (Finding, ("spec", "finding"), ()),
        (Evidence, ("spec", "finding", "evidence", "[]"), ()),
        (BlastRadius, ("spec", "blastRadius"), ()),
        (Approval, ("status", "approvals", "[]"), ("verdicts",)),
    ],
)
def test_every_field_of_a_record_is_one_of_the_resource(
    record: type, path: tuple[str, ...], without: tuple[str, ...]
) -> None:
    names = {records.camel(name) for name in record.__dataclass_fields__ if name not in without}  # type: ignore[attr-defined]
    assert names <= set(at("Fold", *path)["properties"])


def test_a_field_without_a_description_stops_the_generator() -> None:
    with pytest.raises(LookupError, match=r"Match: each field has one description, look at destination"):
        records.fields_of(Match, {"source": "The remote end."})


@pytest.mark.parametrize("kind", FoldKind)
@pytest.mark.parametrize("action", ["rate", "drop", "eject", "isolate", "scale"])
def test_the_actions_of_a_kind_are_those_of_the_floor(kind: FoldKind, action: str) -> None:
    plan = a_plan(fold=a_fold(kind=kind, action=action))
    answers = {verdict.rule: verdict.allow for verdict in FloorGuard().judge(plan, {})}
    assert answers["fitting"] is (action in specs.ACTIONS[kind])


def test_a_fold_lasts_as_long_as_the_guards_let_it() -> None:
    rule = at("Fold", "spec", "ttlSeconds")["x-kubernetes-validations"][0]["rule"]
    assert rule == f"self >= {Limits().min_ttl_s:.0f} && self <= {Limits().max_ttl_s:.0f}"


@pytest.mark.parametrize(
    ("name", "told"),
    [("ttl_s", "ttlSeconds"), ("first_ns", "firstTime"), ("rate_pps", "ratePps"), ("share_of_octets", "shareOfOctets"),
     ("undo", "undo"), ("plan_id", "planId")],
)  # fmt: skip
def test_names_are_spelled_as_kubernetes_spells_them(name: str, told: str) -> None:
    assert records.camel(name) == told


def test_values_are_written_as_cel_has_them() -> None:
    assert schemas.literal({FoldKind.SCALE_OUT: ("scale",)}) == "{'SCALE_OUT': ['scale']}"
    assert schemas.joined({"a": ("b", "c")}, " or ") == "{'a': 'b or c'}"
    assert schemas.literal([1, "x"]) == "[1, 'x']"
