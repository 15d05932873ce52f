"""The loss balance from NIC to table, over a range of time, from the counters that lie in the lake themselves.

Called by `loomidi balance` and the fault tests. In: rows of the schema `COUNTERS`, what the lake holds of each
producer, what the bus still has. Out: equations, each with both sides and whether it holds. Pure. The chain, by number:

    1 capture   received = every other name that the link counts                     packets, each link
    2 meter     accounted = exported in flows + in flows still open                   packets, each link
    3 export    flows exported = offered to the publisher                             rows, each component
    4 publish   offered = published + spooled + queued + sampled_out + dropped        rows, each stream
    5 commit    published = in the table + buried + in flight                         rows, each stream
    6 bus       in flight is what the bus still holds for the committer               nothing waits: 0

Counters grow within (node, component, epoch); a range takes the last value before its end less the last before its
start, so that gauges (open, queued, spooled) enter by how much they changed.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts.streams import Stream

_KEY = ("node", "component", "epoch", "stage", "stream", "scope", "name", "unit")


class Origin(NamedTuple):
    """One run of one component on one node."""

    node: str
    component: str
    epoch: int

    def __str__(self) -> str:
        return f"{self.component}@{self.node}"


Holdings = Mapping[tuple[str, str, int], int]
"""(stream, producer, epoch) -> rows that the table holds of that run of a producer."""

_SELF = Stream.COUNTERS  # its own rows are told by the next ones, so that it never adds up at a moment


@dataclasses.dataclass(frozen=True, slots=True)
class Equation:
    """One link of the chain at one place."""

    stage: str  # capture, meter, export, publish, commit, bus
    place: str  # link, component or stream
    unit: str
    total: tuple[str, int]  # what has to be accounted for
    parts: tuple[tuple[str, int], ...]
    note: str = ""  # what could not be checked, and why

    @property
    def off(self) -> int:
        """How much is missing (above 0) or too much (below)."""
        return self.total[1] - sum(value for _, value in self.parts)

    @property
    def holds(self) -> bool:
        """Exactly, and no part below nothing."""
        return self.off == 0 and all(value >= 0 for _, value in self.parts)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        name, value = self.total
        return {
            "stage": self.stage,
            "place": self.place,
            "unit": self.unit,
            name: value,
            "parts": dict(self.parts),
            "off": self.off,
            "holds": self.holds,
            "note": self.note,
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Chain:
    """All equations of a range."""

    equations: tuple[Equation, ...]
    since_ns: int
    until_ns: int

    @property
    def adds_up(self) -> bool:
        """Whether every equation holds. An empty chain does not: nothing was counted."""
        return bool(self.equations) and all(equation.holds for equation in self.equations)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "since_ns": self.since_ns,
            "until_ns": self.until_ns,
            "adds_up": self.adds_up,
            "equations": [equation.as_dict() for equation in self.equations],
        }


class Counts:
    """Change of every counter over a range."""

    def __init__(self, counters: pa.Table, since_ns: int, until_ns: int) -> None:
        ends, starts = _last(counters, until_ns), _last(counters, since_ns)
        self._values = {key: value - starts.get(key, 0) for key, value in ends.items()}

    def total(self, stage: str, name: str, **like: str) -> dict[tuple[Origin, str, str], int]:
        """(origin, stream, scope) -> change of one name."""
        return {
            (origin, stream, scope): value
            for (origin, at, stream, scope, found, unit), value in self._values.items()
            if (at, found) == (stage, name) and unit == like.get("unit", unit)
        }

    def names(self, stage: str, unit: str) -> dict[tuple[Origin, str, str], dict[str, int]]:
        """(origin, stream, scope) -> name -> change."""
        found: dict[tuple[Origin, str, str], dict[str, int]] = defaultdict(dict)
        for (origin, at, stream, scope, name, of), value in self._values.items():
            if (at, of) == (stage, unit):
                found[origin, stream, scope][name] = value
        return dict(sorted(found.items()))


def chain(
    counters: pa.Table, held: Holdings, *, since_ns: int = 0, until_ns: int, waiting: Mapping[str, int | None]
) -> Chain:
    """Steps 1 to 6. `held`: at the end less at the start.

    `waiting`: stream -> batches on the bus that the committer has not taken, None where nobody can tell.
    """
    counts = Counts(counters, since_ns, until_ns)
    steps: Sequence[Callable[[], Iterable[Equation]]] = (
        lambda: _capture(counts),  # 1
        lambda: _meter(counts),  # 2
        lambda: _export(counts),  # 3
        lambda: _publish(counts),  # 4
        lambda: _commit(counts, held),  # 5
        lambda: _bus(counts, held, waiting),  # 6
    )
    return Chain(tuple(equation for step in steps for equation in step()), since_ns, until_ns)


def _capture(counts: Counts) -> Iterable[Equation]:
    for (origin, _stream, link), names in counts.names("capture", "packets").items():
        total = names.pop("received", 0)
        yield Equation("capture", f"{origin} {link}", "packets", ("received", total), _nonzero(names))


def _meter(counts: Counts) -> Iterable[Equation]:
    exported = counts.names("export", "packets")
    for (origin, _stream, link), names in counts.names("capture", "packets").items():
        told = _scoped(exported, origin, link)
        if told:
            total = ("accounted", names.get("accounted", 0))
            yield Equation("meter", f"{origin} {link}", "packets", total, _nonzero(told))


def _export(counts: Counts) -> Iterable[Equation]:
    exported: dict[Origin, int] = defaultdict(int)
    for (origin, _stream, _scope), value in counts.total("export", "exported", unit="flows").items():
        exported[origin] += value
    offered = counts.total("publish", "offered", unit="rows")
    for origin, flows in sorted(exported.items()):
        taken = sum(value for (who, stream, _), value in offered.items() if who == origin and stream == "flows")
        yield Equation("export", str(origin), "flows", ("exported", flows), (("offered", taken),))


def _publish(counts: Counts) -> Iterable[Equation]:
    for (origin, stream, _scope), names in counts.names("publish", "rows").items():
        total = ("offered", names.pop("offered", 0))
        if stream != _SELF:
            yield Equation("publish", f"{origin} {stream}", "rows", total, _nonzero(names))


def _commit(counts: Counts, held: Holdings) -> Iterable[Equation]:
    buried = _by_stream(counts.total("commit", "buried", unit="rows"))
    published = _by_stream(counts.total("publish", "published", unit="rows"))
    for stream, rows in sorted(published.items()):
        there = _rows_of(counts, held, stream)
        flying = rows - there - buried.get(stream, 0)
        parts = (("committed", there), ("buried", buried.get(stream, 0)), ("in_flight", flying))
        yield Equation("commit", stream, "rows", ("published", rows), parts)


def _bus(counts: Counts, held: Holdings, waiting: Mapping[str, int | None]) -> Iterable[Equation]:
    published = _by_stream(counts.total("publish", "published", unit="rows"))
    buried = _by_stream(counts.total("commit", "buried", unit="rows"))
    for stream, rows in sorted(published.items()):
        flying = rows - _rows_of(counts, held, stream) - buried.get(stream, 0)
        batches = waiting.get(stream)
        if batches is None:
            yield Equation("bus", stream, "rows", ("in_flight", 0), (), "the bus cannot be asked: not checked")
        elif batches == 0:
            yield Equation("bus", stream, "rows", ("in_flight", flying), (("waiting", 0),))
        else:
            note = f"{batches} batches wait for the committer"
            yield Equation("bus", stream, "rows", ("in_flight", flying), (("waiting", flying),), note)


def _rows_of(counts: Counts, held: Holdings, stream: str) -> int:
    """Rows in the table of the producers whose counters are there."""
    who = {
        (origin.node, origin.component, origin.epoch)
        for origin, at, _ in counts.names("publish", "rows")
        if at == stream
    }
    return sum(
        rows
        for (at, producer, epoch), rows in held.items()
        if at == stream and any(producer == producer_of(node, component) and epoch == e for node, component, e in who)
    )


def producer_of(node: str, component: str) -> str:
    """The name under which a component publishes: one of its kind on a node."""
    return f"{node}.{component}"


def _by_stream(values: Mapping[tuple[Origin, str, str], int]) -> dict[str, int]:
    summed: dict[str, int] = defaultdict(int)
    for (_, stream, _scope), value in values.items():
        if stream != _SELF:
            summed[stream] += value
    return summed


def _scoped(values: Mapping[tuple[Origin, str, str], dict[str, int]], origin: Origin, scope: str) -> dict[str, int]:
    return next((dict(names) for (who, _, at), names in values.items() if (who, at) == (origin, scope)), {})


def _nonzero(names: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple((name, value) for name, value in names.items() if value)


def _last(counters: pa.Table, before_ns: int) -> dict[Any, int]:
    """The last value of every counter before a moment."""
    if before_ns <= 0 or not counters.num_rows:
        return {}
    at = pc.cast(counters["timestamp"], pa.int64())
    seen = counters.filter(pc.less(at, before_ns)).sort_by("timestamp")
    last = seen.group_by(list(_KEY), use_threads=False).aggregate([("value", "last")])
    columns = [last[name].to_pylist() for name in (*_KEY, "value_last")]
    return {
        (Origin(node, component, epoch), stage, stream, scope, name, unit): value
        for node, component, epoch, stage, stream, scope, name, unit, value in zip(*columns, strict=True)
    }
