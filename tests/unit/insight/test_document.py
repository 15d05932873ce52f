"""The JSON document fits its published schema, and the schema would notice if it did not."""

import copy
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from loomidi.insight.report.document import document, write
from tests.unit.insight.specimens import report

SCHEMA = json.loads((Path(__file__).resolve().parents[3] / "docs" / "analyze.schema.json").read_text())
CHECK = jsonschema.Draft202012Validator(SCHEMA)
PROMISED = {
    "captures": (),
    "flows": ("count", "packets", "octets"),
    "findings": (
        *("id", "pattern", "techniques", "severity", "confidence"),
        *("entities", "first_ns", "last_ns", "evidence", "explanation"),
    ),
    "folds": ("kind", "target", "manifest", "because", "undo"),
    "balance": ("reasons", "adds_up", "problems"),
}


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every leaf is."""
    if not isinstance(value, (dict, list)) or not value:
        yield path
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield from paths(inner, (*path, key))


def with_leaf(whole: Any, path: tuple[Any, ...], leaf: Any) -> Any:
    changed = copy.deepcopy(whole)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = leaf
    return changed


def test_the_schema_is_valid_itself() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_a_report_fits_the_schema() -> None:
    assert list(CHECK.iter_errors(document(report(problems=("ends early",))))) == []


@pytest.mark.parametrize("key", PROMISED)
def test_the_promised_keys_are_there_and_required(key: str) -> None:
    whole = document(report())
    inner = whole[key][0] if isinstance(whole[key], list) else whole[key]
    assert set(PROMISED[key]) <= set(inner)
    assert not CHECK.is_valid({name: value for name, value in whole.items() if name != key})
    for name in PROMISED[key]:
        broken = copy.deepcopy(whole)
        del (broken[key][0] if isinstance(broken[key], list) else broken[key])[name]
        assert not CHECK.is_valid(broken), f"{key}.{name} may be missing"


def test_every_leaf_of_a_report_is_typed_by_the_schema() -> None:
    whole = document(report())
    shapes = {tuple("*" if isinstance(key, int) else key for key in path): path for path in paths(whole)}
    closed = [path for path in shapes.values() if "manifest" not in path]
    assert [path for path in closed if CHECK.is_valid(with_leaf(whole, path, [None, {"odd": object}]))] == []


def test_unknown_keys_are_let_through_because_later_versions_add_some() -> None:
    assert CHECK.is_valid(document(report()) | {"added_later": 1})


def test_the_file_is_ascii_json_whatever_the_names_are() -> None:
    file = io.StringIO()
    write(report(path="caf\u00e9\udcff\x00.pcap"), file)
    assert file.getvalue().isascii()
    assert json.loads(file.getvalue())["captures"][0]["path"] == "caf\u00e9?\x00.pcap"
