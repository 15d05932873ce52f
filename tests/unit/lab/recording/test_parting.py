"""Parts: nothing is lost, times outside of the window are counted, order and bounds hold."""

from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from loomidi_lab.recording.balances import missing
from loomidi_lab.recording.parting import Parting, Stream
from loomidi_lab.recording.streams import FLOWS, LOGS
from tests.unit.lab.recording.making import BEGIN, S, flow_batch

LINE = ("n1", "shop", "cart-1", "a", "cart", 0, "stdout", "hello")
WHERE = ("n1", "ns", "veth1", 2, "pod", "shop", "cart-1")


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = BEGIN

    def __call__(self) -> int:
        return self.at


def table(folder: Path) -> pa.Table:
    return pa.concat_tables(parquet.read_table(path) for path in sorted(folder.glob("part-*.parquet")))


def test_rows_outside_of_the_window_are_dropped_and_counted(tmp_path: Path) -> None:
    stream = Stream(tmp_path, LOGS, now_ns=Hand())
    stream.begin(BEGIN)
    stream.end(BEGIN + S)
    stream.add([(at, *LINE) for at in (BEGIN - 1, BEGIN, BEGIN + S, BEGIN + S + 1)])
    stream.close()
    assert table(tmp_path)["time_ns"].to_pylist() == [BEGIN, BEGIN + S]
    found = stream.balance.as_dict()
    assert found["dropped"] == {"after the window": 1, "before the window": 1}
    assert missing(found) == 0


def test_flows_get_their_place_and_their_end_as_time(tmp_path: Path) -> None:
    stream = Stream(tmp_path, FLOWS, now_ns=Hand())
    stream.begin(BEGIN)
    stream.add_flows(flow_batch([(BEGIN, BEGIN + S, "a", "b"), (BEGIN, BEGIN + 2 * S, "b", "a")]), WHERE)
    stream.add_flows(flow_batch([(BEGIN - 9, BEGIN - 5, "c", "d")]), WHERE)
    stream.close()
    found = table(tmp_path)
    assert found.schema.equals(FLOWS)
    assert found["time_ns"].to_pylist() == [BEGIN + S, BEGIN + 2 * S]
    assert found["pod"].to_pylist() == ["cart-1", "cart-1"]
    assert stream.balance.as_dict()["dropped"] == {"before the window": 1}


def test_the_time_of_recording_never_falls(tmp_path: Path) -> None:
    clock = Hand()
    stream = Stream(tmp_path, LOGS, now_ns=clock)
    for at in (BEGIN + 5, BEGIN + 2, BEGIN + 9):
        clock.at = at
        stream.add([(BEGIN, *LINE)])
    stream.close()
    assert table(tmp_path)["recorded_ns"].to_pylist() == [BEGIN + 5, BEGIN + 5, BEGIN + 9]


def test_a_row_that_does_not_fit_is_counted_and_the_others_are_kept(tmp_path: Path) -> None:
    stream = Stream(tmp_path, LOGS, now_ns=Hand())
    stream.add(
        [(BEGIN, *LINE), (BEGIN, *LINE[:5], "no number", *LINE[6:]), (BEGIN, *LINE[:7], "\ud800"), (BEGIN, *LINE)]
    )
    stream.close()
    assert table(tmp_path).num_rows == 2
    assert stream.balance.as_dict()["dropped"] == {"does not fit its columns": 2}


def test_memory_is_bounded_by_rows_and_a_part_by_time(tmp_path: Path) -> None:
    clock = Hand()
    stream = Stream(tmp_path, LOGS, Parting(rows=10, flush_s=5, rotate_s=60), clock)
    for _ in range(25):
        stream.add([(BEGIN, *LINE)])
    assert stream.balance.as_dict()["written"] == 20
    clock.at += 6 * S
    stream.tick()
    assert stream.balance.as_dict()["written"] == 25
    clock.at += 60 * S
    stream.tick()
    assert table(tmp_path).num_rows == 25  # readable while the recording goes on
    stream.add([(BEGIN, *LINE)])
    stream.close()
    assert len(list(tmp_path.glob("part-*.parquet"))) == 2


def test_a_stream_without_rows_still_has_its_columns(tmp_path: Path) -> None:
    Stream(tmp_path, LOGS, now_ns=Hand()).close()
    assert table(tmp_path).schema.equals(LOGS)
