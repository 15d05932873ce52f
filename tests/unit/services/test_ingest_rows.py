"""Rows of metrics: columns at once and row by row give the same; each refused row has its reason."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from loomidi.services.http.problems import Problem
from loomidi.services.ingest_api.measuring import CAUSES, built
from loomidi.services.ingest_api.scanning import NotJson, all_values, some_values
from tests.unit.services.ingesting import ROW, plain

VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False, allow_infinity=False) | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
ODD = some.fixed_dictionaries(
    {},
    optional={
        name: VALUES | some.sampled_from(["x", 1.5, "2026-11-26T12:00:00Z", {"a": "b"}])
        for name in (*ROW, "timestamp", "unit", "attributes", "entity", "kind", "more")
    },
)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source_id": ""}, "source_id"),
        ({"source_id": "x" * 1025}, "source_id"),
        ({"source_id": "\ud800"}, "source_id"),
        ({"metric_name": None}, "metric_name"),
        ({"value": True}, "value"),
        ({"value": "1"}, "value"),
        ({"value": None}, "value"),
        ({"value": 10**400}, "value"),
        ({"value": math.inf}, "value"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": "2026-02-30T00:00:00Z"}, "timestamp"),
        ({"timestamp": "2026-11-26T12:00:00"}, "timestamp"),
        ({"timestamp": "2026-11-26T12:00:00.1234567890Z"}, "timestamp"),
        ({"timestamp": "9999-01-01T00:00:00Z"}, "timestamp"),
        ({"timestamp": 1}, "timestamp"),
        ({"unit": 5}, "unit"),
        ({"attributes": []}, "attributes"),
        ({"attributes": {"a": "x" * 70_000}}, "attributes"),
        ({"attributes": {"a": "\ud800"}}, "attributes"),
        ({"more": "x" * 70_000}, "extra"),
    ],
)
def test_each_reason_is_found_among_good_rows(change: dict[str, Any], reason: str) -> None:
    made = built([ROW, ROW | change, ROW], 5)
    assert list(made.refused) == [(1, reason)]
    assert (list(made.kept), made.batch.num_rows) == ([0, 2], 2)
    assert reason in CAUSES


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01t00:00:01.5z", 1_500_000_000),
        ("1970-01-01T01:00:00.000000001+01:00", 1),
        ("1969-12-31T23:59:59.999999999Z", -1),
    ],
)
def test_times_are_read_to_the_nanosecond(text: str, ns: int) -> None:
    assert built([ROW | {"timestamp": text}], 5).batch["timestamp"][0].value == ns


def test_a_row_without_a_time_has_that_of_its_receipt() -> None:
    batch = built([ROW, ROW | {"timestamp": "1970-01-01T00:00:01Z"}], 5).batch
    assert [one.value for one in batch["timestamp"]] == [5, 1_000_000_000]


def test_labels_and_unknown_fields_are_kept() -> None:
    (row,) = plain(built([ROW | {"attributes": {"a": "b", "n": 1, "none": None}, "x": [1], "y": None}], 5).batch)
    assert dict(row["attributes"]) == {"a": "b", "n": "1", "none": None}
    assert json.loads(row["extra"]) == {"x": [1], "y": None}


def test_an_integer_beyond_the_exact_ones_is_the_nearest_number() -> None:
    assert built([ROW | {"value": 2**60 + 1}], 5).batch["value"][0].as_py() == float(2**60)


@given(some.lists(ODD | VALUES, max_size=4))
def test_rows_together_are_as_each_alone(rows: list[Any]) -> None:
    together = built(rows, 5)
    alone = [built([row], 5) for row in rows]
    assert [index for index, one in enumerate(alone) if one.batch.num_rows] == list(together.kept)
    assert [(index, one.refused[0][1]) for index, one in enumerate(alone) if one.refused] == list(together.refused)
    assert [plain(one.batch)[0] for one in alone if one.batch.num_rows] == plain(together.batch)


@given(VALUES, some.integers(0, 3))
def test_a_body_in_pieces_gives_the_values_of_the_whole(value: Any, spaces: int) -> None:
    body = (" " * spaces + json.dumps(value) + "\n" * spaces).encode()
    pieces = [one for part in some_values(body, lines=False, most=2) for one in part]
    assert pieces == all_values(body, lines=False)


@pytest.mark.parametrize("block", [1, 2, 7])
def test_values_may_be_cut_anywhere(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loomidi.services.ingest_api.scanning._BLOCK", block)
    value = [ROW, {"text": "\u20ac\U0001f600 [}", "more": [1, {"a": 12345}]}, 12, -1.5e3, None, "x"]
    body = json.dumps(value, ensure_ascii=False).encode()
    assert [one for part in some_values(body, lines=False, most=2) for one in part] == value


@pytest.mark.parametrize("body", [b"[1 2]", b"[1,]", b"[", b"[1", b"[] 1", b"{", b'{"a" 1}', b"\xff", b"", b"[NaN]"])
def test_what_is_no_json_is_none_in_pieces_either(body: bytes) -> None:
    with pytest.raises(Problem):
        all_values(body, lines=False)
    with pytest.raises(Problem):
        list(some_values(body, lines=False, most=2))


def test_a_line_that_is_no_json_is_a_row_that_is_refused() -> None:
    body = b'{"a": 1}\nnot json\n\n{"a": 2}'
    expected = [{"a": 1}, NotJson(), {"a": 2}]
    assert all_values(body, lines=True) == expected
    assert next(some_values(body, lines=True, most=9)) == expected


def test_a_value_that_never_ends_is_given_up_early() -> None:
    with pytest.raises(Problem, match="not JSON"):
        list(some_values(b'[{"a": "' + b"x" * 3_000_000, lines=False, most=2))
