"""Spans summed to signals: of entities, and of the edges between them.

Called by who reads traces. In: tables of `SPANS`. Out: `SIGNALS`. Summing is per step and forgets the spans, so that
the past costs a few rows a step. Entities are workloads; an operation inside one is a signal of it, not an entity.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loomidi.origami.causes.observations import SIGNALS, Role

SPANS = pa.schema(
    [
        ("span", pa.string()),
        ("parent", pa.string()),  # empty or unknown: the span is where a trace begins
        ("entity", pa.string()),
        ("operation", pa.string()),
        ("start_ns", pa.int64()),
        ("end_ns", pa.int64()),
        ("failed", pa.bool_()),  # null when the tracer does not say
    ]
)
Array = np.ndarray[Any, np.dtype[Any]]
_NS = 1e9
Sums = dict[tuple[str, ...], tuple[float, float, float]]  # what -> count, sum, second sum


class SpanSums:
    """Sums of each step; `signals` gives them as signals, with a zero where something known did not happen."""

    def __init__(self, step_ns: int = 60_000_000_000) -> None:
        self._step_ns = step_ns
        self._steps: dict[int, Sums] = {}

    def add(self, time_ns: int, spans: pa.Table) -> None:
        """Sum the spans of the step that begins then; twice the same step replaces it."""
        self._steps[time_ns] = summed(spans)

    def signals(self, since_ns: int, until_ns: int) -> pa.Table:
        """Signals of the steps that begin within the range."""
        steps = {at: sums for at, sums in sorted(self._steps.items()) if since_ns <= at < until_ns}
        known = sorted({key for sums in steps.values() for key in sums if key[0] in ("edge", "branch")})
        rows = [row for at, sums in steps.items() for row in _rows(at, sums, known)]
        columns = zip(*rows, strict=True) if rows else [[]] * len(SIGNALS)
        arrays = [pa.array(list(column), field.type) for column, field in zip(columns, SIGNALS, strict=True)]
        return pa.table(arrays, schema=SIGNALS)


def _rows(at: int, sums: Sums, known: Iterable[tuple[str, ...]]) -> Iterable[tuple[Any, ...]]:
    """One step as rows of `SIGNALS`."""
    for (what, *names), (count, total, other) in sums.items():
        if what == "request":
            yield at, names[0], "", "latency", Role.LATENCY.value, total / count, count
            yield at, names[0], "", "requests", Role.TRAFFIC.value, count, count
            if other >= 0:
                yield at, names[0], "", "failed", Role.ERRORS.value, other / count, count
        elif what == "operation":
            yield at, names[0], "", f"own time of {names[1]}", Role.SELF.value, total / count, count
        elif what == "call":
            yield at, names[0], names[1], "call", Role.CLIENT.value, total / count, count
            yield at, names[0], names[1], "call", Role.SERVER.value, other / count, count
    for key in known:
        what, entity, *names = key
        of = ("request", entity) if what == "edge" else ("operation", entity, names[0])
        if of in sums:
            count = sums[of][0]
            value = sums.get(key, (0.0, 0.0, 0.0))[0] / count
            if what == "edge":
                yield at, entity, names[0], "calls", Role.CALLS.value, value, count
            else:
                yield at, entity, "", f"{names[1]} after {names[0]}", Role.BRANCH.value, value, count


def summed(spans: pa.Table) -> Sums:
    """Requests, operations, calls, edges and branches of the spans of one step."""
    rows = _Rows(spans)
    sums: Sums = {}
    entities, operations = rows.entities, rows.operations
    served = rows.parent < 0
    served[rows.parent >= 0] = rows.entity[rows.parent[rows.parent >= 0]] != rows.entity[rows.parent >= 0]
    for (entity,), count, total, failed in _grouped([rows.entity[served]], rows.length[served], rows.failed[served]):
        sums["request", entities[entity]] = (count, total, failed if rows.says_failed else -1.0)
    own = ~rows.waits
    for (entity, operation), count, total, _ in _grouped(
        [rows.entity[own], rows.operation[own]], rows.own[own], rows.own[own]
    ):
        sums["operation", entities[entity], operations[operation]] = (count, total, 0.0)
    child = np.flatnonzero(rows.parent >= 0)
    parent = rows.parent[child]
    crosses = rows.entity[child] != rows.entity[parent]
    edge, over = child[crosses], parent[crosses]
    for (caller, callee), count, *_ in _grouped(
        [rows.entity[over], rows.entity[edge]], rows.length[edge], rows.own[edge]
    ):
        sums["edge", entities[caller], entities[callee]] = (count, 0.0, 0.0)
    alone = rows.waits[over]
    pairs = [rows.entity[over[alone]], rows.entity[edge[alone]]]
    for (caller, callee), count, client, server in _grouped(pairs, rows.length[over[alone]], rows.length[edge[alone]]):
        sums["call", entities[caller], entities[callee]] = (count, client, server)
    inner, above = child[~crosses], parent[~crosses]
    keys = [rows.entity[inner], rows.operation[above], rows.operation[inner]]
    for (entity, before, after), count, *_ in _grouped(keys, rows.length[inner], rows.own[inner]):
        sums["branch", entities[entity], operations[before], operations[after]] = (count, 0.0, 0.0)
    return sums


class _Rows:
    """Spans as columns of numbers, with parents as rows and own time by the union of the children's times."""

    def __init__(self, spans: pa.Table) -> None:
        spans = spans.combine_chunks()
        entity, operation = (pc.fill_null(spans[name], "").combine_chunks() for name in ("entity", "operation"))
        entity, operation = entity.dictionary_encode(), operation.dictionary_encode()
        self.entities: list[str] = entity.dictionary.to_pylist()
        self.operations: list[str] = operation.dictionary.to_pylist()
        self.entity, self.operation = (of.indices.to_numpy().astype(np.int64) for of in (entity, operation))
        found = pc.index_in(spans["parent"], value_set=spans["span"].combine_chunks())
        self.parent = pc.fill_null(found, -1).to_numpy().astype(np.int64)
        self.says_failed = spans["failed"].null_count < len(spans)
        self.failed = pc.fill_null(spans["failed"], False).to_numpy().astype(np.float64)
        start, end = (spans[name].to_numpy() for name in ("start_ns", "end_ns"))
        self.length = (end - start) / _NS
        covered = _covered(self.parent, start, end)
        self.own = np.maximum(self.length - covered, 0.0)
        self.waits = self._waits()

    def _waits(self) -> Array:
        """Spans that do nothing but call: exactly one child, in another entity."""
        has = self.parent >= 0
        children = np.bincount(self.parent[has], minlength=len(self.parent))
        there = np.zeros(len(self.parent), dtype=bool)
        there[self.parent[has]] = self.entity[self.parent[has]] != self.entity[has]
        found: Array = (children == 1) & there
        return found


def _covered(parent: Array, start: Array, end: Array) -> Array:
    """Seconds of each span in which at least one child ran."""
    covered = np.zeros(len(parent))
    child = np.flatnonzero(parent >= 0)
    if not len(child):
        return covered
    above = parent[child]
    begin, stop = np.maximum(start[child], start[above]), np.minimum(end[child], end[above])
    order = np.lexsort((begin, above))
    above, begin, stop = above[order], begin[order], np.maximum(stop, begin)[order]
    group = np.cumsum(np.concatenate([[0], np.diff(above) != 0]))
    offset = group * (int(stop.max() - begin.min()) + 1) - int(begin.min())
    last = np.maximum.accumulate(stop + offset)
    before = np.concatenate([[0], last[:-1]])
    new = np.maximum(stop + offset - np.maximum(begin + offset, before), 0)
    np.add.at(covered, above, new / _NS)
    return covered


def _grouped(keys: list[Array], one: Array, two: Array) -> Iterable[tuple[tuple[int, ...], float, float, float]]:
    """Count and both sums of each combination of keys, in the order of the keys."""
    if not len(keys[0]):
        return
    table = np.stack(keys, axis=1)
    unique, inverse = np.unique(table, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    count = np.bincount(inverse)
    first, second = (np.bincount(inverse, weights=of) for of in (one, two))
    for row, key in enumerate(unique.tolist()):
        yield tuple(key), float(count[row]), float(first[row]), float(second[row])
