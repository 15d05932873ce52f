"""Windows of the loom as signals: what root cause analysis is told of a live system, from a bounded past.

Called by `services.anomalies.reasoning`. In: EDGE_WINDOWS and ENTITY_WINDOWS of one size as they come, an incident's
window, whom it is about. Out: `Observed`. Ends are those of `features`. Two choices, for windows know no requests:

- what an entity suffers is the lower median over its callers: what one caller alone meets is not the callee's doing
- callers that came with the incident say nothing about their callee: a scan is not the failure of whom it scans
"""

import collections
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts.errors import InputError
from loomidi.origami.causes.observations import CALLS, SIGNALS, Observed, Role, Window
from loomidi.origami.causes.placements import Placements
from loomidi.origami.features import edges_of

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_SUMS = ("flows", "failed", "octets", "response", "responses", "handshake", "handshakes")
EDGE_STEPS = pa.schema(
    [
        ("time_ns", pa.int64()),  # begin of the window
        ("source", pa.string()),
        ("destination", pa.string()),
        ("pod", pa.string()),  # the destination's, where the window knows it; empty for others
        *((name, pa.float64()) for name in _SUMS),  # response and handshake: s, times how many
    ]
)
SERVED = pa.schema(
    [("time_ns", pa.int64()), ("entity", pa.string()), *((name, pa.float64()) for name in ("s", "errors", "n"))]
)
MOST_ROWS = 400_000
STEPS = 360  # of the past, as `CauseSettings.past_steps`
_HOPS = 2
_MOST_EDGES = 400  # looked into for one answer, the busiest


class WindowSignals:
    """The last steps of a system, as sums of edges."""

    def __init__(self, most_rows: int = MOST_ROWS, steps: int = STEPS) -> None:
        """`most_rows`: edges times steps that are kept, about 120 octets each; the oldest steps make room."""
        self.counts = collections.Counter[str]()
        self._most_rows, self._steps = most_rows, steps
        self._edges, self._served = dict[int, list[pa.Table]](), dict[int, list[pa.Table]]()
        self._rows = 0

    def add(self, windows: pa.RecordBatch) -> None:
        """Aligned EDGE_WINDOWS of one size; a row that comes later than others of its window is added to them."""
        self._keep(self._edges, edge_steps(windows))

    def add_served(self, windows: pa.RecordBatch) -> None:
        """ENTITY_WINDOWS: what servers themselves say of their requests."""
        self._keep(self._served, served_steps(windows))

    def _keep(self, where: dict[int, list[pa.Table]], table: pa.Table) -> None:
        for at in sorted(pc.unique(table["time_ns"]).to_pylist()):
            where.setdefault(at, []).append(table.filter(pc.equal(table["time_ns"], at)))
        self._rows += table.num_rows
        while (self._rows > self._most_rows or len(self._edges) > self._steps) and len(self._edges) > 1:
            oldest = min((*self._edges, *self._served))
            gone = [*self._edges.pop(oldest, ()), *self._served.pop(oldest, ())]
            self._rows -= sum(one.num_rows for one in gone)
            self.counts["forgotten_steps"] += 1

    def observed(self, window: Window, about: Sequence[str], placements: Placements | None = None) -> Observed:
        """What is known of whom it is about and of those up to two calls away, until the window's end."""
        since = window.start_ns - self._steps * window.step_ns
        edges = _near(_within(self._edges, EDGE_STEPS, since, window.end_ns), about)
        times = np.array(sorted(at for at in self._edges if since <= at < window.end_ns), np.int64)
        grid = Grid(edges, times, window.start_ns)
        served = _within(self._served, SERVED, since, window.end_ns)
        signals = [*_edge_signals(grid), *_entity_signals(grid), *_served_signals(served, grid)]
        calls = pa.table([pa.array(grid.sources), pa.array(grid.destinations)], schema=CALLS)
        if placements is None:
            return Observed(pa.concat_tables([SIGNALS.empty_table(), *signals]), calls)
        signals += [*_node_signals(edges, grid, placements), placements.changes(grid.ends, times, window)]
        table = pa.concat_tables([SIGNALS.empty_table(), *signals])
        return Observed(table, calls, placements.places(grid.ends, window))

    def to_bytes(self) -> bytes:
        """For a snapshot."""
        sink = pa.BufferOutputStream()
        for where, schema in ((self._edges, EDGE_STEPS), (self._served, SERVED)):
            with pa.ipc.new_stream(sink, schema) as writer:
                writer.write_table(_within(where, schema, 0, 2**63 - 1))
        return bytes(sink.getvalue())

    def restore(self, state: bytes) -> None:
        """Go on from `to_bytes`. Raises InputError when it is none."""
        try:
            source = pa.BufferReader(state)
            edges, served = (pa.ipc.open_stream(source).read_all() for _ in "es")
            self._edges, self._served, self._rows = {}, {}, 0
            self._keep(self._edges, edges.cast(EDGE_STEPS))
            self._keep(self._served, served.cast(SERVED))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError("a snapshot of signals cannot be read; start anew without it") from error


def edge_steps(windows: pa.RecordBatch) -> pa.Table:
    """EDGE_WINDOWS summed over ports, by ends and the destination's pod."""
    ends = edges_of(windows)
    number = {name: _number(windows, name) for name in ("response_count", "handshake_count", "delta_flow_count")}
    pods = windows.column("destination")
    pods = pc.if_else(pc.starts_with(pods, "pod/"), pods, pa.scalar(""))
    values = {
        "flows": number["delta_flow_count"],
        "failed": _number(windows, "unanswered_flow_count") + _number(windows, "reset_flow_count"),
        "octets": _number(windows, "octet_delta_count"),
        "response": _number(windows, "response_p50_ns") * 1e-9 * number["response_count"],
        "responses": number["response_count"],
        "handshake": _number(windows, "handshake_p50_ns") * 1e-9 * number["handshake_count"],
        "handshakes": number["handshake_count"],
    }
    times = windows.column("window_start").cast(pa.int64())
    columns = [times, ends.column("source"), ends.column("destination"), pods, *map(pa.array, values.values())]
    return _summed(pa.table(columns, schema=EDGE_STEPS), ["time_ns", "source", "destination", "pod"])


def served_steps(windows: pa.RecordBatch) -> pa.Table:
    """ENTITY_WINDOWS of servers that tell requests: median, share of errors, how many; the mean over a workload."""
    told = windows.filter(pc.greater(pc.fill_null(windows.column("http_server_request_count"), 0), 0))
    count = _number(told, "http_server_request_count")
    entity = pc.coalesce(told.column("workload"), told.column("entity"))
    seconds = _number(told, "http_server_request_duration_p50_s") * count
    errors = pa.array(_number(told, "http_server_error_count"))
    columns = [told.column("window_start").cast(pa.int64()), entity, pa.array(seconds), errors, pa.array(count)]
    return _summed(pa.table(columns, schema=SERVED), ["time_ns", "entity"])


def _number(batch: pa.RecordBatch, name: str) -> F64:
    values: F64 = batch.column(name).cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False)
    return values


def _summed(table: pa.Table, keys: list[str]) -> pa.Table:
    """In the order of the keys, so that nothing depends on how rows came."""
    names = [name for name in table.column_names if name not in keys]
    summed = table.group_by(keys, use_threads=False).aggregate([(name, "sum") for name in names])
    ordered = summed.sort_by([(key, "ascending") for key in keys])
    return pa.table([ordered[key] for key in keys] + [ordered[f"{name}_sum"] for name in names], schema=table.schema)


def _within(where: dict[int, list[pa.Table]], schema: pa.Schema, since: int, until: int) -> pa.Table:
    tables = [one for at in sorted(where) if since <= at < until for one in where[at]]
    return pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()


def _near(edges: pa.Table, about: Sequence[str]) -> pa.Table:
    """Edges with both ends at most two calls from whom it is about; of more than a few hundred the busiest."""
    known = {*about}
    pairs = edges.group_by(["source", "destination"], use_threads=False).aggregate([("flows", "sum")])
    named = list(zip(pairs["source"].to_pylist(), pairs["destination"].to_pylist(), strict=True))
    for _ in range(_HOPS):
        known |= {end for pair in named if known & {*pair} for end in pair}
    flows = pairs["flows_sum"].to_pylist()
    inside = sorted((-many, pair) for pair, many in zip(named, flows, strict=True) if {*pair} <= known)
    mine = [one for one in inside if {*one[1]} & {*about}]  # those come first, whatever the others carry
    kept = {pair for _, pair in [*mine, *inside][:_MOST_EDGES]}
    chosen = [pair in kept for pair in zip(edges["source"].to_pylist(), edges["destination"].to_pylist(), strict=True)]
    return edges.filter(pa.array(chosen, pa.bool_()))


class Grid:
    """Sums of each step (rows) and pair of ends (columns), with a zero where nothing passed."""

    def __init__(self, edges: pa.Table, times: I64, start_ns: int) -> None:
        """`start_ns`: pairs that met before it are `established`."""
        keys = pc.binary_join_element_wise(edges["source"], edges["destination"], "\x1f").combine_chunks()
        words = sorted(pc.unique(keys).to_pylist())
        self.times = times
        self.pairs = [(source, destination) for source, _, destination in (word.partition("\x1f") for word in words)]
        at = np.searchsorted(times, edges["time_ns"].to_numpy())
        column = pc.index_in(keys, value_set=pa.array(words, pa.string())).to_numpy(zero_copy_only=False)
        cell, shape = at * max(1, len(words)) + column.astype(np.int64), (len(times), len(words))
        sums = {name: np.bincount(cell, edges[name].to_numpy(), shape[0] * shape[1]) for name in _SUMS}
        self._sums: dict[str, F64] = {name: of.reshape(shape).astype(np.float64) for name, of in sums.items()}
        before = self["flows"][times < start_ns] > 0
        self.established: npt.NDArray[np.bool_] = np.asarray(before.any(axis=0), np.bool_)

    def __getitem__(self, name: str) -> F64:
        return self._sums[name]

    @property
    def sources(self) -> list[str]:
        """Of each pair."""
        return [pair[0] for pair in self.pairs]

    @property
    def destinations(self) -> list[str]:
        """Of each pair."""
        return [pair[1] for pair in self.pairs]

    @property
    def ends(self) -> list[str]:
        """All of them, once."""
        return sorted({end for pair in self.pairs for end in pair})

    def into(self, end: str) -> list[int]:
        """The pairs that lead to it."""
        return [at for at, pair in enumerate(self.pairs) if pair[1] == end]


def _signal(
    grid: Grid, names: tuple[Sequence[str], Sequence[str]], what: tuple[str, Role], values: F64, samples: F64
) -> pa.Table:
    """Of steps times entities (and peers), where a value is there."""
    step, column = np.nonzero(np.isfinite(values))
    entity, peer = (pa.array(list(one), pa.string()).take(pa.array(column)) for one in names)
    texts = [pa.array([text], pa.string()).take(pa.array(np.zeros(len(step), np.int64))) for text in what]
    numbers = [pa.array(of[step, column]) for of in (values, samples)]
    return pa.table([pa.array(grid.times[step]), entity, peer, *texts, *numbers], schema=SIGNALS)


def _mean(total: F64, count: F64) -> F64:
    """Missing where there is none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: F64 = np.where(count > 0, total / count, np.nan)
    return found


def _edge_signals(grid: Grid) -> Iterable[pa.Table]:
    """How long the caller waits; what the network alone takes (a kernel answers a SYN at once); calls a request."""
    ends = (grid.sources, grid.destinations)
    yield _signal(grid, ends, ("response", Role.CLIENT), _mean(grid["response"], grid["responses"]), grid["responses"])
    shaken = _mean(grid["handshake"], grid["handshakes"])
    yield _signal(grid, ends, ("handshake", Role.CLIENT), shaken, grid["handshakes"])
    yield _signal(grid, ends, ("handshake", Role.SERVER), shaken * 0, grid["handshakes"])
    asked = np.ones_like(grid["flows"])
    for at, source in enumerate(grid.sources):
        asked[:, at] = np.maximum(grid["flows"][:, grid.into(source)].sum(axis=1), 1.0)
    yield _signal(grid, ends, ("calls", Role.CALLS), grid["flows"] / asked, asked)
    yield from _behaviour_signals(grid, asked)


def _behaviour_signals(grid: Grid, asked: F64) -> Iterable[pa.Table]:
    """What a source does for each request to it, or in each step where nobody asks it: its own way to behave."""
    names = sorted({*grid.sources})
    mine = [[at for at, source in enumerate(grid.sources) if source == name] for name in names]
    if not names:
        return
    ends, load = (names, [""] * len(names)), np.stack([asked[:, some[0]] for some in mine], axis=1)
    for what, values in (
        ("calls begun", grid["flows"]),
        ("destinations", (grid["flows"] > 0).astype(float)),
        ("octets sent", grid["octets"]),
    ):
        total = np.stack([values[:, some].sum(axis=1) for some in mine], axis=1)
        yield _signal(grid, ends, (what, Role.BRANCH), total / load, load)


def _entity_signals(grid: Grid) -> Iterable[pa.Table]:
    """Latency and failures as most of the usual callers meet them, and the load."""
    names = sorted({*grid.destinations})
    mine = {name: grid.into(name) for name in names}
    slow, failed = _mean(grid["response"], grid["responses"]), _mean(grid["failed"], grid["flows"])
    failed = np.minimum(failed, 1.0)
    columns = [[at for at in mine[name] if grid.established[at]] for name in names]
    ends = (names, [""] * len(names))
    if not names:
        return
    load = np.stack([grid["flows"][:, mine[name]].sum(axis=1) for name in names], axis=1)
    told = np.stack([grid["responses"][:, some].sum(axis=1) for some in columns], axis=1)
    yield _signal(grid, ends, ("response", Role.LATENCY), _middles(slow, columns), told)
    yield _signal(grid, ends, ("failed", Role.ERRORS), _middles(failed, columns), load)
    yield _signal(grid, ends, ("flows", Role.TRAFFIC), load, load)


def _middles(values: F64, columns: list[list[int]]) -> F64:
    """The lower median over each group of columns, missing ones left out."""
    return np.stack([_middle(values[:, some]) for some in columns], axis=1)


def _middle(values: F64) -> F64:
    there = np.isfinite(values).sum(axis=1)
    padded = np.concatenate([np.sort(values, axis=1), np.full((len(values), 1), np.nan)], axis=1)
    found: F64 = np.where(there > 0, padded[np.arange(len(values)), np.maximum(there - 1, 0) // 2], np.nan)
    return found


def _served_signals(served: pa.Table, grid: Grid) -> Iterable[pa.Table]:
    """What servers measure themselves; beside each caller's wait it shows what is lost between the two."""
    names = sorted({*served["entity"].to_pylist()} & {*grid.destinations})
    place = {name: at for at, name in enumerate(names)}
    sums = {name: np.zeros((len(grid.times), len(names))) for name in ("s", "errors", "n")}
    steps = {int(at): row for row, at in enumerate(grid.times)}
    for row in served.to_pylist():
        if row["entity"] in place and row["time_ns"] in steps:
            for name, of in sums.items():
                of[steps[row["time_ns"]], place[row["entity"]]] += row[name]
    if not names:
        return
    seconds, ends = _mean(sums["s"], sums["n"]), (names, [""] * len(names))
    yield _signal(grid, ends, ("http", Role.LATENCY), seconds, sums["n"])
    yield _signal(grid, ends, ("http failed", Role.ERRORS), _mean(sums["errors"], sums["n"]), sums["n"])
    told = [at for at, name in enumerate(grid.destinations) if name in place]
    pairs = ([grid.sources[at] for at in told], [grid.destinations[at] for at in told])
    theirs = [place[name] for name in pairs[1]]
    yield _signal(grid, pairs, ("response", Role.SERVER), seconds[:, theirs], sums["n"][:, theirs])


def _node_signals(edges: pa.Table, grid: Grid, placements: Placements) -> Iterable[pa.Table]:
    """A node fails as its workloads fail: the lower median over those on it, of two at least."""
    usual = {pair for at, pair in enumerate(grid.pairs) if grid.established[at]}
    sums: dict[tuple[str, int], dict[str, tuple[float, float]]] = {}
    columns = ("time_ns", "source", "destination", "pod", "flows", "failed")
    for time, source, destination, pod, *counts in zip(*(edges[name].to_pylist() for name in columns), strict=True):
        node = placements.node(pod) if pod else ""
        if node and (source, destination) in usual and counts[0] > 0:
            at = sums.setdefault((node, time), {})
            flows, failed = at.get(destination, (0.0, 0.0))
            at[destination] = flows + counts[0], failed + counts[1]
    nodes = sorted({node for node, _ in sums})
    values, samples = np.full((len(grid.times), len(nodes)), np.nan), np.zeros((len(grid.times), len(nodes)))
    steps = {int(at): row for row, at in enumerate(grid.times)}
    for (node, time), workloads in sums.items():
        if len(workloads) > 1:
            shares = sorted(min(1.0, failed / flows) for flows, failed in workloads.values())
            cell = steps[time], nodes.index(node)
            values[cell] = shares[(len(shares) - 1) // 2]
            samples[cell] = sum(flows for flows, _ in workloads.values())
    yield _signal(grid, (nodes, [""] * len(nodes)), ("failing workloads", Role.RESOURCE), values, samples)
