"""Who began a conversation whose beginning was not seen: the end at a client's port, however it is cut and joined."""

import pytest

from loomidi.loom.flows import MeterSettings
from tests.unit.loom.flows import frames as f
from tests.unit.loom.flows.conftest import Metering

KEEPALIVE = [(0.0, f.segment(f.ACK, back=True)), (0.01, f.segment(f.ACK))]


def test_an_answer_that_came_first_does_not_make_the_server_a_client(metered: Metering) -> None:
    """A kept connection that was silent for longer than a flow lives goes on with a probe of the server."""
    (row,) = metered([(0.0, f.segment(f.ACK | f.PSH, b"pong", back=True)), (0.01, f.segment(f.ACK, b"hi"))])
    assert (row["source_ip_address"], row["source_transport_port"]) == (f.CLIENT, 40000)
    assert (row["payload_octet_count"], row["reverse_payload_octet_count"]) == (2, 4)
    assert row["splt_direction"] == [1, 0]
    assert (row["tcp_initial_window_size"], row["reverse_tcp_initial_window_size"]) == (1000, 2000)


def test_what_is_cut_goes_on_in_the_direction_that_was_found(metered: Metering) -> None:
    """Of the second record only the server's packets come, which alone would say nothing."""
    late = [(121.0 + step, f.segment(f.ACK, b"x", back=True)) for step in range(3)]
    kept = [(at, frame) for step in range(0, 120, 30) for at, frame in ((at + step, frame) for at, frame in KEEPALIVE)]
    first, second = metered([*kept, *late], MeterSettings(active_s=120))
    assert (first["flow_end_reason"], first["source_ip_address"]) == ("active", f.CLIENT)
    assert (second["source_ip_address"], second["packet_delta_count"]) == (f.CLIENT, 0)
    assert second["reverse_packet_delta_count"] == 3


@pytest.mark.parametrize(
    ("packets", "ports"),
    [
        pytest.param([f.segment(f.ACK, b"x", back=True)], (40000, 80), id="nobody answers"),
        pytest.param([f.segment(f.ACK, back=True), f.segment(f.RST)], (40000, 80), id="reset alone answers"),
        pytest.param([f.datagram(b"x", back=True), f.datagram(b"y")], (40000, 53), id="no TCP"),
    ],
)
def test_what_may_be_a_flood_stays_as_it_came(metered: Metering, packets: list[bytes], ports: tuple[int, int]) -> None:
    (row,) = metered([(0.01 * number, frame) for number, frame in enumerate(packets)])
    assert (row["source_ip_address"], row["source_transport_port"]) == (f.SERVER, ports[1])


@pytest.mark.parametrize("ports", [(40000, 50000), (1000, 80)])
def test_where_ports_say_nothing_the_first_packet_does(metered: Metering, ports: tuple[int, int]) -> None:
    (row,) = metered([(0.0, f.segment(f.ACK, back=True, ports=ports)), (0.01, f.segment(f.ACK, ports=ports))])
    assert row["source_ip_address"] == f.SERVER


def test_a_syn_says_more_than_ports(metered: Metering) -> None:
    """An FTP server calls its client back from port 20."""
    began = [f.segment(f.SYN, back=True, ports=(40000, 20)), f.segment(f.SYN | f.ACK, ports=(40000, 20))]
    (row,) = metered([(0.01 * number, frame) for number, frame in enumerate(began)])
    assert (row["source_ip_address"], row["source_transport_port"]) == (f.SERVER, 20)
