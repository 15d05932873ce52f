"""Flow detectors on batches made by hand: limits, memory, baselines, evidence."""

import pyarrow as pa
import pytest

from loomidi.contracts import Severity
from loomidi.origami.online import FlowDetectors
from tests.unit.origami.making import batch, flow, half_open


def told(*pieces, detectors=None):
    detectors = detectors or FlowDetectors()
    found = [finding for piece in pieces for finding in detectors.observe(batch(piece))]
    return found + detectors.finish()


def syns(count, rate, at_s=0.0):
    return [half_open(at_s + index / rate, f"11.0.{index // 250}.{index % 250}") for index in range(count)]


def test_an_empty_batch_is_nothing():
    assert told([]) == []


@pytest.mark.parametrize(("count", "rate", "found"), [(119, 1000, 0), (400, 200, 1), (400, 10, 0)])
def test_a_syn_flood_needs_a_number_and_a_rate(count, rate, found):
    assert len(told(syns(count, rate))) == found


def test_a_busy_server_with_lost_syns_is_no_flood():
    done = {"protocol": 6, "port": 443, "syn": 1, "ack": 5, "back_syn": 1, "packets": 6, "back_packets": 6}
    web = [flow(index / 200, destination="10.0.0.2", payload=400, back_payload=900, **done) for index in range(1000)]
    assert told(syns(200, 100) + web) == []


def refusals(count, rate, sources=1):
    """Closed ports of scanned hosts say no, on links of which only this direction is seen."""
    no = {"protocol": 6, "port": 50000, "packets": 1, "octets": 40, "ack": 1, "rst": 1, "destination": "10.9.9.9"}
    return [
        flow(index / rate, source=f"10.0.{index % sources}.2", source_port=1 + index, **no) for index in range(count)
    ]


def test_a_host_that_is_scanned_is_no_attacker_where_only_its_answers_are_seen():
    asked = [half_open(index / 300, "10.9.9.9", port=1 + index, destination="10.0.0.2") for index in range(1000)]
    found = told(asked + refusals(1000, 300))
    assert [(one.pattern, one.entities[0]) for one in found] == [("vertical_scan", "host/10.9.9.9")]


def test_resets_from_many_hosts_are_a_flood():
    assert [one.pattern for one in told(refusals(1000, 300, sources=200))] == ["tcp_flag_flood"]


def test_a_client_whose_handshake_was_open_for_a_moment_is_not_named_beside_the_one_who_floods():
    flood = [half_open(index / 1000, "11.0.0.1") for index in range(2000)]
    (finding,) = told([*flood, half_open(0.5, "10.0.0.15"), half_open(1.2, "10.0.0.15")])
    assert finding.entities[:-1] == ("host/11.0.0.1",)


def test_all_of_a_few_who_flood_alike_are_named():
    (finding,) = told([half_open(index / 1000, f"11.0.0.{index % 3}") for index in range(2000)])
    assert sorted(finding.entities[:-1]) == ["host/11.0.0.0", "host/11.0.0.1", "host/11.0.0.2"]


def test_evidence_holds_the_value_beside_its_limit():
    (finding,) = told(syns(2000, 1000))
    facts = {evidence.name: evidence for evidence in finding.evidence}
    assert facts["syn_rate"].value > facts["syn_rate"].threshold
    assert facts["syn_rate"].unit == "packets/s"
    assert facts["sources"].value == pytest.approx(2000, rel=0.1)
    assert all(evidence.meaning for evidence in finding.evidence)


def test_a_rate_that_a_target_is_used_to_is_no_longer_told():
    detectors = FlowDetectors()
    for minute in range(40):
        detectors.observe(batch(syns(600, 60, at_s=minute * 3600)))
    assert told(syns(600, 60, at_s=50 * 3600), detectors=detectors) == []
    assert [f.pattern for f in told(syns(9000, 2000, at_s=60 * 3600), detectors=detectors)] == ["syn_flood"]


def test_memory_stays_bounded_under_a_flood_of_new_sources_and_says_so():
    detectors = FlowDetectors()
    scan = [half_open(index / 10, "10.9.9.9", port=1000 + index, destination="10.0.0.3") for index in range(90)]
    detectors.observe(batch(scan))
    flood = batch([half_open(1, "11.0.0.1")] * 8192)
    for part in range(50):
        sources = pa.array([f"{11 + part}.{i // 250}.{i % 250}.1" for i in range(8192)])
        detectors.observe(flood.set_column(7, "source_ip_address", sources))
    patterns = {finding.pattern for finding in detectors.finish()}
    assert patterns == {"syn_flood", "vertical_scan"}
    assert detectors.shed > 0


def test_multicast_is_no_target():
    group = {"destination": "239.255.255.250", "protocol": 17, "port": 1900, "packets": 5000, "octets": 2_000_000}
    assert told([flow(0, 1.0, source_port=5000, **group)]) == []


def test_peer_to_peer_ports_are_told_as_info():
    (finding,) = told([half_open(index, "10.0.0.1", destination=f"11.0.0.{index}", port=8333) for index in range(60)])
    assert (finding.pattern, finding.severity) == ("horizontal_scan", Severity.INFO)


def test_a_scan_over_a_window_border_is_one_finding():
    rows = [half_open(index * 20, "10.9.9.9", port=1000 + index) for index in range(60)]
    (finding,) = told(rows)
    assert finding.pattern == "vertical_scan"
    assert finding.last_ns - finding.first_ns == 59 * 20 * 10**9


def test_a_beacon_with_missed_calls_keeps_its_beat():
    talk = {"protocol": 6, "port": 8443, "syn": 1, "ack": 5, "packets": 6, "back_packets": 5}
    talk |= {"payload": 400, "back_payload": 200, "destination": "203.0.113.9"}
    rows = [flow(index * 60, 1.0, **talk) for index in range(60) if index % 7]
    (finding,) = told(rows)
    assert finding.pattern == "beaconing"
    assert next(e.value for e in finding.evidence if e.name == "period") == 60.0


def test_a_beacon_of_which_one_side_alone_is_heard_is_told_by_what_it_acknowledges():
    talk = {"protocol": 6, "port": 8443, "syn": 1, "ack": 5, "packets": 6, "payload": 400, "destination": "203.0.113.9"}
    (finding,) = told([flow(index * 60, 1.0, **talk) for index in range(60)])
    assert finding.pattern == "beaconing"


def test_a_slow_leak_that_is_looked_at_all_the_time_does_not_teach_its_own_baseline():
    part = {"protocol": 6, "port": 443, "ack": 90, "packets": 300, "payload": 250_000, "destination": "203.0.113.9"}
    detectors = FlowDetectors()
    for second in range(30):
        detectors.observe(batch([flow(float(second), 1.0, **part)]))
        found = detectors.look()
    assert [finding.pattern for finding in found] == ["exfiltration"]


def test_a_beacon_between_inside_hosts_is_told_as_info():
    talk = {"protocol": 6, "port": 8443, "syn": 1, "ack": 5, "packets": 6, "back_packets": 5, "payload": 400}
    (finding,) = told([flow(index * 60, 1.0, back_payload=200, **talk) for index in range(60)])
    assert finding.severity is Severity.INFO


def test_an_upload_that_a_source_is_used_to_is_not_told():
    upload = {"protocol": 6, "port": 443, "syn": 1, "ack": 900, "packets": 6000, "back_packets": 900}
    upload |= {"payload": 8_000_000, "back_payload": 4000, "destination": "203.0.113.9"}
    rows = [flow(index * 3600, 20.0, **upload) for index in range(30)]
    detectors = FlowDetectors()
    first = told(rows, detectors=detectors)
    assert told([flow(40 * 3600, 20.0, **upload)], detectors=detectors) == []
    assert first[0].pattern == "exfiltration"
    assert len(first) < 12
    large = upload | {"payload": 90_000_000}
    assert [f.severity for f in told([flow(50 * 3600, 20.0, **large)], detectors=detectors)] == [Severity.HIGH]


def test_learned_baselines_survive_a_restart():
    before, after = FlowDetectors(), FlowDetectors()
    for minute in range(40):
        before.observe(batch(syns(600, 60, at_s=minute * 3600)))
    before.finish()
    after.restore(before.snapshot())
    assert told(syns(600, 60, at_s=50 * 3600), detectors=after) == []


def test_a_flood_that_lasts_does_not_become_usual():
    detectors = FlowDetectors()
    for part in range(60):
        detectors.observe(batch(syns(400, 40, at_s=part * 10) + syns(4000, 1000, at_s=part * 10)))
    (finding,) = detectors.finish()
    assert finding.last_ns - finding.first_ns > 590 * 10**9


def test_what_a_live_agent_asks_for_early_is_judged_again_with_what_comes_later():
    detectors = FlowDetectors()
    detectors.observe(batch(syns(80, 80)))
    assert detectors.finish() == []
    detectors.observe(batch(syns(80, 80, at_s=1)))
    assert [finding.pattern for finding in detectors.finish()] == ["syn_flood"]
    assert detectors.finish() == []


def datagrams(source_port, ports):
    """One to each port of one host, from one port of another; nothing is heard of an answer."""
    sent = {"protocol": 17, "source_port": source_port, "packets": 1, "octets": 60, "payload": 32}
    return [flow(port * 0.001, port=port, **sent) for port in ports]


def test_a_scan_from_the_port_of_a_name_server_is_told_by_ports_that_ask_nothing():
    (finding,) = told(datagrams(53, [*range(100, 180), *range(2000, 2150)]))
    assert (finding.pattern, finding.entities[0]) == ("vertical_scan", "host/10.0.0.1")


@pytest.mark.parametrize("ports", [range(1024, 1500), [*range(985, 1024), *range(2000, 2100)], range(600, 40000, 7)])
def test_answers_of_a_name_server_of_which_one_side_is_heard_are_no_scan(ports):
    assert [finding for finding in told(datagrams(53, ports)) if finding.pattern == "vertical_scan"] == []


def cut_headers(**more):
    """TCP packets of which the flags are unknown."""
    ends = {"protocol": 6, "port": 80, "packets": 4, "octets": 112, "header": 112}
    return [flow(index * 0.01, source_port=2000 + index, **ends | more) for index in range(256)]


@pytest.mark.parametrize("resets", [0, 2])
def test_first_fragments_too_small_for_tcp_flags_are_a_flood(resets):
    (finding,) = told(cut_headers(fragments=4, packets=4 + resets, rst=resets))
    assert finding.pattern == "tcp_flag_flood"


def test_a_capture_that_cuts_headers_is_no_flood_of_fragments():
    assert told(cut_headers(packets=40, payload=4000)) == []


def talk(at_s, *, begun, port=6379, lasts_s=1.0, payload=350, back_payload=24):
    """A record of a conversation with a login service: its beginning, or a further piece of one that goes on."""
    opened = {"syn": 1, "back_syn": 1} if begun else {}
    shape = {"protocol": 6, "port": port, "ack": 4, "back_ack": 4, "packets": 6, "back_packets": 5}
    return flow(at_s, lasts_s, source_port=40000, payload=payload, back_payload=back_payload, **shape, **opened)


def guessing(pieces):
    """What is told of passwords: a steady beat is told, too."""
    return [finding for finding in told(pieces) if finding.pattern == "brute_force"]


def test_one_connection_that_is_kept_and_told_in_pieces_guesses_no_password():
    kept = [talk(3.0 * index, begun=index == 0) for index in range(200)]
    assert guessing(kept) == []
    new = [talk(3.0 * index, begun=True) for index in range(200)]
    assert len(guessing(new)) == 1


def test_guesses_that_are_told_in_pieces_are_still_alike_and_each_counts_once():
    first = [talk(10.0 * index, begun=True, port=22, lasts_s=5.0, back_payload=2000) for index in range(40)]
    rest = [talk(10.0 * index + 5, begun=False, port=22, lasts_s=3.0, back_payload=200) for index in range(40)]
    (finding,) = guessing([*first, *rest])
    facts = {one.name: one.value for one in finding.evidence}
    assert (facts["conversations"], facts["answer_octets"]) == (40, 2200)


def test_sessions_of_a_person_that_are_told_in_pieces_are_long():
    pieces = [talk(30.0 * at + 5.0 * piece, begun=piece == 0, port=22, lasts_s=5.0, back_payload=900)
              for at in range(30) for piece in range(6)]  # fmt: skip
    assert guessing(pieces) == []


def test_where_no_flags_are_known_each_record_is_a_conversation():
    bare = {"protocol": 6, "port": 6379, "packets": 6, "back_packets": 5, "payload": 350, "back_payload": 24}
    assert len(guessing([flow(3.0 * index, 1.0, **bare) for index in range(200)])) == 1
