"""Event-time windows: the order and the splits of batches make no difference, memory stays bounded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loomidi.garden.graph.columns import Shape, joined, mixed
from loomidi.origami.online import FlowDetectors
from loomidi.origami.online.windows import Distinct, Windows, largest, spread
from tests.unit.origami.making import batch, flow, half_open

WIDTH = 10_000_000_000


def traffic():
    """A SYN flood over two minutes, a scan and some finished connections."""
    flood = [half_open(index / 50, f"11.0.{index // 250}.{index % 250}") for index in range(6000)]
    scan = [half_open(index / 3, "10.9.9.9", port=1000 + index, destination="10.0.0.3") for index in range(60)]
    done = {"syn": 1, "ack": 4, "back_syn": 1, "packets": 5, "back_packets": 4, "payload": 300, "back_payload": 900}
    web = [flow(index, 2.0, protocol=6, port=80, source_port=30000 + index, **done) for index in range(100)]
    return flood + scan + web


def findings(pieces):
    detectors = FlowDetectors()
    found = [finding for piece in pieces for finding in detectors.observe(batch(piece))]
    return sorted(found + detectors.finish(), key=lambda finding: finding.id)


@pytest.fixture(scope="module")
def whole():
    return findings([traffic()])


def test_the_traffic_holds_a_flood_and_a_scan(whole):
    assert sorted(finding.pattern for finding in whole) == ["syn_flood", "vertical_scan"]


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), pieces=st.integers(1, 40))
def test_any_order_and_any_split_of_batches_gives_the_same_findings(whole, seed, pieces):
    rows = traffic()
    order = np.random.default_rng(seed).permutation(len(rows))
    split = np.array_split(order, pieces)
    assert findings([[rows[index] for index in part] for part in split]) == whole


@given(
    first=st.integers(0, 10**12),
    length=st.integers(0, 10**11),
    packets=st.integers(0, 10**9),
)
def test_a_flow_cut_at_window_borders_keeps_its_packets(first, length, packets):
    cut = spread(np.array([first]), np.array([first + length]), WIDTH)
    assert cut.part(np.array([packets])).sum() == packets
    assert cut.window[0] == first // WIDTH


def test_a_flow_of_years_is_spread_over_a_bounded_number_of_windows():
    cut = spread(np.array([0]), np.array([10**18]), WIDTH)
    assert len(cut.window) == 256


def test_a_packet_with_a_wrong_clock_closes_nothing():
    rows = [half_open(index / 50, f"11.0.{index // 250}.{index % 250}") for index in range(1000)]
    future = [half_open(10**9, "11.0.0.1")]
    found = findings([rows[:300] + future, rows[300:600] + future, rows[600:]])
    assert [finding.pattern for finding in found] == ["syn_flood"]
    assert next(e.value for e in found[0].evidence if e.name == "packets") == 1000


def test_a_second_capture_may_be_older_than_the_first():
    new = [half_open(10**6 + index / 100, f"11.0.0.{index % 250}") for index in range(400)]
    old = [half_open(index / 100, f"11.0.0.{index % 250}") for index in range(400)]
    assert [finding.pattern for finding in findings([new, old])] == ["syn_flood", "syn_flood"]


def test_a_finding_is_told_once_when_it_is_over():
    detectors = FlowDetectors()
    detectors.observe(batch([half_open(index / 100, f"11.0.0.{index % 250}") for index in range(400)]))
    assert detectors.observe(batch([half_open(60, "11.0.0.1")])) == []
    assert [f.pattern for f in detectors.observe(batch([half_open(90_000, "11.0.0.1")]))] == ["syn_flood"]
    assert detectors.finish() == []


def test_a_window_table_sheds_the_smallest_rows_and_counts_them():
    shape = Shape(keys=("window",), sums=("packets",))
    windows = Windows(shape, 100, largest("packets", 100))
    for start in range(0, 1000, 50):
        number = np.arange(start, start + 50)
        windows.add({"key": joined(number), "window": number * 0, "packets": number})
    kept = windows.rows_of([0])
    assert len(kept["key"]) <= 100
    assert kept["packets"].max() == 999
    assert windows.shed_rows == 1000 - len(kept["key"])


@pytest.mark.parametrize("count", [1, 50, 1023])
def test_distinct_elements_are_counted_exactly_up_to_the_sketch(count):
    elements = mixed(np.tile(np.arange(count, dtype=np.uint64), 3))
    assert _distinct(elements) == count


def test_distinct_elements_beyond_the_sketch_are_estimated_within_ten_percent():
    assert _distinct(mixed(np.arange(50_000, dtype=np.uint64))) == pytest.approx(50_000, rel=0.1)


def test_those_that_a_key_met_are_named_the_heaviest_first_however_the_input_is_cut():
    names, weights = np.array([b"10.0.0.1", b"10.0.0.2", b"10.0.0.9"]), np.array([1, 2, 40])
    ranks, key = mixed(np.arange(3, dtype=np.uint64)), np.full(3, 7, np.uint64)
    whole, cut = Distinct(), Distinct()
    whole.add(key, np.zeros(3, np.int64), ranks, names, weights * 2)
    for _ in range(2):
        cut.add(key, np.zeros(3, np.int64), ranks, names, weights)
    assert whole.names(np.uint64(7), 8) == cut.names(np.uint64(7), 8) == ["10.0.0.9", "10.0.0.2", "10.0.0.1"]
    assert whole.names(np.uint64(7), 1) == ["10.0.0.9"]


def _distinct(elements):
    sketch, key = Distinct(), np.full(len(elements), 7, np.uint64)
    half = len(elements) // 2
    for part in (slice(half, None), slice(0, half)):
        count = len(elements[part])
        sketch.add(key[part], np.zeros(count, np.int64), elements[part], np.zeros(count, "S1"))
    return int(sketch.counts(np.array([7], np.uint64))[0])
