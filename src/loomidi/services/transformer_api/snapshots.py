"""A snapshot as it was handed in: nodes, edges, what was measured, as Arrow.

Called by `asking`. In: `graph_snapshot` of a body. Out: a frozen `Snapshot`, or reasons. An edge has the names of a row
of EDGE_WINDOWS, so that rows of the lake can be handed in as they are; columns that are not read are told as ignored.
"""

import dataclasses
import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from loomidi.contracts.schemas import EDGE_WINDOWS, FLOW_SUMS
from loomidi.origami.causes import CALLS, PLACES, SIGNALS, Observed, Role, Window
from loomidi.services.transformer_api.fields import MOST_NS, Field, Reasons, checked_rows

MOST_EDGES, MOST_NODES, MOST_SIGNALS, MOST_STEPS = 10_000, 10_000, 5_000, 100
_STEP_NS = 60_000_000_000

NODE: Mapping[str, Field] = {
    "id": Field("name", needed=True),
    "address": Field("address"),
    "workload": Field("name"),
    "host": Field("name"),
}
EDGE: Mapping[str, Field] = {
    "source": Field("name", needed=True),
    "destination": Field("name", needed=True),
    "destination_service": Field("name"),
    "source_workload": Field("name"),
    "destination_workload": Field("name"),
    "destination_transport_port": Field("whole", 65_535),
    "protocol_identifier": Field("whole", 255),
    **{name: Field("whole") for name in FLOW_SUMS},
    "source_transport_port_entropy": Field("number", 64),
    "flow_start_gap_count": Field("whole"),
    "flow_start_gap_mean_ns": Field("number"),
    "flow_start_gap_variation": Field("number"),
    "handshake_p50_ns": Field("number"),
    "response_p50_ns": Field("number"),
    "new_peer": Field("flag"),
}
SIGNAL: Mapping[str, Field] = {
    "time_ns": Field("whole", MOST_NS, needed=True),
    "entity": Field("name", needed=True),
    "peer": Field("name"),
    "signal": Field("name", needed=True),
    "role": Field("choice", needed=True, choices=tuple(role.value for role in Role)),
    "value": Field("number", needed=True, least=-1e15),
    "samples": Field("number"),
}
WINDOW: Mapping[str, Field] = {
    "start_ns": Field("whole", MOST_NS, needed=True),
    "end_ns": Field("whole", MOST_NS, needed=True),
    "step_ns": Field("whole", 86_400 * 10**9, least=1_000_000),
}
TOP: Mapping[str, Field] = {"at_ns": Field("whole", MOST_NS), "window_size_s": Field("whole", 86_400, least=1)}
_LIKE_ADDRESS = re.compile(r"[0-9a-fA-F]*[:.][0-9a-fA-F:.]*")
_ARRAYS = ("nodes", "edges", "signals")


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """Who talks to whom, in one window."""

    at_ns: int  # end of the window; 0: not told
    window_s: float
    windows: pa.RecordBatch  # EDGE_WINDOWS
    addresses: Mapping[str, str]  # node -> its address
    observed: Observed | None  # latencies and errors, for causes
    window: Window | None  # in which something may be wrong
    digest: str  # of the content
    ignored: tuple[str, ...]  # names of fields that say nothing here
    notes: tuple[str, ...] = ()  # what could not be done with it


def snapshot(given: Any, reasons: Reasons) -> Snapshot | None:
    """None: there are reasons."""
    if not isinstance(given, dict):
        reasons.add("graph_snapshot must be an object")
        return None
    before = len(reasons)
    for name, field in TOP.items():
        if why := field.wrong(given.get(name)):
            reasons.add(f"graph_snapshot.{name} {why}")
    nodes = checked_rows(given.get("nodes", []), "graph_snapshot.nodes", NODE, MOST_NODES, reasons)
    edges = checked_rows(given.get("edges", []), "graph_snapshot.edges", EDGE, MOST_EDGES, reasons)
    signals = checked_rows(given.get("signals", []), "graph_snapshot.signals", SIGNAL, MOST_SIGNALS, reasons)
    window = _window(given["window"], reasons) if "window" in given else None
    if not edges and len(reasons) == before:
        reasons.add("graph_snapshot.edges is missing or empty: say who talks to whom")
    if len(reasons) > before:
        return None
    at_ns, window_s = int(given.get("at_ns") or 0), int(given.get("window_size_s") or 60)
    made, notes = _observed(signals, edges, nodes, window)
    return Snapshot(
        at_ns=at_ns,
        window_s=float(window_s),
        windows=_windows(edges, nodes, at_ns, window_s),
        addresses={_named(str(node["id"])): str(node["address"]) for node in nodes if node.get("address")},
        observed=made,
        window=window if made is not None else None,
        digest=hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest(),
        ignored=_ignored(given, nodes, edges, signals),
        notes=notes,
    )


def _window(given: Any, reasons: Reasons) -> Window | None:
    rows = checked_rows([given], "graph_snapshot.window", WINDOW, 1, reasons)
    if not rows:
        return None
    return Window(int(rows[0]["start_ns"]), int(rows[0]["end_ns"]), int(rows[0].get("step_ns") or _STEP_NS))


def _observed(
    signals: Sequence[Mapping[str, Any]],
    edges: Sequence[Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    window: Window | None,
) -> tuple[Observed | None, tuple[str, ...]]:
    """What root causes are looked for in; None, with the reason, where that makes no sense."""
    if not signals:
        return None, ()
    if window is None:
        return None, ("no causes: graph_snapshot.window does not say when something was wrong",)
    steps = -(-(window.end_ns - window.start_ns) // window.step_ns)
    if not 1 <= steps <= MOST_STEPS:
        return None, (f"no causes: graph_snapshot.window has {steps:,} steps, 1 to {MOST_STEPS} can be looked at",)
    rows = [{name: row.get(name) for name in SIGNALS.names} | {"time_ns": int(row["time_ns"])} for row in signals]
    peers = [row | {"peer": row["peer"] or ""} for row in rows]
    calls = sorted({(str(edge["source"]), str(edge["destination"])) for edge in edges})
    places = [{"entity": node["id"], "host": node["host"]} for node in nodes if node.get("host")]
    made = Observed(
        signals=pa.Table.from_pylist(peers, SIGNALS),
        calls=pa.Table.from_pylist([{"caller": caller, "callee": callee} for caller, callee in calls], CALLS),
        places=pa.Table.from_pylist(places, PLACES),
    )
    return made, ()


def _windows(
    edges: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]], at_ns: int, window_s: int
) -> pa.RecordBatch:
    """Columns that nobody gave are 0 where they count and null elsewhere."""
    workloads = {_named(str(node["id"])): node["workload"] for node in nodes if node.get("workload")}
    rows = [_row(edge, workloads) for edge in edges]
    times = {"window_start": at_ns - window_s * 10**9, "window_end": at_ns}
    same: dict[str, Any] = {"window_size_s": window_s, "window_aligned": True, **times}
    columns = []
    for field in EDGE_WINDOWS:
        default = same.get(field.name, None if field.nullable else 0)
        column = [row.get(field.name, default) for row in rows]
        columns.append(_column(column, field))
    return pa.RecordBatch.from_arrays(columns, schema=EDGE_WINDOWS)


def _column(values: list[Any], field: pa.Field) -> pa.Array:
    if pa.types.is_timestamp(field.type):
        return pa.array(values, pa.int64()).cast(field.type)
    if pa.types.is_integer(field.type):
        return pa.array([None if value is None else int(value) for value in values], field.type)
    if pa.types.is_boolean(field.type):
        return pa.array([bool(value) for value in values], field.type)
    return pa.array(values, field.type)


def _row(edge: Mapping[str, Any], workloads: Mapping[str, Any]) -> dict[str, Any]:
    """An edge with the ratios that follow from its counts, as docs/windows.md defines them."""
    row = {name: edge[name] for name in EDGE if edge.get(name) is not None}
    flows = row.setdefault("delta_flow_count", 1)
    row.setdefault("flow_record_count", flows)
    completed = row.setdefault("original_flows_completed", flows)
    for end in ("source", "destination"):
        row[end] = _named(row[end])
        row.setdefault(f"{end}_workload", workloads.get(row[end]))
    row["unanswered_ratio"] = _part(row.get("unanswered_flow_count", 0), completed)
    row["reset_ratio"] = _part(row.get("reset_flow_count", 0), flows)
    row["refused_ratio"] = _part(row.get("refused_flow_count", 0), flows)
    return row


def _named(name: str) -> str:
    """An address in its shortest form; what only looks like one is marked as a name, for it is in no network."""
    if not _LIKE_ADDRESS.fullmatch(name):
        return name
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return f"entity/{name}"


def _part(some: float, all_: float) -> float | None:
    return min(some / all_, 1.0) if all_ else None


def _ignored(given: Mapping[str, Any], *arrays: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    known = {*_ARRAYS, "window", *TOP}
    names = {name for name in given if name not in known}
    for where, rows, fields in zip(_ARRAYS, arrays, (NODE, EDGE, SIGNAL), strict=True):
        names |= {f"{where}.{name}" for row in rows for name in row if name not in fields}
    return tuple(sorted(name[:80] for name in names))[:50]
