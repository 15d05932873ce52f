"""HTTP servers as their own metrics tell: requests, errors, durations, from counters and histograms.

Called by `closing`. In: METRICS rows of one piece of time, the last values of their series before it. Out: how much
each counter grew, per entity: requests by whether they failed, and by bucket of their duration. Names are those of
OpenTelemetry's HTTP conventions as Prometheus writes them, and the older ones of Prometheus' client libraries.
"""

import functools
from collections.abc import Sequence

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

HISTOGRAMS = ("http_server_request_duration_seconds", "http_request_duration_seconds")
COUNTERS = ("http_requests_total", "http_server_requests_total")
STATUS_LABELS = ("http_response_status_code", "status_code", "code", "status")
"""In this order the first label that is there tells the status; from 500 on, or `5xx`, a request has failed."""

NO_REQUESTS = pl.DataFrame(
    schema={"entity": pl.String, "what": pl.String, "bound": pl.Float64, "count": pl.Int64},
)
"""`what` is request or error (without a bound), or bucket: requests that took at most `bound` seconds."""

NO_SERIES = pl.DataFrame(
    schema={"series": pl.String, "at": pl.Int64, "value": pl.Float64},
)

SAMPLES = pa.schema(
    [
        pa.field("at", pa.int64(), nullable=False),
        pa.field("entity", pa.utf8(), nullable=False),
        pa.field("what", pa.utf8(), nullable=False),
        pa.field("metric", pa.int64(), nullable=False),  # its place in the order of preference
        pa.field("bound", pa.float64()),
        pa.field("failed", pa.bool_(), nullable=False),
        pa.field("series", pa.utf8(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)
"""What windows need of METRICS: one value of one series of an HTTP server."""

_BUCKETS = tuple(f"{name}_bucket" for name in HISTOGRAMS)
_TOTALS = (*(f"{name}_count" for name in HISTOGRAMS), *COUNTERS)


def project(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows of METRICS that tell of HTTP servers, as SAMPLES; others are not for windows."""
    wanted = pc.is_in(batch.column("metric_name"), pa.array([*_BUCKETS, *_TOTALS]))
    kept = batch.filter(wanted)
    labels = kept.column("attributes")
    status = pc.coalesce(*(pc.map_lookup(labels, name, "first") for name in STATUS_LABELS), pa.scalar("", pa.utf8()))
    bound = pc.map_lookup(labels, "le", "first")
    is_bucket = pc.is_in(kept.column("metric_name"), pa.array(_BUCKETS))
    numeric = pc.match_substring_regex(bound, r"^[0-9.eE+-]+$")
    columns = {
        "at": kept.column("timestamp").view(pa.int64()),
        "entity": pc.coalesce(kept.column("entity"), kept.column("source_id")),
        "metric": pc.index_in(kept.column("metric_name"), pa.array([*_BUCKETS, *_TOTALS])).cast(pa.int64()),
        "what": pc.if_else(is_bucket, "bucket", "request"),
        "bound": pc.if_else(pc.fill_null(numeric, False), bound, pa.scalar(None, pa.utf8())).cast(pa.float64()),
        "failed": pc.match_substring_regex(status, "^5"),
        "series": _series(kept),
        "value": kept.column("value"),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in SAMPLES.names], schema=SAMPLES)


def rows(some: Sequence[pa.RecordBatch]) -> pl.DataFrame:
    """SAMPLES of one piece of time as one frame."""
    frame = pl.from_arrow(pa.Table.from_batches(some, SAMPLES))
    assert isinstance(frame, pl.DataFrame)
    return frame


def grown(found: pl.DataFrame, last: pl.DataFrame, most: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(what was counted in SAMPLES rows, the last values now). A value below the one before is a restart from 0.

    The first value of a series that is not known tells nothing. One metric per entity counts: where a server tells both
    a histogram and a counter, the histogram.
    """
    facts = found.sort("series", "at", "value").unique(["series", "at"], keep="first", maintain_order=True)
    points = pl.concat([last, facts.select("series", "at", "value")]).sort("series", "at", "value")
    before = pl.col("value").shift(1).over("series")
    delta = pl.when(pl.col("value") < before).then(pl.col("value")).otherwise(pl.col("value") - before)
    grew = points.with_columns(delta.alias("delta")).drop_nulls("delta").group_by("series").agg(
        pl.col("delta").round().cast(pl.Int64, strict=False).sum()
    )  # fmt: skip
    now = points.group_by("series").agg(pl.col("at").last(), pl.col("value").last())
    now = now.sort("at", "series", descending=[True, False]).head(most).sort("series")
    told = facts.unique("series").join(grew, on="series")
    told = told.filter(pl.col("metric") == pl.col("metric").min().over("entity", "what"))
    counted = pl.concat(
        [
            told.select("entity", "what", "bound", pl.col("delta").alias("count")),
            told.filter("failed", pl.col("what") == "request").select(
                "entity", pl.lit("error").alias("what"), "bound", pl.col("delta").alias("count")
            ),
        ]
    )
    return added([counted]), now.select(NO_SERIES.columns)


def added(some: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Counts of several pieces of time as one."""
    keys = ["entity", "what", "bound"]
    return pl.concat(some).group_by(keys).agg(pl.col("count").sum()).sort(keys, nulls_last=True)


def features(counts: pl.DataFrame) -> pl.DataFrame:
    """Per entity: requests, errors, and quantiles of the duration, straight between the bounds of a bucket."""
    return _features(counts) if len(counts) else _no_features()


@functools.cache
def _no_features() -> pl.DataFrame:
    return _features(NO_REQUESTS)


def _features(counts: pl.DataFrame) -> pl.DataFrame:
    totals = counts.group_by("entity").agg(
        pl.col("count").filter(pl.col("what") == "request").sum().alias("http_server_request_count"),
        pl.col("count").filter(pl.col("what") == "error").sum().alias("http_server_error_count"),
    )
    buckets = counts.filter(pl.col("what") == "bucket").sort("entity", "bound", nulls_last=True)
    requests, failed = pl.col("http_server_request_count"), pl.col("http_server_error_count")
    ratio = pl.when(requests > 0).then(failed / requests).alias("http_server_error_ratio")
    found = totals.with_columns(ratio)
    for name, quantile in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        value = _quantile(buckets, quantile).rename({"value": f"http_server_request_duration_{name}_s"})
        found = found.join(value, on="entity", how="left")
    return found.sort("entity")


def _quantile(buckets: pl.DataFrame, quantile: float) -> pl.DataFrame:
    """Buckets are cumulative and sorted by bound, the open one last; beyond the last bound its value is told."""
    rank = pl.col("count").max().over("entity") * quantile
    low = pl.col("bound").shift(1, fill_value=0.0).over("entity")
    below = pl.col("count").shift(1, fill_value=0).over("entity")
    share = (rank - below) / (pl.col("count") - below)
    value = pl.when(pl.col("bound").is_null()).then(low).otherwise(low + (pl.col("bound") - low) * share)
    reached = buckets.with_columns(value.alias("value"), (pl.col("count") >= rank).alias("reached"))
    reached = reached.filter("reached", pl.col("count").max().over("entity") > 0)
    return reached.group_by("entity", maintain_order=True).agg(pl.col("value").first())


def _series(kept: pa.RecordBatch) -> pa.Array:
    """Source, metric and all labels as one text: what tells a series from others."""
    labels = pl.from_arrow(kept.column("attributes").cast(pa.list_(_ENTRY)))
    assert isinstance(labels, pl.Series)
    pairs = pl.element().struct.field("key") + "=" + pl.element().struct.field("value").fill_null("")
    text = labels.list.eval(pairs).list.sort().list.join("\x1f").fill_null("")
    parts = (kept.column("source_id"), kept.column("metric_name"), text.to_arrow(compat_level=pl.CompatLevel.oldest()))
    return pc.binary_join_element_wise(*(part.cast(pa.utf8()) for part in parts), "\x1e")


_ENTRY = pa.struct([pa.field("key", pa.utf8(), nullable=False), pa.field("value", pa.utf8())])
