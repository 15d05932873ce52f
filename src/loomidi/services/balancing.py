"""The loss balance from NIC to table, over a range of time, from the counters that lie in the lake themselves.

Called by `accounting`. In: rows of the schema `COUNTERS`, what the lake holds of each run of a producer, what the bus
still has. Out: equations, each with both sides and whether it holds. Pure. The chain, by number:

    1 capture   received = every other name that the link counts                          packets, each link
    2 meter     accounted = exported in flows + in flows still open                       packets, each link
    3 export    flows exported = offered to the publisher                                 rows, each component
    4 publish   offered = published + spilled + sampled_out + waiting + dropped ...       rows, each stream
    5 spool     spilled = recovered + in the spool + rotten + what the bus will not take  rows, each stream
    6 commit    published and recovered = in the table + buried + in flight               rows, each stream
    7 bus       in flight is what the bus still holds for the committer: nothing when nothing waits
    8 table     rows that its runs gave = rows that it holds: nothing twice               rows, each table
    9 judge     windows read = learned from + scored + waiting                            rows, each component

Counters grow within (node, component, epoch); a range takes the last value before its end less the last before its
start, so that gauges (open, waiting, spool) enter by how much they changed. What a process published after its last
count, before it was killed, is in the table and in no counter: it is told as `untold`, it is no loss. What its spool
took or gave after that count is known from what the next run `found` there; what must have been recovered is asked of
the table like all that was.
"""

import dataclasses
from collections import Counter, defaultdict
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
        return self.producer

    @property
    def producer(self) -> str:
        """The name under which it publishes."""
        return f"{self.node}.{self.component}"


_Place = tuple[Origin, str, str]  # origin, stream, scope
_Spools = dict[tuple[str, str], Counter[str]]  # (component, stream) -> name -> rows
_Counter = tuple[Origin, str, str, str, str, str]  # origin, stage, stream, scope, name, unit


Holdings = Mapping[tuple[str, str, int], int]
"""(stream, producer, epoch) -> rows that the table holds of that run of a producer."""

_SPOOLED = ("recovered", "spool", "spool_refused", "spool_rotten")
_BESIDE = ("lowered", "found", *_SPOOLED)  # told beside what became of an offered row
_LEVELS = ("open", "waiting", "spool")  # what is there now, not what has come so far
_SELF = Stream.COUNTERS  # its own rows are told by the next ones, so that it never adds up at a moment


@dataclasses.dataclass(frozen=True, slots=True)
class Equation:
    """One link of the chain at one place."""

    stage: str  # capture, meter, export, publish, spool, commit, bus, table, judge
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
        """Exactly, and no part below nothing but what may have become less within a range."""
        return self.off == 0 and all(value >= 0 or name in _LEVELS for name, value in self.parts)

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
        counted = any(equation.stage != "table" for equation in self.equations)
        return counted and all(equation.holds for equation in self.equations)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "since_ns": self.since_ns,
            "until_ns": self.until_ns,
            "adds_up": self.adds_up,
            "equations": [equation.as_dict() for equation in self.equations],
        }


class Counts:
    """The last value of every counter before a moment, or how much they changed."""

    def __init__(self, counters: pa.Table | None, before_ns: int = 0) -> None:
        self._values = _last(counters, before_ns) if counters is not None else {}

    def less(self, before: "Counts") -> "Counts":
        """The change since."""
        change = Counts(None)
        change._values = {key: value - before._values.get(key, 0) for key, value in self._values.items()}
        return change

    def names(self, stage: str, unit: str) -> dict[_Place, dict[str, int]]:
        """(origin, stream, scope) -> name -> value."""
        found: dict[_Place, dict[str, int]] = defaultdict(dict)
        for (origin, at, stream, scope, name, of), value in self._values.items():
            if (at, of) == (stage, unit):
                found[origin, stream, scope][name] = value
        return dict(sorted(found.items()))


@dataclasses.dataclass(frozen=True, slots=True)
class Elsewhere:
    """What is known without the counters."""

    held: Holdings
    waiting: Mapping[str, int | None]  # stream -> batches that the committer has not taken; None, absent: unknown
    rows: Mapping[str, int]  # table -> rows in its files


def chain(counters: pa.Table, elsewhere: Elsewhere, *, since_ns: int = 0, until_ns: int) -> Chain:
    """Steps 1 to 9."""
    ends, starts = Counts(counters, until_ns), Counts(counters, since_ns)
    counts = ends.less(starts)
    spools = _spools(ends), _spools(starts)
    steps: Sequence[Callable[[], Iterable[Equation]]] = (
        lambda: _capture(counts),  # 1
        lambda: _meter(counts),  # 2
        lambda: _export(counts),  # 3
        lambda: _publish(counts),  # 4
        lambda: _spool(*spools),  # 5
        lambda: _commit((ends, starts), spools, elsewhere),  # 6, 7
        lambda: _table(elsewhere),  # 8
        lambda: _judge(counts),  # 9
    )
    return Chain(tuple(equation for step in steps for equation in step()), since_ns, until_ns)


def _capture(counts: Counts) -> Iterable[Equation]:
    for (origin, _stream, link), names in counts.names("capture", "packets").items():
        total = names.pop("received", 0)
        yield Equation("capture", f"{origin} {link}", "packets", ("received", total), _nonzero(names))


def _meter(counts: Counts) -> Iterable[Equation]:
    exported = {(who, at): names for (who, _, at), names in counts.names("export", "packets").items()}
    for (origin, _stream, link), names in counts.names("capture", "packets").items():
        told = exported.get((origin, link))
        if told is not None:
            total = ("accounted", names.get("accounted", 0))
            yield Equation("meter", f"{origin} {link}", "packets", total, _nonzero(told))


def _export(counts: Counts) -> Iterable[Equation]:
    exported: dict[Origin, int] = defaultdict(int)
    for (origin, _stream, _scope), names in counts.names("export", "flows").items():
        exported[origin] += names.get("exported", 0)
    offered = counts.names("publish", "rows")
    for origin, flows in sorted(exported.items()):
        taken = sum(
            names.get("offered", 0) for (who, at, _), names in offered.items() if (who, at) == (origin, "flows")
        )
        yield Equation("export", str(origin), "flows", ("exported", flows), (("offered", taken),))


def _publish(counts: Counts) -> Iterable[Equation]:
    for (origin, stream, _scope), names in counts.names("publish", "rows").items():
        parts = {name: value for name, value in names.items() if name not in (*_BESIDE, "offered")}
        if stream != _SELF:
            yield Equation(
                "publish", f"{origin} {stream}", "rows", ("offered", names.get("offered", 0)), _nonzero(parts)
            )


def _spool(ends: _Spools, starts: _Spools) -> Iterable[Equation]:
    for (who, stream), until in sorted(ends.items()):
        names = until.copy()
        names.subtract(starts.get((who, stream), {}))
        if any(names.values()):
            total = ("spilled", names["spilled"] + names["spilled_untold"])
            untold = names["spilled_untold"]
            note = f"{untold} of them after a run's last count: the next one found them" if untold else ""
            parts = _nonzero({name: names[name] for name in (*_SPOOLED, "recovered_untold")})
            yield Equation("spool", f"{who} {stream}", "rows", total, parts, note)


def _spools(counts: Counts) -> _Spools:
    """(component, stream) -> the spool's counts over all its runs.

    Between the last count of a run and its end a spool may have taken or given rows: the next run finds more in it, or
    less, than was told. Of those they are `spilled_untold` or `recovered_untold`.
    """
    runs: dict[str, dict[int, dict[str, dict[str, int]]]] = defaultdict(lambda: defaultdict(dict))
    for (origin, stream, _scope), names in counts.names("publish", "rows").items():
        runs[str(origin)][origin.epoch][stream] = names
    summed: _Spools = {}
    for who, of in runs.items():
        for stream in {stream for streams in of.values() for stream in streams} - {_SELF}:
            summed[who, stream] = _handed_on([of[epoch].get(stream, {}) for epoch in sorted(of)])
    return summed


def _handed_on(runs: Sequence[Mapping[str, int]]) -> Counter[str]:
    """One stream's spool through the runs, the oldest first."""
    summed, left = Counter[str](), 0
    for names in runs:
        gap = names.get("found", 0) - left
        summed["spilled_untold" if gap > 0 else "recovered_untold"] += abs(gap)
        summed.update({name: names.get(name, 0) for name in ("spilled", *_SPOOLED) if name != "spool"})
        left = names.get("spool", 0)
    summed["spool"] = left
    return summed


def _commit(counts: tuple[Counts, Counts], spools: tuple[_Spools, _Spools], elsewhere: Elsewhere) -> Iterable[Equation]:
    ends, starts = counts
    streams = {stream for _, stream, _ in ends.names("publish", "rows")} - {_SELF}
    given, given_before = map(_recovered, spools)
    for stream in sorted(streams):
        told, there, untold = _arrived(ends, elsewhere.held, stream, given[stream])
        before, there_before, _ = _arrived(starts, elsewhere.held, stream, given_before[stream])
        buried = _buried(ends, stream) - _buried(starts, stream)
        rows, arrived = told - before, there - there_before
        flying = rows - arrived - buried
        parts = _nonzero({"committed": arrived, "buried": buried, "in_flight": flying})
        note = f"and {untold} untold: published after a run's last count, in the table" if untold else ""
        yield Equation("commit", stream, "rows", ("published", rows), parts, note)
        yield _bus(stream, flying, elsewhere.waiting.get(stream))


def _bus(stream: str, flying: int, batches: int | None) -> Equation:
    if batches is None:
        return Equation("bus", stream, "rows", ("in_flight", flying), (("unchecked", flying),), "the bus was not asked")
    if batches == 0:
        return Equation("bus", stream, "rows", ("in_flight", flying), (("waiting", 0),))
    return Equation("bus", stream, "rows", ("in_flight", flying), (("waiting", flying),), f"{batches} batches wait")


def _table(elsewhere: Elsewhere) -> Iterable[Equation]:
    given: dict[str, int] = defaultdict(int)
    for (stream, _producer, _epoch), rows in elsewhere.held.items():
        given[stream] += rows
    for stream, rows in sorted(elsewhere.rows.items()):
        yield Equation("table", stream, "rows", ("given", given[stream]), (("in_files", rows),))


def _judge(counts: Counts) -> Iterable[Equation]:
    for (origin, stream, _scope), names in counts.names("judge", "rows").items():
        total = names.pop("read", 0)
        yield Equation("judge", f"{origin} {stream}", "rows", ("read", total), _nonzero(names))


def _recovered(spools: _Spools) -> Counter[str]:
    """Stream -> rows that spools have given to the bus, told or not."""
    rows = Counter[str]()
    for (_, stream), names in spools.items():
        rows[stream] += names["recovered"] + names["recovered_untold"]
    return rows


def _arrived(counts: Counts, held: Holdings, stream: str, recovered: int) -> tuple[int, int, int]:
    """Rows told as published or recovered, those of them in the table, and rows there that no counter tells.

    Run by run, so that what one run did not count cannot hide what another lost; rows under a key outlive their run
    and are taken together.
    """
    told: dict[tuple[str, int], int] = defaultdict(int)
    for (origin, at, _scope), names in counts.names("publish", "rows").items():
        if at == stream:
            told[_run(origin.producer, origin.epoch)] += names.get("published", 0)
    there: dict[tuple[str, int], int] = defaultdict(int)
    producers = {producer for producer, _ in told}
    for (at, producer, epoch), rows in held.items():
        if at == stream and producer in producers:
            there[_run(producer, epoch)] += rows
    met = sum(min(rows, there[run]) for run, rows in told.items())
    beyond = sum(there.values()) - met
    return sum(told.values()) + recovered, met + min(recovered, beyond), beyond - min(recovered, beyond)


def _run(producer: str, epoch: int) -> tuple[str, int]:
    return producer, 0 if producer.endswith("-keyed") else epoch


def _buried(counts: Counts, stream: str) -> int:
    rows = counts.names("commit", "rows")
    return sum(names.get("buried", 0) for (_, at, _), names in rows.items() if at == stream)


def _nonzero(names: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple((name, value) for name, value in names.items() if value)


def _last(counters: pa.Table, before_ns: int) -> dict[_Counter, int]:
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
