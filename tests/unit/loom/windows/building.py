"""Flows in short names as FLOW_RECORDS, and windows of them in one call, for the tests of windows and runners."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from loomidi.contracts.schemas import FLOW_RECORDS, METRICS
from loomidi.contracts.streams import Stream
from loomidi.loom.windows import Closer, Parts, WindowSettings, project, reduced, split
from loomidi.loom.windows.synthetic import START_NS

SECOND = 10**9
_SHORT = {
    "source": "source_ip_address",
    "destination": "destination_ip_address",
    "source_port": "source_transport_port",
    "port": "destination_transport_port",
    "protocol": "protocol_identifier",
    "packets": "packet_delta_count",
    "octets": "octet_delta_count",
    "payload": "payload_octet_count",
    "headers": "header_octet_count",
    "back_packets": "reverse_packet_delta_count",
    "back_octets": "reverse_octet_delta_count",
    "back_payload": "reverse_payload_octet_count",
    "back_headers": "reverse_header_octet_count",
    "syn": "tcp_syn_total_count",
    "back_syn": "reverse_tcp_syn_total_count",
    "rst": "tcp_rst_total_count",
    "back_rst": "reverse_tcp_rst_total_count",
    "reason": "flow_end_reason",
}


def records(flows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    """`at` and `lasts` are the start and duration in seconds after the synthetic start; all else in short names."""
    columns = []
    for field in FLOW_RECORDS:
        values = [_value(flow, field) for flow in flows]
        whole = pa.types.is_timestamp(field.type)
        columns.append(pa.array(values, pa.int64() if whole else field.type).cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=FLOW_RECORDS)


def _value(flow: dict[str, Any], field: pa.Field) -> Any:
    start = START_NS + round(flow.get("at", 0.0) * SECOND)
    given = {
        "flow_start_nanoseconds": start,
        "flow_end_nanoseconds": start + round(flow.get("lasts", 0.0) * SECOND),
        "source_ip_address": "10.0.0.1",
        "destination_ip_address": "10.0.0.2",
        "protocol_identifier": 6,
        "packet_delta_count": 1,
        "sampling_interval": 1,
        "flow_end_reason": "fin",
        "exporter": "node-1",
    } | {_SHORT.get(name, name): value for name, value in flow.items()}
    default = None if field.nullable else "" if pa.types.is_string(field.type) else 0
    return given.get(field.name, [] if pa.types.is_list(field.type) else default)


def metric(at: float, name: str, value: float, **labels: str) -> dict[str, Any]:
    """One sample of an HTTP server called `pod/shop/cart-0`."""
    time = START_NS + round(at * SECOND)
    given = {"timestamp": time, "received": time, "source_id": "scrape", "metric_name": name, "value": value}
    return given | {"attributes": list(labels.items()), "entity": "pod/shop/cart-0"}


def metrics(rows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    columns = []
    for field in METRICS:
        kind = pa.int64() if pa.types.is_timestamp(field.type) else field.type
        columns.append(pa.array([row.get(field.name) for row in rows], kind).cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=METRICS)


def windows_of(
    batches: Sequence[pa.RecordBatch], settings: WindowSettings, until_s: float = 1000.0, steps: int = 1
) -> dict[tuple[int, Stream], pa.Table]:
    """All windows of these flows, by size and stream."""
    closer, parts = Closer(settings), dict[int, list[Parts]]()
    for batch in batches:
        for start, rows in split(project(batch, settings.grain), settings.base_s):
            parts.setdefault(start, []).append(reduced(rows))
    found = dict[tuple[int, Stream], list[pa.RecordBatch]]()
    for step in range(1, steps + 1):
        for one in closer.close(parts, {}, START_NS + round(until_s * step / steps * SECOND)):
            found.setdefault((one.spec.size_s, one.stream), []).append(one.rows)
    return {key: pa.Table.from_batches(some) for key, some in found.items()}


def rows(table: pa.Table) -> list[dict[str, Any]]:
    """As dictionaries, times as seconds after the start."""
    numbers = {name: table[name].cast(pa.int64()).to_pylist() for name in ("window_start", "window_end")}
    told = table.drop(list(numbers)).to_pylist()
    for index, row in enumerate(told):
        row |= {name: (values[index] - START_NS) // SECOND for name, values in numbers.items()}
    return told
