"""Flow batches without packets: only the columns that a test names, all others empty."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from loomidi.contracts.schemas import FLOWS

START = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
_SHORT = {
    "first": "flow_start_nanoseconds",
    "last": "flow_end_nanoseconds",
    "protocol": "protocol_identifier",
    "source": "source_ip_address",
    "destination": "destination_ip_address",
    "source_port": "source_transport_port",
    "port": "destination_transport_port",
    "packets": "packet_delta_count",
    "octets": "octet_delta_count",
    "payload": "payload_octet_count",
    "header": "header_octet_count",
    "fragments": "fragment_count",
    "back_packets": "reverse_packet_delta_count",
    "back_octets": "reverse_octet_delta_count",
    "back_payload": "reverse_payload_octet_count",
    "syn": "tcp_syn_total_count",
    "ack": "tcp_ack_total_count",
    "psh": "tcp_psh_total_count",
    "fin": "tcp_fin_total_count",
    "window": "tcp_initial_window_size",
    "rst": "tcp_rst_total_count",
    "back_syn": "reverse_tcp_syn_total_count",
    "back_ack": "reverse_tcp_ack_total_count",
}


def flow(at_s: float = 0.0, lasts_s: float = 0.0, **values: Any) -> dict[str, Any]:
    """One flow, in the short names above; times in seconds after START."""
    first = START + int(at_s * SECOND)
    return {
        "first": first,
        "last": first + int(lasts_s * SECOND),
        "source": "10.0.0.1",
        "destination": "10.0.0.2",
    } | values


def half_open(at_s: float, source: str, **values: Any) -> dict[str, Any]:
    """A SYN that nothing follows."""
    given = {"protocol": 6, "source_port": 40000, "port": 443, "packets": 1, "octets": 40, "syn": 1, "source": source}
    return flow(at_s, **given | values)


def batch(flows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    """Flows as one batch of the schema."""
    columns = []
    names = {long: short for short, long in _SHORT.items()}
    for field in FLOWS:
        default = None if field.nullable else "" if pa.types.is_string(field.type) else 0
        default = [] if pa.types.is_list(field.type) else default
        values = [row.get(names.get(field.name, ""), default) for row in flows]
        array = pa.array(values, pa.int64() if pa.types.is_timestamp(field.type) else field.type)
        columns.append(array.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=FLOWS)
