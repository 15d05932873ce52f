"""Every feature of docs/flow-features.md: a golden conversation by hand, and any conversation against plain Python."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loomidi.contracts.schemas import FLOWS
from loomidi.loom.flows import FlowTable, MeterSettings
from tests.unit.loom.flows import frames as f
from tests.unit.loom.flows import reference
from tests.unit.loom.flows.conftest import START, Metering, S, rows

MS = 10**6

# Request and answer, ten seconds of silence, FIN both ways. Sizes: 40 octets of headers and the data.
CONVERSATION = [
    (0.000, f.segment(f.SYN | f.ECE | f.CWR)),
    (0.010, f.segment(f.SYN | f.ACK | f.ECE, back=True)),
    (0.020, f.segment(f.ACK)),
    (0.030, f.segment(f.PSH | f.ACK, b"G" * 100)),
    (0.070, f.segment(f.ACK, b"d" * 1000, back=True)),
    (0.060, f.segment(f.PSH | f.ACK, b"d" * 200, back=True)),  # arrives with a time before the one before
    (0.080, f.segment(f.ACK | f.URG)),
    (10.080, f.segment(f.FIN | f.ACK)),
    (10.090, f.segment(f.FIN | f.ACK, back=True)),
    (10.091, f.segment(f.ACK)),
    (10.092, f.segment(f.RST, back=True)),
]

GOLDEN = {
    "flow_start_nanoseconds": START,
    "flow_end_nanoseconds": START + 10_092 * MS,
    "flow_duration_nanoseconds": 10_092 * MS,
    "flow_end_reason": "rst",
    "ip_version": 4,
    "protocol_identifier": 6,
    "source_ip_address": "10.0.0.1",
    "destination_ip_address": "10.0.0.2",
    "source_transport_port": 40000,
    "destination_transport_port": 80,
    "icmp_type": None,
    "icmp_code": None,
    "dot1q_vlan_id": 0,
    "dot1q_customer_vlan_id": 0,
    "tunnel_type": None,
    "layer2_segment_id": None,
    "packet_delta_count": 6,
    "octet_delta_count": 340,
    "layer2_octet_delta_count": 424,
    "payload_octet_count": 100,
    "header_octet_count": 240,
    "tcp_fin_total_count": 1,
    "tcp_syn_total_count": 1,
    "tcp_rst_total_count": 0,
    "tcp_psh_total_count": 1,
    "tcp_ack_total_count": 5,
    "tcp_urg_total_count": 1,
    "tcp_ece_total_count": 1,
    "tcp_cwr_total_count": 1,
    "tcp_initial_window_size": 1000,
    "packet_size_min": 40,
    "packet_size_mean": 340 / 6,
    "packet_size_std": 40.824829046386306,
    "packet_size_max": 140,
    "inter_arrival_min_ns": 10 * MS,
    "inter_arrival_mean_ns": 2018.2 * MS,
    "inter_arrival_std_ns": 4461991281.927834,
    "inter_arrival_max_ns": 10_000 * MS,
    "reordered_packet_count": 0,
    "fragment_count": 0,
    "reverse_packet_delta_count": 5,
    "reverse_octet_delta_count": 1400,
    "reverse_layer2_octet_delta_count": 1470,
    "reverse_payload_octet_count": 1200,
    "reverse_header_octet_count": 200,
    "reverse_tcp_fin_total_count": 1,
    "reverse_tcp_syn_total_count": 1,
    "reverse_tcp_rst_total_count": 1,
    "reverse_tcp_psh_total_count": 1,
    "reverse_tcp_ack_total_count": 4,
    "reverse_tcp_urg_total_count": 0,
    "reverse_tcp_ece_total_count": 1,
    "reverse_tcp_cwr_total_count": 0,
    "reverse_tcp_initial_window_size": 2000,
    "reverse_packet_size_min": 40,
    "reverse_packet_size_mean": 280.0,
    "reverse_packet_size_std": 433.5896677735763,
    "reverse_packet_size_max": 1040,
    "reverse_inter_arrival_min_ns": 2 * MS,
    "reverse_inter_arrival_mean_ns": 10_082 * MS / 3,
    "reverse_inter_arrival_std_ns": 5767224751.414959,
    "reverse_inter_arrival_max_ns": 10_020 * MS,
    "reverse_reordered_packet_count": 1,
    "reverse_fragment_count": 0,
    "flow_packet_size_min": 40,
    "flow_packet_size_mean": 1740 / 11,
    "flow_packet_size_std": 299.3933259716449,
    "flow_packet_size_max": 1040,
    "flow_inter_arrival_min_ns": 1 * MS,
    "flow_inter_arrival_mean_ns": 10_092 * MS / 9,
    "flow_inter_arrival_std_ns": 3329519597.479492,
    "flow_inter_arrival_max_ns": 10_000 * MS,
    "active_min_ns": 12 * MS,
    "active_mean_ns": 46 * MS,
    "active_std_ns": 48083261.120685235,
    "active_max_ns": 80 * MS,
    "idle_min_ns": 10_000 * MS,
    "idle_mean_ns": 10_000 * MS,
    "idle_std_ns": 0.0,
    "idle_max_ns": 10_000 * MS,
    "packets_per_second": 11 / 10.092,
    "octets_per_second": 1740 / 10.092,
    "splt_direction": [0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1],
    "splt_packet_size": [40, 40, 40, 140, 1040, 240, 40, 40, 40, 40, 40],
    "splt_inter_arrival_ns": [0, 10 * MS, 10 * MS, 10 * MS, 40 * MS, 0, 10 * MS, 10_000 * MS, 10 * MS, MS, MS],
}


@pytest.mark.parametrize("column", [name for name in FLOWS.names if name != "flow_id"])
def test_the_golden_conversation(metered: Metering, column: str) -> None:
    """Each column of one conversation, worked out by hand; a column without a golden value fails here."""
    (row,) = metered(CONVERSATION)
    assert row[column] == (
        pytest.approx(GOLDEN[column], rel=1e-9) if isinstance(GOLDEN[column], float) else GOLDEN[column]
    )


def test_the_id_follows_from_key_and_start(metered: Metering) -> None:
    """Same packets, same id, whatever the table's seed; another start, another id."""
    one, again, later = (metered(packets)[0] for packets in (CONVERSATION, CONVERSATION, [(1.0, f.segment(f.SYN))]))
    assert one["flow_id"] == again["flow_id"] != later["flow_id"]


SEEN = st.builds(
    reference.Seen,
    at_ns=st.integers(0, 50 * S),
    back=st.booleans(),
    flags=st.integers(0, 255).map(lambda flags: flags & ~(f.FIN | f.RST)),
    data=st.integers(0, 1400),
    window=st.integers(0, 65535),
)


def _frame(seen: reference.Seen) -> bytes:
    ends = ((f.SERVER, f.CLIENT), (80, 40000)) if seen.back else ((f.CLIENT, f.SERVER), (40000, 80))
    return f.ethernet(f.ip(*ends[0], 6, f.tcp(*ends[1], seen.flags, b"x" * seen.data, window=seen.window)))


@settings(deadline=None, max_examples=200)
@given(st.lists(SEEN, min_size=1, max_size=40))
def test_any_conversation_is_what_plain_python_makes_of_it(seen: list[reference.Seen]) -> None:
    """Order of arrival is not the order of time; the first packet is the client's and the earliest."""
    first = reference.Seen(START, back=False, flags=f.SYN, data=0, window=7)
    packets = [first, *(reference.Seen(START + p.at_ns, p.back, p.flags, p.data, p.window) for p in seen)]
    limits = MeterSettings(idle_s=60, active_s=100, activity_s=5)
    with FlowTable(limits) as table:
        for packet in packets:
            table.frame(_frame(packet), packet.at_ns)
        table.flush()
        (row,) = rows(table)
    expected = reference.row(packets, 5 * S)
    assert {name: row[name] for name in expected} == {
        name: pytest.approx(value, rel=1e-9, abs=1e-6) if isinstance(value, float) else value
        for name, value in expected.items()
    }


def test_tags_are_part_of_the_key(metered: Metering) -> None:
    """The same addresses on two VLANs are two flows; outer and inner tag have a column each."""
    packet = f.ip(f.CLIENT, f.SERVER, 17, f.udp(1, 2))
    flows = metered([(0, f.ethernet(packet, tags=(5,))), (1, f.ethernet(packet, tags=(6, 7)))])
    assert [(row["dot1q_vlan_id"], row["dot1q_customer_vlan_id"]) for row in flows] == [(5, 0), (6, 7)]


@pytest.mark.parametrize(("wrap", "name"), [(f.vxlan, "vxlan"), (f.geneve, "geneve")])
def test_the_flow_inside_a_tunnel(metered: Metering, wrap: object, name: str) -> None:
    """The inner flow is reported with the outer id; without `inner` the outer flow is."""
    assert callable(wrap)
    outer = f.ethernet(f.ip("192.0.2.1", "192.0.2.2", 17, wrap(f.segment(f.SYN), 77)))
    (inside,) = metered([(0, outer)])
    (outside,) = metered([(0, outer)], MeterSettings(inner=False))
    assert (inside["tunnel_type"], inside["layer2_segment_id"], inside["source_ip_address"]) == (name, 77, f.CLIENT)
    assert (outside["tunnel_type"], outside["source_ip_address"]) == (None, "192.0.2.1")


def test_an_echo_and_its_answer_are_one_flow(metered: Metering) -> None:
    """ICMP has type and code instead of ports; the type is the first packet's."""
    ping = f.ethernet(f.ip(f.CLIENT, f.SERVER, 1, f.icmp(8)))
    pong = f.ethernet(f.ip(f.SERVER, f.CLIENT, 1, f.icmp(0)))
    (row,) = metered([(0, ping), (0.1, pong)])
    assert (row["icmp_type"], row["icmp_code"], row["source_transport_port"]) == (8, 0, 0)
    assert (row["packet_delta_count"], row["reverse_packet_delta_count"]) == (1, 1)


def test_ipv6_and_its_extension_headers(metered: Metering) -> None:
    """Ports behind a hop-by-hop header; its octets are header octets."""
    packet = f.ip(f.CLIENT6, f.SERVER6, 0, b"\x11\0" + b"\0" * 6 + f.udp(5, 6, b"abc"))
    (row,) = metered([(0, f.ethernet(packet))])
    assert (row["ip_version"], row["source_ip_address"], row["destination_transport_port"]) == (6, f.CLIENT6, 6)
    assert (row["header_octet_count"], row["payload_octet_count"]) == (40 + 8 + 8, 3)


def test_fragments_are_counted(metered: Metering) -> None:
    """The first has ports; later ones have none and are a flow of their own between the same hosts."""
    first = f.ethernet(f.ip(f.CLIENT, f.SERVER, 17, f.udp(5, 6, b"x" * 8), fragment=0x2000))
    later = f.ethernet(f.ip(f.CLIENT, f.SERVER, 17, b"x" * 16, fragment=2))
    flows = metered([(0, first), (1, later)])
    assert [(row["source_transport_port"], row["fragment_count"]) for row in flows] == [(5, 1), (0, 1)]
