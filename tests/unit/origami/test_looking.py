"""Findings that are looked at while they grow: same id, nothing learned, nothing lost at the end."""

from loomidi.origami.online import FlowDetectors, FlowSettings
from tests.unit.origami.making import batch, flow, half_open


def scan(ports, at_s=0.0):
    return batch([half_open(at_s + port / 100, "10.9.9.9", port=1000 + port) for port in ports])


def test_a_scan_is_seen_before_its_window_is_over_and_keeps_its_id():
    detectors = FlowDetectors()
    assert (detectors.observe(scan(range(10))), detectors.look()) == ([], [])
    detectors.observe(scan(range(10, 40)))
    (first,) = detectors.look()
    detectors.observe(scan(range(40, 300)))
    (second,) = detectors.look()
    assert (first.pattern, first.id) == ("vertical_scan", second.id)
    assert [finding.evidence[0].value for finding in (first, second)] == [40, 300]
    assert [finding.id for finding in detectors.finish()] == [first.id]


def test_flows_that_come_late_move_the_beginning_and_not_the_id():
    detectors = FlowDetectors()
    detectors.observe(scan(range(30), at_s=5))
    (first,) = detectors.look()
    detectors.observe(scan(range(30, 60), at_s=-3))
    (second,) = detectors.look()
    assert (second.id, second.first_ns < first.first_ns) == (first.id, True)


def test_a_look_without_news_says_the_same():
    detectors = FlowDetectors()
    detectors.observe(scan(range(40)))
    assert detectors.look() == detectors.look() != []


def test_looking_often_gives_the_same_in_the_end_as_not_looking():
    flood = [half_open(index / 500, f"11.0.{index // 250 % 250}.{index % 250}") for index in range(15_000)]
    parts = [batch(flood[at : at + 500]) for at in range(0, len(flood), 500)]
    looked, plain = FlowDetectors(), FlowDetectors()
    for part in parts:
        looked.observe(part)
        looked.look()
        plain.observe(part)
    alike = [(f.pattern, f.entities, f.first_ns, f.last_ns, f.evidence, f.severity) for f in looked.finish()]
    assert alike == [(f.pattern, f.entities, f.first_ns, f.last_ns, f.evidence, f.severity) for f in plain.finish()]
    assert looked.snapshot() == plain.snapshot()


def test_what_has_ended_is_told_by_observe_under_the_id_it_was_seen_by():
    detectors = FlowDetectors(FlowSettings(lateness_s=30, quiet_s=60))
    detectors.observe(scan(range(40)))
    (seen,) = detectors.look()
    ended = [f for hour in range(1, 4) for f in detectors.observe(batch([flow(3600 * hour, protocol=17, packets=1)]))]
    assert [finding.id for finding in ended] == [seen.id]
    assert detectors.look() == []
