"""OTLP/HTTP metrics, protobuf and JSON: gauges, sums, histograms, exponential histograms, summaries.

Called by the ingestion API (`/v1/metrics`). In: an `ExportMetricsServiceRequest`. Out: a batch of `METRICS`, buckets
cumulative with `le` as Prometheus has them; exemplars, temporality, scope and exact buckets kept in `extra`. Points
that cannot be used are counted, as OTLP's partial success wants. Leaves HTTP and compression to the API.
"""

import base64
import binascii
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from loomidi.loom.sources import rows
from loomidi.loom.sources.exposition import STALE
from loomidi.loom.sources.rows import BadBody, Refusals

PROTOBUF, JSON = "application/x-protobuf", "application/json"
_NO_VALUE = 1  # DataPointFlags.FLAG_NO_RECORDED_VALUE
_TEMPORALITY = {1: "delta", 2: "cumulative"}
_SOURCE = ("service.namespace", "service.name", "service.instance.id")
_LAST_NS = (1 << 63) - 1
Row = dict[str, Any]


def parse_otlp(
    body: bytes, content_type: str = PROTOBUF, refusals: Refusals | None = None, received_ns: int | None = None
) -> pa.RecordBatch:
    """A request's body. Raises BadBody for what is no such request."""
    refusals = Counter() if refusals is None else refusals
    received, made = rows.now_ns(received_ns), list[Row]()
    for resource in _request(body, content_type).resource_metrics:
        about = _attributes(resource.resource.attributes)
        for scope in resource.scope_metrics:
            shared = _Shared(about, scope.scope.name, scope.scope.version, received)
            for metric in scope.metrics:
                made += _metric(metric, shared, refusals)
    return rows.metrics(made)


def _request(body: bytes, content_type: str) -> Any:
    from google.protobuf.json_format import ParseDict, ParseError
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    request = ExportMetricsServiceRequest()
    try:
        if content_type.partition(";")[0].strip().lower() == JSON:
            document = json.loads(body)
            if not isinstance(document, dict):
                raise TypeError("not a JSON object")
            ParseDict(_with_ids(document), request, ignore_unknown_fields=True)
        else:
            request.ParseFromString(body)
    except (DecodeError, ParseError, ValueError, TypeError, RecursionError) as error:
        raise BadBody(f"no OTLP metrics request: {' '.join(str(error).split())[:200]}") from error
    return request


def _with_ids(value: Any) -> Any:
    """OTLP writes trace and span ids in hexadecimal, unlike protobuf's own JSON, which wants base64."""
    if isinstance(value, list):
        return [_with_ids(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: _id(one) if key in ("traceId", "spanId") else _with_ids(one) for key, one in value.items()}


def _id(value: Any) -> Any:
    try:
        return base64.b64encode(binascii.unhexlify(value)).decode()
    except (ValueError, TypeError):
        return value


class _Shared:
    """What all points of one scope have in common."""

    def __init__(self, about: dict[str, str], scope: str, version: str, received: int) -> None:
        self.received = received
        self.source_id = "/".join(about[key] for key in _SOURCE if about.get(key)) or "unknown"
        self.entity = rows.named("pod", about.get("k8s.namespace.name"), about.get("k8s.pod.name"))
        self.extra = {"resource": about} | ({"scope": f"{scope} {version}".strip()} if scope else {})


def _metric(metric: Any, shared: _Shared, refusals: Refusals) -> Iterator[Row]:
    kind = metric.WhichOneof("data")
    if kind is None:
        refusals["metric without data"] += 1
        return
    data = getattr(metric, kind)
    temporality = _TEMPORALITY.get(getattr(data, "aggregation_temporality", 0))
    for point in data.data_points:
        if not metric.name:
            refusals["metric without a name"] += 1
        elif point.time_unix_nano > _LAST_NS:
            refusals["time beyond the year 2262"] += 1
        else:
            yield from _POINTS[kind](_Point(metric, point, shared, temporality), data)


class _Point:
    """One data point on its way to rows."""

    def __init__(self, metric: Any, point: Any, shared: _Shared, temporality: str | None) -> None:
        self.metric, self.point, self.shared = metric, point, shared
        self.labels = _attributes(point.attributes)
        self.extra: dict[str, Any] = dict(shared.extra)
        if temporality:
            self.extra["temporality"] = temporality
        if point.start_time_unix_nano:
            self.extra["start_ns"] = point.start_time_unix_nano
        exemplars = [_exemplar(one) for one in getattr(point, "exemplars", ())]
        if exemplars:
            self.extra["exemplars"] = exemplars
        self.stale = bool(point.flags & _NO_VALUE)

    def row(self, value: float, kind: str, *, suffix: str = "", **labels: str) -> Row:
        """`suffix` of the name, `labels` added to those of the point."""
        extra = self.extra | ({"stale": True} if self.stale else {})
        return {
            "timestamp": self.point.time_unix_nano or self.shared.received,
            "source_id": self.shared.source_id,
            "metric_name": self.metric.name + suffix,
            "value": STALE if self.stale else value,
            "kind": kind,
            "unit": self.metric.unit or None,
            "attributes": self.labels | labels,
            "entity": self.shared.entity,
            "extra": rows.compact(extra),
            "received": self.shared.received,
        }

    def histogram(self, bounds: Sequence[float], counts: Sequence[int]) -> Iterator[Row]:
        """Cumulative buckets, the count, the sum where there is one. `counts` has one more: above the last bound."""
        point, total = self.point, 0
        exact, self.extra = self.extra, dict(self.shared.extra)  # told once, on the count
        for bound, count in zip((*bounds, math.inf), counts, strict=False):
            total += count
            yield self.row(float(total), "histogram_bucket", le=_bound(bound))
        if point.HasField("sum"):
            yield self.row(float(point.sum), "histogram_sum")
        extremes = {name: float(getattr(point, name)) for name in ("min", "max") if point.HasField(name)}
        self.extra = exact | extremes
        yield self.row(float(point.count), "histogram_count")


def _number(at: _Point, data: Any) -> Iterator[Row]:
    """A gauge, or a sum: one that only grows is a counter."""
    point = at.point
    value = float(point.as_int) if point.WhichOneof("value") == "as_int" else float(point.as_double)
    yield at.row(value, "counter" if getattr(data, "is_monotonic", False) else "gauge")


def _histogram(at: _Point, _data: Any) -> Iterator[Row]:
    yield from at.histogram(at.point.explicit_bounds, at.point.bucket_counts)


def _exponential(at: _Point, _data: Any) -> Iterator[Row]:
    """Its buckets at their upper bounds, from the most negative to the largest; the exact ones in `extra`."""
    point = at.point
    base = _power(2.0, _power(2.0, -point.scale))
    sides = {
        side: {"offset": found.offset, "counts": list(found.bucket_counts)}
        for side in ("positive", "negative")
        if (found := getattr(point, side)).bucket_counts
    }
    at.extra |= {"scale": point.scale, "zero_count": point.zero_count, "zero_threshold": point.zero_threshold, **sides}
    bounds, counts = list[float](), list[int]()
    negative, positive = point.negative, point.positive
    for index in reversed(range(len(negative.bucket_counts))):
        bounds.append(-_power(base, negative.offset + index))
        counts.append(negative.bucket_counts[index])
    if point.zero_count:
        bounds.append(point.zero_threshold)
        counts.append(point.zero_count)
    for index, count in enumerate(positive.bucket_counts):
        bounds.append(_power(base, positive.offset + index + 1))
        counts.append(count)
    yield from at.histogram(bounds, [*counts, point.count - sum(counts)])


def _power(base: float, exponent: float) -> float:
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf


def _summary(at: _Point, _data: Any) -> Iterator[Row]:
    for one in at.point.quantile_values:
        yield at.row(float(one.value), "summary", quantile=_bound(one.quantile))
    yield at.row(float(at.point.sum), "summary", suffix="_sum")
    yield at.row(float(at.point.count), "summary", suffix="_count")


_POINTS = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "exponential_histogram": _exponential,
    "summary": _summary,
}


def _bound(value: float) -> str:
    """As Prometheus' own clients write it: `0.5`, `1`, `+Inf`."""
    if value == math.inf:
        return "+Inf"
    return repr(int(value)) if abs(value) < 1e15 and value == int(value) else repr(float(value))


def _attributes(given: Any) -> dict[str, str]:
    return {one.key: _text(one.value) for one in given}


def _text(value: Any) -> str:
    """A value as text; what is no text as JSON."""
    found = _plain(value)
    return found if isinstance(found, str) else rows.compact(found)


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return {one.key: _plain(one.value) for one in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return None if kind is None else getattr(value, kind)


def _exemplar(one: Any) -> dict[str, Any]:
    value = one.as_int if one.WhichOneof("value") == "as_int" else one.as_double
    told: dict[str, Any] = {"value": value, "time_ns": one.time_unix_nano}
    if one.filtered_attributes:
        told["attributes"] = _attributes(one.filtered_attributes)
    for name, octets in (("trace_id", one.trace_id), ("span_id", one.span_id)):
        if octets:
            told[name] = octets.hex()
    return told
