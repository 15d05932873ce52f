"""Arrow schemas of the batches that flow through the houses.

Called by `loom` (which fills them), `origami`, `garden` and `services` (which read them). A column may be added;
none is ever renamed, reused or retyped (`tests/contracts` holds the history). `FLOWS` mirrors, in order, what the
C library exports through the Arrow C data interface; its documentation is `docs/flow-features.md`.
Names are IPFIX information elements in snake_case; `reverse_` is the responder's direction (RFC 5103).
"""

import pyarrow as pa

_STATS = (("min", pa.uint64()), ("mean", pa.float64()), ("std", pa.float64()), ("max", pa.uint64()))
_FLAGS = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr")


def _stats(name: str, unit: str = "") -> list[pa.Field]:
    """min, mean, std (sample), max. Null when nothing was counted; std is 0 below two values."""
    return [pa.field(f"{name}_{stat}{unit}", kind) for stat, kind in _STATS]


def _direction(prefix: str) -> list[pa.Field]:
    counts = (
        "packet_delta_count",
        "octet_delta_count",
        "layer2_octet_delta_count",
        "payload_octet_count",
        "header_octet_count",
    )
    return [
        *(pa.field(prefix + name, pa.uint64(), nullable=False) for name in counts),
        *(pa.field(f"{prefix}tcp_{flag}_total_count", pa.uint32(), nullable=False) for flag in _FLAGS),
        pa.field(prefix + "tcp_initial_window_size", pa.uint16()),
        *_stats(prefix + "packet_size"),
        *_stats(prefix + "inter_arrival", "_ns"),
        pa.field(prefix + "reordered_packet_count", pa.uint32(), nullable=False),
        pa.field(prefix + "fragment_count", pa.uint32(), nullable=False),
    ]


FLOWS = pa.schema(
    [
        pa.field("flow_id", pa.uint64(), nullable=False),  # stable hash of key and start
        pa.field("flow_start_nanoseconds", pa.timestamp("ns", "UTC"), nullable=False),
        pa.field("flow_end_nanoseconds", pa.timestamp("ns", "UTC"), nullable=False),
        pa.field("flow_duration_nanoseconds", pa.uint64(), nullable=False),
        pa.field("flow_end_reason", pa.utf8(), nullable=False),  # idle active fin rst forced evicted
        pa.field("ip_version", pa.uint8(), nullable=False),
        pa.field("protocol_identifier", pa.uint8(), nullable=False),
        pa.field("source_ip_address", pa.utf8(), nullable=False),
        pa.field("destination_ip_address", pa.utf8(), nullable=False),
        pa.field("source_transport_port", pa.uint16(), nullable=False),
        pa.field("destination_transport_port", pa.uint16(), nullable=False),
        pa.field("icmp_type", pa.uint8()),
        pa.field("icmp_code", pa.uint8()),
        pa.field("dot1q_vlan_id", pa.uint16(), nullable=False),  # 0: untagged
        pa.field("dot1q_customer_vlan_id", pa.uint16(), nullable=False),  # inner tag of QinQ
        pa.field("tunnel_type", pa.utf8()),  # vxlan, geneve; null when not tunnelled
        pa.field("layer2_segment_id", pa.uint32()),  # VNI of the outer tunnel
        *_direction(""),
        *_direction("reverse_"),
        *_stats("flow_packet_size"),
        *_stats("flow_inter_arrival", "_ns"),
        *_stats("active", "_ns"),
        *_stats("idle", "_ns"),
        pa.field("packets_per_second", pa.float64()),  # null when the duration is 0
        pa.field("octets_per_second", pa.float64()),
        # splt_direction: 0 initiator, 1 responder
        pa.field("splt_direction", pa.list_(pa.field("item", pa.uint8(), nullable=False)), nullable=False),
        pa.field("splt_packet_size", pa.list_(pa.field("item", pa.uint16(), nullable=False)), nullable=False),
        pa.field("splt_inter_arrival_ns", pa.list_(pa.field("item", pa.uint64(), nullable=False)), nullable=False),
    ]
)
