"""The state machine: nothing is forgotten between two bytes, and every bound is counted."""

from loomidi.contracts.schemas import EDGE_WINDOWS
from loomidi.contracts.streams import Envelope, Stream
from loomidi.loom.bus.envelopes import decode
from loomidi.loom.runners import WindowMachine
from loomidi.loom.windows import WindowSettings, WindowSpec
from loomidi.loom.windows.synthetic import START_NS, flow_records
from tests.unit.loom.windows.building import SECOND, metric, metrics, records

SETTINGS = WindowSettings(
    specs=(WindowSpec(1, 1), WindowSpec(10, 10), WindowSpec(60, 10)), lateness_s=5, chunk_rows=150
)
FLOWS = [flow_records(60, seed=k, start_ns=START_NS + k * 3 * SECOND, seconds=3.0, pods=5) for k in range(9)]


def run(machine: WindowMachine, *, put_away: bool = False) -> list[Envelope]:
    found = list[Envelope]()
    for batch in FLOWS:
        machine.absorb(batch)
        due = machine.due()
        found += machine.close(due) if due is not None else []
        if put_away:
            machine = WindowMachine.from_bytes(machine.to_bytes(), SETTINGS)
    return found + machine.close(START_NS + 200 * SECOND)


def test_put_away_after_each_batch_it_gives_the_same_envelopes() -> None:
    assert run(WindowMachine(SETTINGS, epoch=3), put_away=True) == run(WindowMachine(SETTINGS, epoch=3))


def test_each_series_is_numbered_from_nought_without_a_gap() -> None:
    series: dict[tuple[str, str], list[int]] = {}
    for one in run(WindowMachine(SETTINGS, epoch=3)):
        series.setdefault((one.producer, one.stream), []).append(one.seq)
    assert len(series) == 6
    assert all(numbers == list(range(len(numbers))) for numbers in series.values())


def test_without_room_for_single_values_the_sums_are_whole_and_the_rest_is_counted() -> None:
    machine = WindowMachine(WindowSettings(specs=(WindowSpec(10, 10),), max_open_values=1), epoch=3)
    machine.absorb(records([{"at": 1, "octets": 5, "source_port": 7}, {"at": 2, "octets": 6, "source_port": 8}]))
    edges, _ = machine.close(START_NS + 10 * SECOND)
    (row,) = decode(edges, EDGE_WINDOWS).to_pylist()
    assert (row["octet_delta_count"], row["source_transport_port_entropy"]) == (11, None)
    assert machine.figures()["values_left_out"] == 4


def test_a_flow_is_in_a_window_or_late() -> None:
    machine = WindowMachine(SETTINGS, epoch=3)
    machine.absorb(records([{"at": 50}]))
    machine.close(START_NS + 40 * SECOND)
    machine.absorb(records([{"at": 39.9}, {"at": 40}]))
    late = [one for one in machine.close(START_NS + 60 * SECOND) if one.stream == Stream.LATE]
    assert [one.rows for one in late] == [1]
    assert (machine.counters["flows"], machine.counters["late_flows"]) == (2, 1)


def test_samples_of_a_closed_pane_are_counted_as_late() -> None:
    machine = WindowMachine(SETTINGS, epoch=3)
    machine.close(START_NS + 40 * SECOND)
    machine.absorb_metrics(metrics([metric(at, "http_requests_total", 1.0) for at in (5, 35, 45)]))
    assert (machine.counters["samples"], machine.counters["late_samples"]) == (1, 2)


def test_late_rows_do_not_wait_for_ever() -> None:
    """Many of them are due for a decision of their own, though nothing new may be closed."""
    machine = WindowMachine(SETTINGS, epoch=3)
    machine.absorb(records([{"at": 50}]))
    machine.close(START_NS + 50 * SECOND)
    machine.absorb(flow_records(65_536, seconds=30.0))
    assert machine.due() == START_NS + 50 * SECOND


def test_a_flow_of_a_clock_far_ahead_is_set_aside_and_closes_nothing() -> None:
    machine = WindowMachine(SETTINGS, epoch=3)
    machine.absorb(records([{"at": 1}, {"at": 7200}]), created_ns=START_NS + 2 * SECOND)
    assert machine.due() == START_NS - 3 * SECOND
    assert (machine.counters["flows"], machine.counters["flows_ahead"], machine.counters["late_flows"]) == (1, 1, 1)
