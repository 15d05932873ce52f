"""Windows of a small shop, for the tests of snapshots: usual ones drawn by a seed, and what is not usual."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from loomidi.contracts.schemas import EDGE_WINDOWS

MINUTE_NS = 60 * 10**9
BEGIN_NS = 1_790_000_000_000_000_000
PAIRS = [
    ("203.0.113.5", "deployment/shop/web", 443),
    ("deployment/shop/web", "deployment/shop/cart", 8080),
    ("deployment/shop/web", "deployment/shop/catalogue", 8080),
    ("deployment/shop/cart", "deployment/shop/db", 5432),
    ("deployment/shop/catalogue", "deployment/shop/db", 5432),
    ("deployment/shop/web", "deployment/kube-system/dns", 53),
]
Row = dict[str, Any]


def batch(rows: Sequence[Row]) -> pa.RecordBatch:
    """EDGE_WINDOWS; what is not given is 0 where it counts, else null."""
    same = {"window_size_s": 60, "window_aligned": True, "new_peer": False}
    columns = []
    for field in EDGE_WINDOWS:
        default = same.get(field.name, None if field.nullable else 0)
        values = [row.get(field.name, default) for row in rows]
        times = pa.types.is_timestamp(field.type)
        columns.append(pa.array(values, pa.int64()).cast(field.type) if times else pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=EDGE_WINDOWS)


def usual(count: int, seed: int = 1, start: int = 0) -> list[Row]:
    """So many windows in which everybody talks to whom they always talk to."""
    draw, rows = np.random.default_rng(seed), list[Row]()
    for window in range(start, start + count):
        for source, destination, port in PAIRS:
            flows = int(draw.poisson(20)) + 1
            rows.append(edge(source, destination, port, flows=flows, window=window, size=int(draw.normal(900, 60))))
    return rows


def edge(
    source: str, destination: str, port: int, *, flows: int = 1, window: int = 0, size: int = 900, **more: Any
) -> Row:
    """`flows` of ten packets each."""
    ends = BEGIN_NS + (window + 1) * MINUTE_NS
    counts = {"delta_flow_count": flows, "flow_record_count": flows, "original_flows_completed": flows}
    octets = {"octet_delta_count": flows * size, "reverse_octet_delta_count": 2 * flows * size}
    data = {"payload_octet_count": flows * size // 2, "reverse_payload_octet_count": flows * size}
    packets = {"packet_delta_count": 10 * flows, "reverse_packet_delta_count": 10 * flows}
    ratios = {"unanswered_ratio": 0.0, "reset_ratio": 0.0, "refused_ratio": 0.0, "handshake_p50_ns": 1e6}
    place = {"destination_transport_port": port, "protocol_identifier": 17 if port == 53 else 6}
    row = {"window_start": ends - MINUTE_NS, "window_end": ends, "source": source, "destination": destination}
    return row | place | counts | octets | data | packets | ratios | more


def scan(ports: int = 40, window: int = 0) -> list[Row]:
    """One source tries one port after the other, and nobody answers."""
    silent = {"payload_octet_count": 0, "reverse_payload_octet_count": 0, "reverse_octet_delta_count": 0}
    silent |= {"reverse_packet_delta_count": 0, "unanswered_flow_count": 1, "unanswered_ratio": 1.0, "new_peer": True}
    return [edge("203.0.113.66", "10.0.0.7", 1000 + at, window=window, size=60, **silent) for at in range(ports)]
