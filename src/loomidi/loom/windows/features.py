"""Panes as rows of windows: the visible lists of operators, each a group of columns.

Called by `closing`. In: a `Pane`, the memory of peers, a window. Out: EDGE_WINDOWS and ENTITY_WINDOWS, sorted by key.
Every operator is a function from the window's seconds to polars expressions over columns that are there already;
docs/windows.md defines each column. Every input is an integer, so each float is computed once, from exact sums.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from loomidi.contracts.schemas import EDGE_WINDOWS, ENTITY_WINDOWS
from loomidi.loom.windows import requests
from loomidi.loom.windows.panes import BITS, Pane, weighed
from loomidi.loom.windows.peers import PAIR, newly
from loomidi.loom.windows.projecting import SUMS
from loomidi.loom.windows.samples import Samples, joined, quantiles

Operator = Callable[[float], list[pl.Expr]]


class Window(NamedTuple):
    """When."""

    start_ns: int
    size_s: int

    @property
    def end_ns(self) -> int:
        return self.start_ns + self.size_s * 10**9

    @property
    def aligned(self) -> bool:
        """Whether it is one of the tumbling series."""
        return self.start_ns % (self.size_s * 10**9) == 0


def _share(part: str, *whole: str) -> pl.Expr:
    """Between 0 and 1; null where the whole is 0."""
    total = pl.sum_horizontal(whole)
    return pl.when(total > 0).then(pl.col(part) / total)


def rates(seconds: float) -> list[pl.Expr]:
    """Per second of the window."""
    return [
        (pl.col("delta_flow_count") / seconds).alias("flows_per_second"),
        ((pl.col("packet_delta_count") + pl.col("reverse_packet_delta_count")) / seconds).alias("packets_per_second"),
        ((pl.col("octet_delta_count") + pl.col("reverse_octet_delta_count")) / seconds).alias("octets_per_second"),
    ]


def balances(_: float) -> list[pl.Expr]:
    """Which way the octets went."""
    return [
        _share("octet_delta_count", "octet_delta_count", "reverse_octet_delta_count").alias("octet_ratio"),
        _share("payload_octet_count", "payload_octet_count", "reverse_payload_octet_count").alias("payload_ratio"),
    ]


def errors(_: float) -> list[pl.Expr]:
    """How flows failed."""
    return [
        _share("unanswered_flow_count", "original_flows_completed").alias("unanswered_ratio"),
        _share("reset_flow_count", "delta_flow_count").alias("reset_ratio"),
        _share("refused_flow_count", "delta_flow_count").alias("refused_ratio"),
    ]


def dispersion(_: float) -> list[pl.Expr]:
    """Whether source ports change."""
    count = pl.col("source_port_count")
    entropy = pl.when(count > 0).then(pl.col("source_port_term") / (count * float(1 << BITS)))
    return [entropy.alias("source_transport_port_entropy")]


def periodicity(_: float) -> list[pl.Expr]:
    """Whether flows begin at regular times."""
    count, total = pl.col("gap_count"), pl.col("gap_us").cast(pl.Float64)
    mean = total / count
    spread = (pl.col("gap_square_us") - total * mean).clip(lower_bound=0.0) / (count - 1)
    return [
        count.alias("flow_start_gap_count"),
        pl.when(count > 0).then(mean * 1000.0).alias("flow_start_gap_mean_ns"),
        pl.when((count > 1) & (mean > 0)).then(spread.sqrt() / mean).alias("flow_start_gap_variation"),
    ]


EDGE_OPERATORS: tuple[Operator, ...] = (rates, balances, errors, dispersion, periodicity)
"""What is told of an edge beside its sums, its latencies and whether its ends are new to each other."""

ROLE_OPERATORS: tuple[Operator, ...] = (rates, balances, errors)
"""What is told of an entity in each of its two roles beside its sums, peers and ports."""

ENTITY_COUNTS = {field.name: not field.nullable for field in ENTITY_WINDOWS if field.type == pa.uint64()}
_ROLES = {"client": ("source", "destination"), "server": ("destination", "source")}


def edge_windows(pane: Pane, peers: pl.DataFrame, window: Window) -> pa.RecordBatch:
    """One row for each edge, in the order of the keys."""
    edges = pane.edges
    for operator in EDGE_OPERATORS:
        edges = edges.with_columns(operator(float(window.size_s)))
    columns = {
        "new_peer": newly(peers, edges, window.start_ns),
        **_latencies("handshake", pane.handshake, len(edges)),
        **_latencies("response", pane.response, len(edges)),
    }
    return _finished(edges.with_columns(values.alias(name) for name, values in columns.items()), window, EDGE_WINDOWS)


def entity_windows(pane: Pane, peers: pl.DataFrame, window: Window) -> pa.RecordBatch:
    """One row for each entity that was a client or a server, or told of HTTP requests; in the order of names."""
    pairs = pane.edges.select(PAIR).unique()
    pairs = pairs.with_columns(newly(peers, pairs, window.start_ns).alias("new_peer"))
    sides = [_side(pane.edges, pairs, role, window) for role in _ROLES]
    http = requests.features(pane.requests)
    names = pl.concat([*(side.select("entity") for side in sides), http.select("entity")]).unique().sort("entity")
    found = names
    for side in (*sides, http):
        found = found.join(side, on="entity", how="left", maintain_order="left")
    counts = [name for name in found.columns if ENTITY_COUNTS.get(name)]
    workloads = (pl.col("client_workload"), pl.col("server_workload"))
    found = found.with_columns(pl.max_horizontal(*workloads).alias("workload")).drop(
        "client_workload", "server_workload"
    )
    found = found.with_columns(pl.col(counts).fill_null(0))
    return _finished(found.with_columns(*_served(pane, found["entity"])), window, ENTITY_WINDOWS)


def _served(pane: Pane, entities: pl.Series) -> list[pl.Series]:
    """How fast each entity answered, over all its edges."""
    rows = entities.to_frame().with_row_index("row")
    found = pane.edges.select(entity="destination").join(rows, on="entity", how="left", maintain_order="left")
    new = found["row"].to_numpy().astype(np.int64)
    columns = dict[str, pl.Series]()
    for name, some in (("handshake", pane.handshake), ("response", pane.response)):
        together = joined(some.renumbered(new))
        columns |= _latencies(f"server_{name}", together, len(entities))
    return [values.alias(name) for name, values in columns.items()]


def _side(edges: pl.DataFrame, pairs: pl.DataFrame, role: str, window: Window) -> pl.DataFrame:
    """All entities in one role: sums, ratios, peers and ports, each name with the role before it."""
    me, peer = _ROLES[role]
    side = edges.group_by(me).agg(
        pl.col(f"{me}_workload").max().alias("workload"),
        pl.col(SUMS).sum(),
    )
    for operator in ROLE_OPERATORS:
        side = side.with_columns(operator(float(window.size_s)))
    fresh = pairs.group_by(me).agg(pl.col("new_peer").sum().cast(pl.Int64).alias("new_peer_count"))
    side = side.join(fresh, on=me, how="left").join(_spread(edges, me, peer, "peer"), on=me, how="left")
    side = side.join(_spread(edges, me, "destination_transport_port", "port"), on=me, how="left")
    side = side.with_columns(_share("new_peer_count", "distinct_peer_count").alias("new_peer_ratio"))
    return side.rename({name: "entity" if name == me else f"{role}_{name}" for name in side.columns})


def _spread(edges: pl.DataFrame, me: str, what: str, name: str) -> pl.DataFrame:
    """How many different ones, and their entropy over flow records, in bits."""
    each = edges.group_by(me, what).agg(pl.col("flow_record_count").sum())
    each = each.with_columns(_weighed(each["flow_record_count"]).alias("term"))
    total = each.group_by(me).agg(pl.len().cast(pl.Int64).alias("distinct"), pl.col("flow_record_count", "term").sum())
    term = _weighed(total["flow_record_count"]) - total["term"]
    entropy = term / (total["flow_record_count"] * float(1 << BITS))
    return total.select(
        me, pl.col("distinct").alias(f"distinct_{name}_count"), entropy.alias(f"{name}_entropy")
    )  # fmt: skip


def _weighed(counts: pl.Series) -> pl.Series:
    return pl.Series(weighed(counts.to_numpy()))


def _latencies(name: str, some: Samples, count: int) -> Mapping[str, pl.Series]:
    total, found = quantiles(some, count)
    columns = {f"{name}_count": pl.Series(total)}
    for quantile, values in zip(("p50", "p90", "p99"), found, strict=True):
        columns[f"{name}_{quantile}_ns"] = pl.Series(values, nan_to_null=True)
    return columns


def _finished(rows: pl.DataFrame, window: Window, schema: pa.Schema) -> pa.RecordBatch:
    """In the columns of the schema."""
    rows = rows.with_columns(
        pl.lit(window.start_ns).alias("window_start"),
        pl.lit(window.end_ns).alias("window_end"),
        pl.lit(window.size_s).alias("window_size_s"),
        pl.lit(window.aligned).alias("window_aligned"),
    )
    table = rows.select(schema.names).to_arrow(compat_level=pl.CompatLevel.oldest())
    columns = [table[field.name].combine_chunks().cast(field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
