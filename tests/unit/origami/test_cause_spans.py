"""Spans summed to signals."""

from typing import Any

import pyarrow as pa
import pytest

from loomidi.origami.causes import SPANS, Role, SpanSums

MS = 1_000_000
STEP = 60_000_000_000


def spans(*rows: tuple[str, str, str, str, int, int]) -> pa.Table:
    """(span, parent, entity, operation, start, end), times in milliseconds."""
    named = [dict(zip(SPANS.names, (*row[:4], row[4] * MS, row[5] * MS, None), strict=True)) for row in rows]
    return pa.Table.from_pylist(named, schema=SPANS)


def request(begin: int = 0) -> list[tuple[str, str, str, str, int, int]]:
    """The front works 10 ms, waits 30 ms for the cart, which works 20 ms itself."""
    a, b, c = (f"{name}{begin}" for name in "abc")
    return [
        (a, "", "front", "serve", begin, begin + 40),
        (b, a, "front", "call cart", begin + 5, begin + 35),
        (c, b, "cart", "get", begin + 10, begin + 30),
    ]


def signals(*tables: pa.Table) -> dict[tuple[str, str, str, Role], list[float]]:
    sums = SpanSums(STEP)
    for at, table in enumerate(tables):
        sums.add(at * STEP, table)
    found: dict[tuple[str, str, str, Role], list[float]] = {}
    for row in sums.signals(0, len(tables) * STEP).to_pylist():
        key: Any = (row["entity"], row["peer"], row["signal"], Role(row["role"]))
        found.setdefault(key, []).append(row["value"])
    return found


def test_an_edge_has_both_sides_of_its_calls() -> None:
    found = signals(spans(*request()))
    assert found["front", "cart", "call", Role.CLIENT] == pytest.approx([0.030])
    assert found["front", "cart", "call", Role.SERVER] == pytest.approx([0.020])
    assert found["front", "cart", "calls", Role.CALLS] == [1.0]


def test_own_time_leaves_out_what_is_waited_for() -> None:
    found = signals(spans(*request()))
    assert found["front", "", "own time of serve", Role.SELF] == pytest.approx([0.010])
    assert found["front", "", "latency", Role.LATENCY] == pytest.approx([0.040])
    assert ("front", "", "own time of call cart", Role.SELF) not in found


def test_children_at_the_same_time_are_waited_for_once() -> None:
    found = signals(
        spans(("a", "", "x", "serve", 0, 100), ("b", "a", "x", "one", 10, 60), ("c", "a", "x", "two", 40, 90))
    )
    assert found["x", "", "own time of serve", Role.SELF] == pytest.approx([0.020])


def test_what_did_not_happen_this_time_is_a_zero() -> None:
    found = signals(spans(*request()), spans(("z", "", "front", "serve", 0, 40)))
    assert found["front", "cart", "calls", Role.CALLS] == [1.0, 0.0]
    assert found["front", "", "call cart after serve", Role.BRANCH] == [1.0, 0.0]


def test_failed_requests_are_a_share_and_absent_where_the_tracer_does_not_say() -> None:
    table = spans(*request(), *request(100))
    at = table.schema.get_field_index("failed")
    told = table.set_column(at, SPANS.field("failed"), pa.array([True, False, False, False, False, False]))
    assert signals(told)["front", "", "failed", Role.ERRORS] == [0.5]
    assert ("front", "", "failed", Role.ERRORS) not in signals(table)


def test_no_spans_no_signals() -> None:
    assert signals(SPANS.empty_table()) == {}
