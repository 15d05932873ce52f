"""Windows that are still open: looked at without a trace, told early under the id of the end, or taken back."""

import dataclasses

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from loomidi.contracts.schemas import EDGE_WINDOWS
from loomidi.loom.bus.envelopes import decode
from loomidi.loom.runners import WindowMachine
from loomidi.loom.windows import WindowSettings
from loomidi.loom.windows.synthetic import START_NS, flow_records
from loomidi.origami.scoring import Incident
from loomidi.services.anomalies.foretelling import EARLY, WITHDRAWN, Foretelling
from loomidi.services.anomalies.noticing import Noticing
from loomidi.services.shared.early_windows import EarlyWindows
from loomidi.services.sightings import AGAIN, NEW, OVER, WORSE
from tests.unit.origami.shops import SCANNER, Shop
from tests.unit.services.test_incident_findings import INCIDENT
from tests.unit.services.test_noticing import learned

SECOND = 10**9


def end_of(window: pa.RecordBatch) -> int:
    return int(window.column("window_end").cast(pa.int64())[0].as_py())


def glanced(one: Noticing, window: pa.RecordBatch) -> list[Incident]:
    return one.glance({end_of(window): window})


def test_a_scan_is_seen_in_a_part_of_its_window_and_confirmed_by_the_whole() -> None:
    one, shop = learned()
    one.settle()
    scan = shop.scan(0)
    (early,) = glanced(one, scan.slice(0, scan.num_rows - 15))
    assert SCANNER in early.entities
    told = [*one.take(scan), *one.settle()]
    foretold = Foretelling()
    assert [row.state for row in foretold.first([early])] == [NEW]
    (again, *_) = [row for incident in told for row in foretold.then(incident)]
    assert (again.state, again.incident.incident_id) == (AGAIN, early.incident_id)
    assert list(foretold.lapsed(one.done_ns)) == []


def test_looking_leaves_no_trace_in_features_detectors_and_incidents() -> None:
    (one, shop), (other, _) = learned(), learned()
    windows = [*shop.windows(2), shop.scan(0), *shop.windows(2)]
    looked, plain = list[Incident](), list[Incident]()
    for window in windows:
        for rows in (3, window.num_rows // 2, window.num_rows):
            glanced(one, window.slice(0, rows))
        looked += one.take(window)
        plain += other.take(window)
    assert plain
    assert looked == plain
    assert one.features.snapshot() == other.features.snapshot()
    assert one.judge.snapshot() == other.judge.snapshot()


def test_usual_windows_that_are_half_full_are_no_incident() -> None:
    one, shop = learned()
    told = list[Incident]()
    for window in shop.windows(30):
        for rows in (4, 9, 14, window.num_rows):
            told += glanced(one, window.slice(0, rows))
        one.take(window)
    assert told == []


def test_a_window_that_was_judged_is_not_looked_at_again() -> None:
    one, shop = learned()
    scan = shop.scan(0)
    one.take(scan)
    one.settle()
    assert glanced(one, scan) == []
    assert one._open == {}


def test_what_no_whole_window_confirms_is_taken_back_and_counted() -> None:
    foretold = Foretelling()
    assert [row.evidence for row in foretold.first([INCIDENT])] == [(EARLY,)]
    assert list(foretold.first([INCIDENT])) == []  # each look finds it once more
    assert list(foretold.lapsed(INCIDENT.last_ns - 1)) == []
    (row,) = foretold.lapsed(INCIDENT.last_ns)
    assert (row.state, row.evidence) == (OVER, (WITHDRAWN,))
    assert foretold.counts == {"early": 1, "early_withdrawn": 1}


@pytest.mark.parametrize(("state", "told"), [("worse", WORSE), ("over", OVER)])
def test_one_id_from_the_first_word_to_the_last(state: str, told: str) -> None:
    foretold = Foretelling()
    list(foretold.first([dataclasses.replace(INCIDENT, incident_id="early")]))
    (first,) = foretold.then(dataclasses.replace(INCIDENT, state="new"))
    (later,) = foretold.then(dataclasses.replace(INCIDENT, state=state))
    assert [(one.state, one.incident.incident_id) for one in (first, later)] == [(AGAIN, "early"), (told, "early")]
    assert bool(foretold.names) == (told != OVER)


def test_two_that_were_told_early_and_turn_out_to_be_one_are_one() -> None:
    foretold, pairs = Foretelling(), (("a", "b", 1), ("a", "c", 1))
    apart = [dataclasses.replace(INCIDENT, incident_id=pair[1], pairs=(pair,)) for pair in pairs]
    assert len(list(foretold.first(apart))) == 2
    told = list(foretold.then(dataclasses.replace(INCIDENT, state="new", pairs=pairs)))
    assert [(one.state, one.incident.incident_id) for one in told] == [(OVER, "c"), (AGAIN, "b")]


def test_open_windows_are_told_as_far_as_they_have_come_and_closed_ones_are_the_same_without_it() -> None:
    asked, plain = (WindowMachine(WindowSettings(lateness_s=0), epoch=1) for _ in "ab")
    flows = flow_records(6000, seed=3, seconds=30.0)
    for at in range(6):
        for machine in (asked, plain):
            machine.absorb(flows.slice(at * 1000, 1000))
        early, _ = asked.early(10)
        assert early
        assert asked.early(10)[0] == []  # nothing came since
    to_ns = START_NS + 30 * SECOND
    closed = asked.close(to_ns)
    assert closed == plain.close(to_ns)
    batches = [decode(one, EDGE_WINDOWS) for one in closed if one.stream == "edge_windows"]
    final = pa.Table.from_batches([one for one in batches if end_of(one) == to_ns and len(one)])
    final = final.filter(pc.equal(final["window_size_s"], 10))
    counts = [pc.sum(one["delta_flow_count"]).as_py() for one in (final, early[-1])]
    assert counts[0] == counts[1] > 0


def test_of_each_open_window_the_latest_is_taken_once() -> None:
    handed, shop = EarlyWindows(), Shop()
    first, second = shop.windows(2)
    handed.put([first.slice(0, 3), second], 5)
    handed.put([first], 7)
    windows, heard_ns = handed.take()
    assert (sorted(windows), heard_ns) == ([end_of(first), end_of(second)], 7)
    assert windows[end_of(first)] is first
    assert handed.take() == ({}, 7)
