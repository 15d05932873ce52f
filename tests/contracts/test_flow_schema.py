"""The Arrow schema that C exports is the one that Python promises, column by column."""

from pathlib import Path

from loomidi.contracts.schemas import FLOWS
from loomidi.loom.flows import FlowTable

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_library_exports_flows_in_order_and_type() -> None:
    """Names, types, nullability and order, of the stream and of each batch."""
    with FlowTable() as table, table._meter.reader(everything=False) as reader:
        assert reader.schema.equals(FLOWS, check_metadata=True)


def test_every_column_is_described() -> None:
    """docs/flow-features.md is the spec: each name stands there in code quotes, or by its stated prefix or suffix."""
    page = (ROOT / "docs" / "flow-features.md").read_text()
    missing = [name for name in FLOWS.names if f"`{name.removeprefix('reverse_')}`" not in page]
    assert not missing


# A column may be added at the end of its group; none is ever renamed, reused or retyped.
HISTORY = {
    "flow_id": "uint64",
    "flow_start_nanoseconds": "timestamp[ns, tz=UTC]",
    "flow_end_nanoseconds": "timestamp[ns, tz=UTC]",
    "flow_duration_nanoseconds": "uint64",
    "flow_end_reason": "string",
    "source_ip_address": "string",
    "destination_ip_address": "string",
    "source_transport_port": "uint16",
    "destination_transport_port": "uint16",
    "protocol_identifier": "uint8",
    "packet_delta_count": "uint64",
    "octet_delta_count": "uint64",
    "reverse_packet_delta_count": "uint64",
    "reverse_octet_delta_count": "uint64",
    "tcp_syn_total_count": "uint32",
    "inter_arrival_std_ns": "double",
    "splt_packet_size": "list<item: uint16 not null>",
}


def test_no_column_was_renamed_or_retyped() -> None:
    """What release 0.1 promised still holds."""
    assert {name: str(FLOWS.field(name).type) for name in HISTORY} == HISTORY
