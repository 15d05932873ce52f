"""The published errors of CICFlowMeter and the defects of nfstream, each as a test that we do not have it.

Sources: Engelen, Rimmer, Joosen, "Troubleshooting an Intrusion Detection Dataset: the CICIDS2017 Case Study" (WTMC
2021); Rosay, Cheval, Carlier, Leroux, "Network Intrusion Detection: A Comprehensive Analysis of CIC-IDS2017" (ICISSP
2022); Lanvin et al., "Errors in the CICIDS2017 Dataset and the Significant Differences in Detection Performances It
Makes" (CRiSIS 2022); nfstream's documentation and source, version 6.
"""

import math
import struct

from loomidi.contracts.schemas import FLOWS
from loomidi.loom.flows import FlowTable, MeterSettings
from tests.unit.loom.flows import frames as f
from tests.unit.loom.flows.conftest import START, Metering, S, rows

HANDSHAKE = [(0.0, f.segment(f.SYN)), (0.01, f.segment(f.SYN | f.ACK, back=True)), (0.02, f.segment(f.ACK))]
GOODBYE = [
    (1.0, f.segment(f.FIN | f.ACK)),
    (1.01, f.segment(f.FIN | f.ACK, back=True)),
    (1.02, f.segment(f.ACK)),
]


class TestWhereFlowsEnd:
    """TCP flows end at their end, not at the first FIN, and not at a clock that needs traffic."""

    def test_no_appendix_flow_after_fin(self, metered: Metering) -> None:
        """WTMC'21: CICFlowMeter ends at the first FIN, and the last packets become a flow of their own."""
        flows = metered(HANDSHAKE + GOODBYE)
        assert [(row["flow_end_reason"], row["packet_delta_count"]) for row in flows] == [("fin", 4)]

    def test_one_fin_does_not_end_a_flow(self, metered: Metering) -> None:
        """A half-closed connection goes on: the server may send for long after the client's FIN."""
        late = [(1.0 + 10 * step, f.segment(f.ACK, b"x", back=True)) for step in range(1, 5)]
        (row,) = metered([*HANDSHAKE, GOODBYE[0], *late])
        assert (row["reverse_packet_delta_count"], row["flow_end_reason"]) == (5, "forced")

    def test_rst_ends_a_flow(self, metered: Metering) -> None:
        """WTMC'21: RST did not end a flow."""
        (row,) = metered([*HANDSHAKE, (0.03, f.segment(f.RST, back=True))])
        assert row["flow_end_reason"] == "rst"

    def test_a_reused_tuple_is_a_new_flow(self, metered: Metering) -> None:
        """A SYN after the end starts another flow at once, without waiting for a timeout."""
        again = [(at + 2, frame) for at, frame in HANDSHAKE]
        flows = metered([*HANDSHAKE, *GOODBYE, *again])
        assert [row["flow_end_reason"] for row in flows] == ["fin", "forced"]

    def test_idle_flows_end_without_traffic(self) -> None:
        """WTMC'21: a timeout was seen only when the same flow's next packet came."""
        with FlowTable(MeterSettings(idle_s=10)) as table:
            table.frame(f.datagram(), START)
            table.tick(START + 11 * S)
            assert [row["flow_end_reason"] for row in rows(table)] == ["idle"]

    def test_the_packet_that_meets_a_timeout_is_not_lost(self, metered: Metering) -> None:
        """CRiSIS'22: the packet that ended a flow by timeout was in neither flow's statistics."""
        flows = metered([(0, f.datagram()), (5, f.datagram()), (100, f.datagram())])
        assert [row["packet_delta_count"] for row in flows] == [2, 1]


class TestDirection:
    """Forward is the initiator's direction, always."""

    def test_it_survives_the_active_timeout(self, metered: Metering) -> None:
        """WTMC'21: after a timeout the sender of the next packet became the source, also when it was the server."""
        packets = [(0.0, f.segment(f.SYN)), (1.0, f.segment(f.ACK, back=True))]
        packets += [(20.0 * step, f.segment(f.ACK, b"x", back=True)) for step in range(1, 9)]
        flows = metered(packets, MeterSettings(active_s=50))
        assert [row["flow_end_reason"] for row in flows] == ["active", "active", "forced"]
        assert {row["source_ip_address"] for row in flows} == {f.CLIENT}

    def test_a_syn_ack_comes_from_the_responder(self, metered: Metering) -> None:
        """A capture that starts after the SYN still knows who called whom."""
        (row,) = metered(HANDSHAKE[1:])
        assert (row["source_ip_address"], row["reverse_packet_delta_count"]) == (f.CLIENT, 1)


class TestCounts:
    """Every packet counts, from the first one on, in every column."""

    def test_flags_are_counted_not_noted_once(self, metered: Metering) -> None:
        """ICISSP'22: flag counters were 0 or 1, because a flow's flags were looked at once."""
        (row,) = metered([(step / 10, f.segment(f.PSH | f.ACK, b"x")) for step in range(5)])
        assert (row["tcp_psh_total_count"], row["tcp_ack_total_count"]) == (5, 5)

    def test_flags_are_counted_in_both_directions(self, metered: Metering) -> None:
        """ICISSP'22: PSH and URG of the responder's direction were always 0."""
        (row,) = metered([*HANDSHAKE, (0.03, f.segment(f.PSH | f.URG | f.ACK, b"x", back=True))])
        assert (row["reverse_tcp_psh_total_count"], row["reverse_tcp_urg_total_count"]) == (1, 1)
        assert (row["tcp_psh_total_count"], row["tcp_urg_total_count"]) == (0, 0)

    def test_the_first_packet_is_in_the_statistics(self, metered: Metering) -> None:
        """ICISSP'22: the first packet was missing from flag counts and from sizes of both directions together."""
        (row,) = metered([(0, f.segment(f.SYN, b"x" * 60))])
        assert (row["tcp_syn_total_count"], row["packet_size_max"], row["flow_packet_size_mean"]) == (1, 100, 100.0)

    def test_cwr_and_ece_are_told_apart(self, metered: Metering) -> None:
        """CICFlowMeter's CWE column held CWR in one direction only."""
        (row,) = metered([(0, f.segment(f.SYN | f.ECE)), (1, f.segment(f.CWR, back=True))])
        assert (row["tcp_ece_total_count"], row["tcp_cwr_total_count"]) == (1, 0)
        assert (row["reverse_tcp_ece_total_count"], row["reverse_tcp_cwr_total_count"]) == (0, 1)


class TestOctets:
    """Sizes come from the headers that state them."""

    def test_ethernet_padding_is_no_payload(self, metered: Metering) -> None:
        """WTMC'21: the padding of short frames was counted as payload of six octets."""
        bare = f.ethernet(f.ip(f.CLIENT, f.SERVER, 6, f.tcp(1, 2, f.ACK)), padded=True)
        (row,) = metered([(0, bare)])
        assert (row["payload_octet_count"], row["octet_delta_count"], row["layer2_octet_delta_count"]) == (0, 40, 60)

    def test_header_octets_know_options(self, metered: Metering) -> None:
        """WTMC'21: header lengths were constant or those of another layer."""
        options = struct.pack("!HHIIBBHHH", 1, 2, 0, 0, 8 << 4, f.SYN, 0, 0, 0) + b"\1" * 12
        (tcp,) = metered([(0, f.ethernet(f.ip(f.CLIENT, f.SERVER, 6, options)))])
        (udp,) = metered([(0, f.datagram(b"abc"))])
        assert (tcp["header_octet_count"], udp["header_octet_count"]) == (20 + 32, 20 + 8)

    def test_udp_and_icmp_have_headers_of_their_own(self, metered: Metering) -> None:
        """ICISSP'22: TCP's header length was applied to other protocols."""
        (ping,) = metered([(0, f.ethernet(f.ip(f.CLIENT, f.SERVER, 1, f.icmp(8, data=b"x" * 56))))])
        assert (ping["header_octet_count"], ping["payload_octet_count"]) == (28, 56)

    def test_the_initial_window_is_of_the_first_segment(self, metered: Metering) -> None:
        """WTMC'21: -1 stood for "no packet", and later segments could set it; here it is null, or the first one's."""
        (one_way,) = metered([(0, f.segment(f.SYN))])
        (both,) = metered(HANDSHAKE)
        assert (one_way["tcp_initial_window_size"], one_way["reverse_tcp_initial_window_size"]) == (1000, None)
        assert both["reverse_tcp_initial_window_size"] == 2000


class TestArithmetic:
    """Numbers that are not there are null, never infinite, never invented."""

    def test_rates_of_no_duration_are_null(self, metered: Metering) -> None:
        """WTMC'21: division by zero gave Infinity and NaN, which whole data sets were then cleaned of."""
        (row,) = metered([(0, f.segment(f.SYN)), (0, f.segment(f.SYN | f.ACK, back=True))])
        assert (row["flow_duration_nanoseconds"], row["packets_per_second"], row["octets_per_second"]) == (
            0,
            None,
            None,
        )

    def test_no_column_is_ever_infinite(self, metered: Metering) -> None:
        """One packet, two packets, no answer: each float is finite or null."""
        for packets in (HANDSHAKE[:1], HANDSHAKE[:2], HANDSHAKE):
            (row,) = metered(packets)
            floats = [value for value in row.values() if isinstance(value, float)]
            assert all(math.isfinite(value) for value in floats)

    def test_time_never_runs_backwards(self, metered: Metering) -> None:
        """ICISSP'22: packets out of order gave negative inter-arrival times and durations; here they are counted."""
        (row,) = metered([(5, f.datagram()), (3, f.datagram()), (6, f.datagram())])
        assert (row["flow_duration_nanoseconds"], row["reordered_packet_count"]) == (3 * S, 1)
        assert (row["inter_arrival_min_ns"], row["inter_arrival_max_ns"]) == (1 * S, 1 * S)

    def test_the_deviation_is_one_of_samples(self, metered: Metering) -> None:
        """CICFlowMeter mixed variance and deviation, of population and sample; here it is sqrt(sum / (n - 1))."""
        (row,) = metered([(0, f.datagram(b"")), (1, f.datagram(b"x" * 2)), (2, f.datagram(b"x" * 4))])
        assert row["packet_size_std"] == 2.0

    def test_the_deviation_is_exact_for_close_large_values(self, metered: Metering) -> None:
        """Sums of squares in floating point cancel: gaps of 40 s that differ by 1 us still have their deviation."""
        times = [0.0, 40.0, 80.000001, 120.000001]
        (row,) = metered([(at, f.datagram()) for at in times], MeterSettings(active_s=500))
        assert abs(row["inter_arrival_std_ns"] - 1000 / math.sqrt(3)) < 1e-6

    def test_no_column_stands_twice(self) -> None:
        """CICFlowMeter wrote "Fwd Header Length" twice."""
        assert len(set(FLOWS.names)) == len(FLOWS.names)


class TestPeersClock:
    """What nfstream rounds or leaves out."""

    def test_the_clock_has_nanoseconds(self) -> None:
        """nfstream keeps milliseconds: all gaps within one are 0 there."""
        with FlowTable() as table:
            for at_ns in (0, 7, 20):
                table.frame(f.datagram(), START + at_ns)
            table.flush()
            (row,) = rows(table)
        assert (row["flow_duration_nanoseconds"], row["splt_inter_arrival_ns"]) == (20, [0, 7, 13])

    def test_splt_has_its_first_packet(self, metered: Metering) -> None:
        """SPLT starts with the first packet and holds only packets that were there, without fill values."""
        (row,) = metered(HANDSHAKE)
        assert (row["splt_direction"], row["splt_packet_size"]) == ([0, 1, 0], [40, 40, 40])

    def test_a_cut_packet_still_counts(self, metered: Metering) -> None:
        """A capture of headers only keeps its packet counts and the sizes that the headers state."""
        (row,) = metered([(0, f.segment(f.ACK, b"x" * 500)[:54])])
        assert (row["packet_delta_count"], row["payload_octet_count"]) == (1, 500)
