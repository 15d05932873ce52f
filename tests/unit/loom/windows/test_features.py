"""Each feature of docs/windows.md by values that were computed by hand."""

from typing import Any

import numpy as np
import pytest
from datasketches import tdigest_double

from loomidi.contracts.streams import Stream
from loomidi.loom.windows import WindowSettings, WindowSpec
from loomidi.loom.windows.samples import COMPRESSION, FEW, joined, quantiles, sampled
from tests.unit.loom.windows.building import records, rows, windows_of

TEN = WindowSettings(specs=(WindowSpec(10, 10),))
MS = 10**6


def edges(*flows: dict[str, Any]) -> list[dict[str, Any]]:
    return rows(windows_of([records(flows)], TEN)[10, Stream.EDGE_WINDOWS])


def entities(*flows: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["entity"]: row for row in rows(windows_of([records(flows)], TEN)[10, Stream.ENTITY_WINDOWS])}


def talk(gaps_ms: list[int], directions: list[int], sizes: list[int], **more: Any) -> dict[str, Any]:
    """A flow of which these were the first packets; three segments of 164 header octets each way."""
    sides = {"packets": 3, "headers": 164, "back_packets": 3, "back_headers": 164, "syn": 1, "back_syn": 1}
    first = {
        "splt_direction": directions,
        "splt_packet_size": sizes,
        "splt_inter_arrival_ns": [gap * MS for gap in gaps_ms],
    }
    return sides | first | more


HTTP = talk([0, 5, 1, 1, 2, 40], [0, 1, 0, 0, 1, 1], [60, 60, 52, 400, 52, 900])


def test_sums_rates_and_shares() -> None:
    flow = {"packets": 6, "octets": 300, "payload": 60, "back_packets": 4, "back_octets": 100, "back_payload": 20}
    (row,) = edges(flow, flow)
    told = {name: row[name] for name in ("delta_flow_count", "packet_delta_count", "reverse_octet_delta_count")}
    assert told == {"delta_flow_count": 2, "packet_delta_count": 12, "reverse_octet_delta_count": 200}
    assert (row["flows_per_second"], row["packets_per_second"], row["octets_per_second"]) == (0.2, 2.0, 80.0)
    assert (row["octet_ratio"], row["payload_ratio"]) == (0.75, 0.75)


def test_a_ratio_without_anything_to_divide_by_is_null() -> None:
    (row,) = edges({"reason": "active"})
    names = ("octet_ratio", "payload_ratio", "unanswered_ratio", "flow_start_gap_mean_ns", "flow_start_gap_variation")
    assert {row[name] for name in names} == {None}


def test_unanswered_reset_and_refused() -> None:
    """Four flows: answered, unanswered, unanswered so far (cut by the active timeout), refused by a RST to a SYN."""
    answered = {"back_packets": 1, "syn": 1, "back_syn": 1}
    cut = {"reason": "active"}
    (row,) = edges(answered, {"syn": 1}, cut, {"syn": 1, "back_packets": 1, "back_rst": 1})
    assert (row["original_flows_completed"], row["unanswered_flow_count"]) == (3, 1)
    assert (row["reset_flow_count"], row["refused_flow_count"]) == (1, 1)
    assert row["unanswered_ratio"] == pytest.approx(1 / 3)
    assert (row["reset_ratio"], row["refused_ratio"]) == (0.25, 0.25)


def test_entropy_of_source_ports_in_bits() -> None:
    """A half, a quarter, a quarter: 1.5 bit."""
    (row,) = edges(*({"source_port": port} for port in (1, 1, 2, 3)))
    assert row["source_transport_port_entropy"] == 1.5


def test_one_source_port_has_no_entropy() -> None:
    (row,) = edges({"source_port": 5}, {"source_port": 5})
    assert row["source_transport_port_entropy"] == 0.0


def test_gaps_between_flow_starts() -> None:
    """Starts at 0, 2 and 6 s: gaps 2 and 4 s, mean 3 s, sample deviation sqrt(2) s."""
    (row,) = edges({"at": 6}, {"at": 0}, {"at": 2})
    assert (row["flow_start_gap_count"], row["flow_start_gap_mean_ns"]) == (2, 3e9)
    assert row["flow_start_gap_variation"] == pytest.approx(2**0.5 / 3)


def test_a_beacon_has_no_variation_over_panes_either() -> None:
    beacon = records([{"at": 7 * k} for k in range(8)])
    found = rows(windows_of([beacon], WindowSettings())[60, Stream.EDGE_WINDOWS])
    (whole,) = (row for row in found if row["window_start"] == 0)
    assert (whole["flow_start_gap_count"], whole["flow_start_gap_mean_ns"]) == (7, 7e9)
    assert whole["flow_start_gap_variation"] == 0.0


def test_a_record_cut_by_the_active_timeout_is_no_beacon() -> None:
    (row,) = edges(*({"at": k, "reason": "active"} for k in range(5)))
    assert row["flow_start_gap_count"] == 0


def test_handshake_and_first_response_of_tcp() -> None:
    """SYN-ACK after 5 ms; the request leaves at 7 ms, the response comes at 49 ms; pure ACKs are neither."""
    (row,) = edges(HTTP)
    assert (row["handshake_count"], row["handshake_p50_ns"]) == (1, 5 * MS)
    assert (row["response_count"], row["response_p50_ns"]) == (1, 42 * MS)


def test_a_retransmitted_syn_is_waited_for_and_is_no_request() -> None:
    late = talk([0, 1000, 5, 1, 1, 40], [0, 0, 1, 0, 0, 1], [60, 60, 60, 52, 400, 900])
    (row,) = edges(late)
    assert (row["handshake_p50_ns"], row["response_p50_ns"]) == (1005 * MS, 40 * MS)


def test_response_of_udp() -> None:
    (row,) = edges(talk([0, 3], [0, 1], [80, 200], protocol=17, syn=0, back_syn=0))
    assert (row["handshake_count"], row["response_p50_ns"]) == (0, 3 * MS)


@pytest.mark.parametrize("change", [{"syn": 0}, {"back_packets": 0}, {"protocol": 1}])
def test_flows_that_do_not_tell_a_latency_have_none(change: dict[str, Any]) -> None:
    (row,) = edges(HTTP | change)
    assert (row["handshake_count"], row["response_count"], row["response_p99_ns"]) == (0, 0, None)


def test_the_first_packets_of_a_slice_are_its_own() -> None:
    """Arrow batches that begin within a larger one."""
    slow = talk([0, 9, 1, 1, 2, 40], [0, 1, 0, 0, 1, 1], [60, 60, 52, 400, 52, 900])
    whole = records([HTTP, HTTP, slow])
    (row,) = rows(windows_of([whole.slice(2, 1)], TEN)[10, Stream.EDGE_WINDOWS])
    assert row["handshake_p50_ns"] == 9 * MS


def test_percentiles_of_few_values_are_values_that_occurred() -> None:
    counts, (p50, p90, p99) = quantiles(sampled(np.array([0, 0, 0]), np.array([3, 1, 2])), 2)
    assert (counts.tolist(), p50[0], p90[0], p99[0]) == ([3, 0], 2.0, 3.0, 3.0)
    assert np.isnan(p50[1])


@pytest.mark.parametrize("count", range(1, FEW + 1))
def test_few_values_give_what_the_digest_gives(count: int) -> None:
    values = np.random.default_rng(count).integers(0, 1 << 39, count)
    digest = tdigest_double(COMPRESSION)
    digest.update(np.sort(values).astype(np.float64))
    _, found = quantiles(sampled(np.zeros(count, np.int64), values), 1)
    assert [column[0] for column in found] == [digest.get_quantile(q) for q in (0.5, 0.9, 0.99)]


def test_many_values_are_within_a_hundredth_of_their_rank() -> None:
    """1 to 10,000, in ten pieces of which each becomes a digest of its own."""
    pieces = [sampled(np.zeros(1000, np.int64), np.arange(1 + k, 10_001, 10)) for k in range(10)]
    counts, found = quantiles(joined(pieces), 1)
    assert counts.tolist() == [10_000]
    assert [column[0] for column in found] == [
        pytest.approx(5000, abs=100), pytest.approx(9000, abs=100), pytest.approx(9900, abs=100)
    ]  # fmt: skip


def test_fan_out_fan_in_and_their_entropies() -> None:
    told = entities(
        {"destination": "10.0.0.2", "port": 80},
        {"destination": "10.0.0.2", "port": 80},
        {"destination": "10.0.0.3", "port": 80},
        {"destination": "10.0.0.4", "port": 443},
    )
    client, server = told["10.0.0.1"], told["10.0.0.2"]
    assert (client["client_distinct_peer_count"], client["client_peer_entropy"]) == (3, 1.5)
    assert client["client_distinct_port_count"] == 2
    assert client["client_port_entropy"] == pytest.approx(0.811278, abs=1e-6)
    assert (server["server_distinct_peer_count"], server["server_delta_flow_count"]) == (1, 2)
    assert (client["server_delta_flow_count"], client["server_octet_ratio"]) == (0, None)


def test_an_entity_answers_as_fast_as_all_its_edges_together() -> None:
    slow = talk([0, 9, 1, 1, 2, 40], [0, 1, 0, 0, 1, 1], [60, 60, 52, 400, 52, 900], source="10.0.0.9")
    served = entities(HTTP, HTTP, slow)["10.0.0.2"]
    assert (served["server_handshake_count"], served["server_handshake_p50_ns"]) == (3, 5 * MS)
    assert served["server_handshake_p90_ns"] == 9 * MS


def test_a_peer_is_new_once() -> None:
    flows = [{"at": 1}, {"at": 12}, {"at": 13, "destination": "10.0.0.3"}]
    found = rows(windows_of([records(flows)], TEN)[10, Stream.ENTITY_WINDOWS])
    client = [
        (row["client_new_peer_count"], row["client_new_peer_ratio"]) for row in found if row["entity"] == "10.0.0.1"
    ]
    assert client == [(1, 1.0), (1, 0.5)]


def test_a_peer_that_was_not_met_for_long_is_new_again() -> None:
    forgetful = WindowSettings(specs=TEN.specs, remember_s=60)
    found = windows_of([records([{"at": 1}, {"at": 45}, {"at": 300}])], forgetful)[10, Stream.EDGE_WINDOWS]
    assert [row["new_peer"] for row in rows(found)] == [True, False, True]


def test_names_are_entities_or_workloads_and_else_addresses() -> None:
    flow = {"source_entity": "pod/shop/cart-0", "source_workload": "deployment/shop/cart"}
    (by_pod,) = rows(windows_of([records([flow])], TEN)[10, Stream.EDGE_WINDOWS])
    coarse = WindowSettings(specs=TEN.specs, grain="workload")
    (by_workload,) = rows(windows_of([records([flow])], coarse)[10, Stream.EDGE_WINDOWS])
    assert (by_pod["source"], by_pod["source_workload"]) == ("pod/shop/cart-0", "deployment/shop/cart")
    assert (by_workload["source"], by_workload["destination"]) == ("deployment/shop/cart", "10.0.0.2")
