"""OTLP/HTTP metrics: what a request holds, and the answer that its specification asks for.

Called by `handling`. In: an ExportMetricsServiceRequest, protobuf or JSON. Out: a batch of `METRICS`; 200 with the
partial success of what was refused. Leaves reading the points to `loom.sources.otlp`.
"""

import json
from collections import Counter

import pyarrow as pa

from loomidi.loom.sources import otlp, rows
from loomidi.services.http.problems import Answer, Problem
from loomidi.services.ingest_api.answering import Refusals

PROTOBUF = otlp.PROTOBUF


def metrics_of(body: bytes, media_type: str, received_ns: int) -> tuple[pa.RecordBatch, Counter[str]]:
    """The points that can be stored, and the others by cause. Raises Problem for what is no such request."""
    refused: Counter[str] = Counter()
    try:
        return otlp.parse_otlp(body, media_type, refused, received_ns), refused
    except rows.BadBody as error:
        raise Problem("malformed", f"the body is no OTLP request: {error}; see the exporter's settings") from error
    except (UnicodeEncodeError, ValueError, pa.ArrowException) as error:
        cause = " ".join(str(error).split())[:200]
        raise Problem(
            "unusable", f"a point holds what cannot be stored: {cause}; send the others without it"
        ) from error


def answer(media_type: str, refusals: Refusals) -> Answer:
    """200, in the encoding of the request."""
    told = "; ".join(f"{one['rows']} x {one['cause']}" for one in refusals.first)
    if media_type != PROTOBUF:
        partial = {"rejectedDataPoints": str(refusals.rows), "errorMessage": told}
        return Answer(200, json.dumps({"partialSuccess": partial} if refusals.rows else {}).encode())
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

    response = metrics_service_pb2.ExportMetricsServiceResponse()
    if refusals.rows:
        response.partial_success.rejected_data_points = refusals.rows
        response.partial_success.error_message = told
    return Answer(200, response.SerializeToString(), PROTOBUF)
