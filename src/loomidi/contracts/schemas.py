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

_TIME = pa.timestamp("ns", "UTC")
_TAGS = pa.map_(pa.utf8(), pa.utf8())


def _ends(*names: str) -> list[pa.Field]:
    return [pa.field(f"{end}_{name}", pa.utf8()) for end in ("source", "destination") for name in names]


FLOW_RECORDS = pa.schema(
    [
        *FLOWS,
        pa.field("exporter", pa.utf8(), nullable=False),  # node that metered it; of a replay, its name
        pa.field("link", pa.utf8(), nullable=False),  # "netns/name" or "name"; a capture's file name
        pa.field("sampling_interval", pa.uint32(), nullable=False),  # IE 34: this row stands for so many
        # Who owned the two addresses when the flow ended; null where nobody is known.
        # entity "pod/shop/cart-0", service "service/shop/cart", workload "deployment/shop/cart".
        *_ends("entity", "service", "workload"),
    ]
)
"""Flows as they travel on the bus and lie in the lake: `FLOWS`, where they were seen, whose they were."""

METRICS = pa.schema(
    [
        pa.field("timestamp", _TIME, nullable=False),
        pa.field("source_id", pa.utf8(), nullable=False),
        pa.field("metric_name", pa.utf8(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("kind", pa.utf8()),  # gauge, counter, histogram_bucket, histogram_sum, histogram_count, summary
        pa.field("unit", pa.utf8()),  # UCUM, as OpenTelemetry writes it
        pa.field("attributes", _TAGS),  # labels
        pa.field("entity", pa.utf8()),  # "pod/shop/cart-0" where the source names it
        pa.field("extra", pa.utf8()),  # JSON of fields that we do not know
        pa.field("received", _TIME, nullable=False),
    ]
)
"""One number of one source at one moment."""

EVENTS = pa.schema(
    [
        pa.field("timestamp", _TIME, nullable=False),
        pa.field("source", pa.utf8(), nullable=False),  # kubernetes-audit, kubernetes, falco, tetragon, or as told
        pa.field("event_id", pa.utf8(), nullable=False),  # the source's own, else a hash of the body
        pa.field("kind", pa.utf8()),  # audit verb, event reason, rule, probe
        pa.field("severity", pa.utf8()),  # OCSF severity: informational, low, medium, high, critical, fatal
        pa.field("entity", pa.utf8()),  # whom it is about
        pa.field("actor", pa.utf8()),  # who did it: user, process
        pa.field("message", pa.utf8()),
        pa.field("node", pa.utf8()),
        pa.field("body", pa.utf8(), nullable=False),  # the whole event as JSON: nothing is dropped
        pa.field("received", _TIME, nullable=False),
    ]
)
"""Something that was said once: audit records, Kubernetes events, runtime alerts."""

ENTITIES = pa.schema(
    [
        pa.field("address", pa.utf8(), nullable=False),
        pa.field("kind", pa.utf8(), nullable=False),  # Pod, Service, Node, External
        pa.field("namespace", pa.utf8(), nullable=False),  # "" for what has none
        pa.field("name", pa.utf8(), nullable=False),
        pa.field("uid", pa.utf8(), nullable=False),
        pa.field("owner_kind", pa.utf8(), nullable=False),
        pa.field("owner", pa.utf8(), nullable=False),
        pa.field("node", pa.utf8(), nullable=False),
        pa.field("labels", _TAGS),
        pa.field("services", pa.list_(pa.utf8())),  # "service/shop/cart" that select it now
        pa.field("ports", pa.utf8()),  # JSON, as the API tells them
        pa.field("from", _TIME, nullable=False),
        pa.field("to", _TIME),  # exclusive; null: open. A later row of the same uid and address replaces
        pa.field("seen", _TIME, nullable=False),  # when the watch told it
        pa.field("cluster", pa.utf8(), nullable=False),
    ]
)
"""Which entity owned an address from when to when."""

COUNTERS = pa.schema(
    [
        pa.field("timestamp", _TIME, nullable=False),
        pa.field("node", pa.utf8(), nullable=False),
        pa.field("component", pa.utf8(), nullable=False),  # agent, replay, ingest, committer, runner
        pa.field("epoch", pa.int64(), nullable=False),  # of this run of the component; values grow within it
        pa.field("stage", pa.utf8(), nullable=False),  # capture, export, publish, commit
        pa.field("stream", pa.utf8(), nullable=False),  # "" where it is packets of a link
        pa.field("scope", pa.utf8(), nullable=False),  # link, table, consumer
        pa.field("name", pa.utf8(), nullable=False),  # received, accounted, unparsed, exported, published, spilled, ...
        pa.field("unit", pa.utf8(), nullable=False),  # packets, flows, rows, batches, octets
        pa.field("value", pa.uint64(), nullable=False),  # since the component's epoch
    ]
)
"""The loss balance, kept in the lake beside what it speaks of: `loomidi balance` adds it up."""

FINDINGS = pa.schema(
    [
        pa.field("told", _TIME, nullable=False),  # when it was said
        pa.field("finding_id", pa.utf8(), nullable=False),  # the same from new to over
        pa.field("state", pa.utf8(), nullable=False),  # new, worse, again, over
        pa.field("pattern", pa.utf8(), nullable=False),
        pa.field("techniques", pa.list_(pa.utf8()), nullable=False),  # ATT&CK ids
        pa.field("severity", pa.utf8(), nullable=False),
        pa.field("confidence", pa.float64(), nullable=False),  # 0..1
        pa.field("entities", pa.list_(pa.utf8()), nullable=False),  # by name where it is known, whom to act on first
        pa.field("first", _TIME, nullable=False),
        pa.field("last", _TIME, nullable=False),
        pa.field("evidence", pa.utf8(), nullable=False),  # JSON, as `contracts.Evidence`
        pa.field("source", pa.utf8(), nullable=False),  # the detector
        pa.field("explanation", pa.utf8(), nullable=False),
        pa.field("folds", pa.utf8(), nullable=False),  # JSON: what would answer it, each with what the guards said
    ]
)
"""What detectors hold to be true, each time that they say so."""

LABELS = pa.schema(
    [
        pa.field("told", _TIME, nullable=False),  # when it became known
        pa.field("label_id", pa.utf8(), nullable=False),  # by its content: the same word twice is one
        pa.field("incident", pa.utf8(), nullable=False),  # finding id
        pa.field("pattern", pa.utf8(), nullable=False),
        pa.field("entities", pa.list_(pa.utf8()), nullable=False),
        pa.field("first", _TIME, nullable=False),
        pa.field("last", _TIME, nullable=False),
        pa.field("outcome", pa.utf8(), nullable=False),  # worked, no_effect, harmful, expired, undone
        pa.field("attack", pa.bool_()),  # null: the outcome does not tell
        pa.field("decision", pa.utf8(), nullable=False),  # plan id
        pa.field("by", pa.utf8(), nullable=False),  # who says so: a person, or the guard, probe or clock that did
        pa.field("source", pa.utf8(), nullable=False),  # receipts, person
        pa.field("held_out", pa.bool_(), nullable=False),  # never trained on, by the hash of the incident
        pa.field("evidence", pa.utf8(), nullable=False),  # JSON: the receipts' ids and steps
    ]
)
"""What became of a decision, as something to learn from, with where the word comes from."""

_COUNT = pa.uint64()
_WINDOW = [
    pa.field("window_start", _TIME, nullable=False),
    pa.field("window_end", _TIME, nullable=False),  # exclusive
    pa.field("window_size_s", pa.uint32(), nullable=False),
    pa.field("window_aligned", pa.bool_(), nullable=False),  # one of the tumbling series: sums of these count once
]
FLOW_SUMS = (
    "delta_flow_count",
    "flow_record_count",
    "original_flows_completed",
    "packet_delta_count",
    "octet_delta_count",
    "payload_octet_count",
    "reverse_packet_delta_count",
    "reverse_octet_delta_count",
    "reverse_payload_octet_count",
    "unanswered_flow_count",
    "reset_flow_count",
    "refused_flow_count",
)
_FLOW_RATIOS = (
    "flows_per_second",
    "packets_per_second",
    "octets_per_second",
    "octet_ratio",
    "payload_ratio",
    "unanswered_ratio",
    "reset_ratio",
    "refused_ratio",
)


def _quantiles(name: str, unit: str) -> list[pa.Field]:
    return [pa.field(f"{name}_{quantile}_{unit}", pa.float64()) for quantile in ("p50", "p90", "p99")]


def _latencies(prefix: str = "") -> list[pa.Field]:
    return [
        field
        for name in (f"{prefix}handshake", f"{prefix}response")
        for field in (pa.field(f"{name}_count", _COUNT, nullable=False), *_quantiles(name, "ns"))
    ]


def _role(role: str) -> list[pa.Field]:
    """Of an entity as client (its flows) or server (flows to it). A ratio is null without what it divides by."""
    return [
        *(pa.field(f"{role}_{name}", _COUNT, nullable=False) for name in FLOW_SUMS),
        *(pa.field(f"{role}_{name}", pa.float64()) for name in _FLOW_RATIOS),
        pa.field(f"{role}_distinct_peer_count", _COUNT, nullable=False),  # fan-out of a client, fan-in of a server
        pa.field(f"{role}_distinct_port_count", _COUNT, nullable=False),  # destination ports
        pa.field(f"{role}_peer_entropy", pa.float64()),  # bits
        pa.field(f"{role}_port_entropy", pa.float64()),  # bits
        pa.field(f"{role}_new_peer_count", _COUNT, nullable=False),
        pa.field(f"{role}_new_peer_ratio", pa.float64()),
    ]


EDGE_WINDOWS = pa.schema(
    [
        *_WINDOW,
        pa.field("source", pa.utf8(), nullable=False),  # entity or workload where known, else the address
        pa.field("destination", pa.utf8(), nullable=False),
        pa.field("destination_service", pa.utf8()),
        pa.field("destination_transport_port", pa.uint16(), nullable=False),
        pa.field("protocol_identifier", pa.uint8(), nullable=False),
        pa.field("source_workload", pa.utf8()),
        pa.field("destination_workload", pa.utf8()),
        *(pa.field(name, _COUNT, nullable=False) for name in FLOW_SUMS),
        *(pa.field(name, pa.float64()) for name in _FLOW_RATIOS),
        pa.field("source_transport_port_entropy", pa.float64()),  # bits
        pa.field("flow_start_gap_count", _COUNT, nullable=False),
        pa.field("flow_start_gap_mean_ns", pa.float64()),
        pa.field("flow_start_gap_variation", pa.float64()),  # std / mean: near 0 is periodic, near 1 random
        pa.field("new_peer", pa.bool_(), nullable=False),
        *_latencies(),
    ]
)
"""What passed between two ends within a window; docs/windows.md defines each column."""

ENTITY_WINDOWS = pa.schema(
    [
        *_WINDOW,
        pa.field("entity", pa.utf8(), nullable=False),
        pa.field("workload", pa.utf8()),
        *_role("client"),
        *_role("server"),
        *_latencies("server_"),
        pa.field("http_server_request_count", _COUNT),  # null: no metrics tell
        pa.field("http_server_error_count", _COUNT),
        pa.field("http_server_error_ratio", pa.float64()),
        *_quantiles("http_server_request_duration", "s"),
    ]
)
"""What an entity did and met within a window, over all its edges and its own metrics."""
