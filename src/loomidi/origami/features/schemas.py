"""Names and Arrow schemas of edges as the detectors see them, and of what is told of each edge.

Called by `edges`, `reading` and whoever trains or scores. In: nothing. Out: schemas and the order of columns. Values
are plain counts and seconds, so that an explanation can quote them; scaling is left to the detectors.
"""

import pyarrow as pa

EDGES = pa.schema(
    [
        pa.field("time", pa.timestamp("ns", "UTC"), nullable=False),
        pa.field("source", pa.utf8(), nullable=False),  # workload; outside of the cluster, its network
        pa.field("destination", pa.utf8(), nullable=False),
        pa.field("weight", pa.uint32(), nullable=False),  # flows that this row stands for
    ]
)
"""One row: `weight` flows from source to destination, known at `time`."""

WINDOWS = ("1m", "10m", "1h")
CAUSAL = (
    *(
        f"{name}_{window}"
        for window in WINDOWS
        for name in ("edge_count", "source_count", "destination_count", "source_peers", "destination_peers")
    ),
    "edge_total",
    "source_total",
    "destination_total",
    "source_degree",  # different destinations so far
    "destination_degree",  # different sources so far
    "edge_gap_s",  # since the edge before; the horizon where there was none
    "source_gap_s",
    "destination_gap_s",
    "first_seen",  # 1: this source was not seen with this destination, or it was forgotten
)
"""What was before an edge, and the edge itself, in the order of bpf/edges.c."""

SHAPE = (
    "packets_per_flow",
    "octets_per_flow",
    "reverse_packets_per_flow",
    "reverse_octets_per_flow",
    "payload_ratio",  # sent / (sent + received)
    "unanswered_ratio",
    "reset_ratio",
    "refused_ratio",
    "port_entropy",  # bits, of the client's ports
    "gap_variation",  # near 0 is periodic; 1 where it is not known
    "handshake_p50_s",
    "response_p50_s",
    "new_peer",
    "crosses_namespace",
)
"""How a window of EDGE_WINDOWS looks in itself. 0 where nothing tells."""


def _features(names: tuple[str, ...]) -> list[pa.Field]:
    return [pa.field(name, pa.float32(), nullable=False) for name in names]


EDGE_FEATURES = pa.schema([*EDGES, *_features(CAUSAL)])
"""An edge and its causal features."""

SHAPED_FEATURES = pa.schema([*EDGE_FEATURES, *_features(SHAPE)])
"""The same of windows, with their shape."""
