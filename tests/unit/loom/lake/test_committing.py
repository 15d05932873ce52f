"""From the bus into a table, exactly once."""

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from loomidi.contracts.errors import Conflict, Retryable
from loomidi.contracts.streams import Envelope, Message
from loomidi.kit.clock import ManualClock
from loomidi.loom.lake import Committer, Held, Lake, compact
from tests.unit.loom.lake import batches
from tests.unit.loom.lake.batches import START_NS, lake_in, message, messages, values

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lake_in(tmp_path)


def test_rows_are_in_the_table_once_they_are_committed_and_not_before(lake: Lake) -> None:
    with Committer(lake, "metrics") as committer:
        committer.take(messages(3))
        assert values(lake) == []
        done = committer.commit()
    assert (done.rows, done.batches, dict(done.position)) == (9, 3, {0: 3})
    assert values(lake) == [float(each) for each in range(9)]


def test_what_is_delivered_again_is_counted_and_not_written(lake: Lake) -> None:
    with Committer(lake, "metrics") as committer:
        committer.take(messages(3))
        committer.take(messages(3))
        assert committer.commit().duplicates == 3
        taken = committer.take(messages(4, first=1))
        assert (taken.duplicates, taken.batches) == (2, 2)
        committer.commit()
    assert values(lake) == [float(each) for each in range(15)]


def test_the_next_committer_begins_where_the_newest_snapshot_ends(lake: Lake) -> None:
    with Committer(lake, "metrics") as committer:
        committer.take([message(each.envelope, each.offset, each.offset % 2) for each in messages(5)])
        committer.commit()
        committer.take(messages(2, first=5))  # dies before it commits
    with Committer(lake, "metrics") as committer:
        assert committer.position == {0: 4, 1: 5}
        assert committer.take(messages(2, first=5)).batches == 2


def test_position_moves_on_over_duplicates_without_a_snapshot_of_nothing(lake: Lake) -> None:
    with Committer(lake, "metrics") as committer:
        committer.take(messages(2))
        committer.commit()
        committer.take([message(messages(1)[0].envelope, 9)])
        done = committer.commit()
        assert (done.snapshot_id, dict(done.position)) == (None, {0: 9})
        committer.take(messages(1, first=2))
        committer.commit()
    assert len(lake.snapshots("metrics")) == 2


def test_what_nobody_can_use_is_buried_with_its_cause_and_the_rest_is_committed(lake: Lake) -> None:
    buried: list[tuple[Message, str]] = []
    good = messages(1)[0]
    broken = message(Envelope("metrics", "node-a", 1, 1, 3, b"no Arrow"), 2)
    newer = message(Envelope("metrics", "node-a", 1, 2, 3, good.envelope.payload, schema_version=99), 3)
    with Committer(lake, "metrics", bury=lambda which, cause: buried.append((which, cause))) as committer:
        taken = committer.take([good, broken, newer])
        done = committer.commit()
    assert (taken.buried, done.buried, done.rows, dict(done.position)) == (2, 2, 3, {0: 3})
    assert [each for each, _ in buried] == [broken, newer]
    assert "no Arrow stream" in buried[0][1]
    assert "version 99" in buried[1][1]


def test_a_buried_batch_that_comes_back_mended_is_taken(lake: Lake) -> None:
    with Committer(lake, "metrics", bury=lambda *_: None) as committer:
        committer.take([message(Envelope("metrics", "node-a", 1, 0, 3, b"no Arrow"), 1)])
        committer.commit()
        assert committer.take([message(messages(1)[0].envelope, 2)]).batches == 1


def test_a_bury_that_fails_leaves_the_message_to_be_taken_again(lake: Lake) -> None:
    def away(*_: object) -> None:
        raise ConnectionError("the bus is away")

    broken = message(Envelope("metrics", "node-a", 1, 0, 3, b"no Arrow"), 1)
    with Committer(lake, "metrics", bury=away) as committer:
        with pytest.raises(ConnectionError):
            committer.take([broken])
        assert committer.waiting.buried == 0
        assert committer.position == {}


def test_a_count_beyond_63_bits_is_buried_not_bent(lake: Lake) -> None:
    causes: list[str] = []
    batch = batches.flows(3)
    column = pa.array([1, 2, 2**63], pa.uint64())
    at = batch.schema.get_field_index("octet_delta_count")
    columns = [column if index == at else batch.column(index) for index in range(batch.num_columns)]
    bad = pa.RecordBatch.from_arrays(columns, schema=batch.schema)
    with Committer(lake, "flows", bury=lambda _, cause: causes.append(cause)) as committer:
        committer.take([message(batches.envelope(bad, 0, stream="flows"), 1)])
    assert "octet_delta_count" in causes[0]


def test_a_transform_sees_each_batch_before_it_is_written(lake: Lake) -> None:
    def named(batch: pa.RecordBatch) -> pa.RecordBatch:
        at = batch.schema.get_field_index("entity")
        return batch.set_column(at, batch.schema.field(at), pa.repeat(pa.scalar("pod/shop/cart-0"), batch.num_rows))

    with Committer(lake, "metrics", transform=named) as committer:
        committer.take(messages(2))
        committer.commit()
    assert set(lake.read("metrics").column("entity").to_pylist()) == {"pod/shop/cart-0"}


def test_it_is_due_by_rows_by_octets_and_by_age(tmp_path: Path) -> None:
    clock = ManualClock(time.time_ns())
    octets = len(messages(1)[0].envelope.payload) + 1
    for name, changed in (("rows", {"commit_rows": 6}), ("octets", {"commit_octets": octets})):
        with Committer(lake_in(tmp_path / name, clock=clock, **changed), "metrics") as committer:
            committer.take(messages(1))
            assert not committer.due()
            committer.take(messages(1, first=1))
            assert committer.due()
    with Committer(lake_in(tmp_path / "age", clock=clock), "metrics") as committer:
        assert not committer.due()
        committer.take(messages(1))
        clock.move(999_000_000)
        assert not committer.due()
        clock.move(1_000_000)
        assert committer.due()
        committer.commit()
        assert not committer.due()


def test_a_table_has_one_committer(lake: Lake) -> None:
    with (
        Committer(lake, "metrics"),
        Committer(lake, "counters"),
        pytest.raises(Conflict, match=f"process {os.getpid()}"),
    ):
        Committer(lake, "metrics")
    Committer(lake, "metrics").close()


def test_rows_of_another_committer_are_a_conflict_and_nothing_is_doubled(tmp_path: Path) -> None:
    """Two machines have no lock in common; the catalog tells."""
    first = lake_in(tmp_path)
    with Committer(first, "metrics") as mine:
        mine.take(messages(2))
        mine.commit()
        (first.settings.folder / "locks" / "loomidi.metrics.committer").unlink()
        with Committer(lake_in(tmp_path), "metrics") as theirs:
            theirs.take(messages(1, first=2))
            theirs.commit()
        mine.take(messages(1, first=2))
        with pytest.raises(Conflict, match="one committer per table"):
            mine.commit()
    assert values(first) == [float(each) for each in range(9)]


@pytest.mark.parametrize("landed", [True, False], ids=["landed", "lost"])
def test_rows_that_come_after_a_commit_of_unknown_end_are_neither_lost_nor_doubled(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, landed: bool
) -> None:
    """The catalog's answer is lost on the way, after or before it did what it was asked."""
    committing = lake.catalog.commit_table

    def lossy(*given: Any) -> Any:
        if landed:
            committing(*given)
        raise ConnectionError("the line went dead")

    with Committer(lake, "metrics") as committer:
        committer.take(messages(2))
        committer.commit()
        committer.take(messages(2, first=2))
        monkeypatch.setattr(lake.catalog, "commit_table", lossy)
        with pytest.raises(Retryable, match="the line went dead"):
            committer.commit()
        monkeypatch.setattr(lake.catalog, "commit_table", committing)
        assert committer.take(messages(5)).duplicates == 4
        assert (committer.waiting.batches, committer.position, committer.due()) == (3, {0: 2}, True)
        first, second = committer.commit(), committer.commit()
    assert [(each.rows, dict(each.position)) for each in (first, second)] == [(6, {0: 4}), (3, {0: 5})]
    assert values(lake) == [float(each) for each in range(15)]
    assert lake.holdings("metrics") == {("node-a", 1): Held(15, 5)}


def test_what_is_taken_while_a_sealed_snapshot_is_written_belongs_to_the_next(lake: Lake) -> None:
    with Committer(lake, "metrics") as committer, ThreadPoolExecutor(1) as writer:
        committer.take(messages(3))
        committer.seal()
        writing = writer.submit(committer.commit)
        assert committer.take(messages(5)).duplicates == 3  # 3 of them are sealed, not in the table yet
        assert (writing.result().rows, dict(committer.position)) == (9, {0: 3})
        assert committer.waiting.rows == 6
        assert committer.commit().rows == 6
        assert dict(committer.position) == {0: 5}
    assert values(lake) == [float(each) for each in range(15)]


def test_a_compaction_in_between_is_no_conflict(lake: Lake) -> None:
    with Committer(lake, "metrics") as committer:
        for at in range(3):
            committer.take(messages(1, first=at))
            committer.commit()
        committer.take(messages(1, first=3))
        assert compact(lake, "metrics")[0].files_before == 3
        committer.commit()
    assert values(lake) == [float(each) for each in range(12)]
    assert lake.holdings("metrics") == {("node-a", 1): Held(12, 4)}


def test_a_silent_producer_is_forgotten_and_what_comes_of_it_later_is_buried_not_doubled(tmp_path: Path) -> None:
    clock, causes = ManualClock(time.time_ns()), list[str]()
    lake = lake_in(tmp_path, clock=clock, remember_s=3600.0)
    with Committer(lake, "metrics", bury=lambda _, cause: causes.append(cause)) as committer:
        committer.take(messages(2))
        committer.commit()
        clock.move(3601 * 10**9)
        committer.take(messages(1, first=9, producer="node-b"))
        assert committer.commit().forgotten_runs == 1
        assert committer.take(messages(1)).buried == 1
    assert "remembers" in causes[0]
    assert list(lake.holdings("metrics")) == [("node-b", 1)]


def test_rows_are_sorted_by_time_and_source_and_a_file_holds_one_hour(lake: Lake) -> None:
    late = batches.metrics([7.0], at_ns=START_NS - 1)  # the last nanoseconds of the hour before
    hours = [batches.metrics(range(5), at_ns=START_NS + at * batches.HOUR_NS) for at in (1, 0)]
    with Committer(lake, "metrics") as committer:
        committer.take([message(batches.envelope(each, at), at + 1) for at, each in enumerate([*hours, late])])
        assert committer.commit().files == 2
    times = lake.read("metrics").column("timestamp").cast(pa.int64()).to_pylist()
    assert len(times) == 11
    files = sorted((lake.settings.folder / "files").rglob("*.parquet"))
    for each in files:
        stored = pq.read_table(each)
        inside = stored.column("timestamp_ns").to_pylist()
        assert inside == sorted(inside)
        assert len({at // batches.HOUR_NS for at in inside}) == 1


def test_snapshots_never_go_back_in_time_though_the_clock_does(tmp_path: Path) -> None:
    class Stepping(ManualClock):
        at = time.time_ns() + 3600 * 10**9

        def now_ns(self) -> int:
            return self.at

    clock = Stepping()
    lake = lake_in(tmp_path, clock=clock, expire_every=1, keep_last=1, keep_minutes=0, keep_hours=0)
    with Committer(lake, "metrics") as committer:
        for at in range(4):
            committer.take(messages(1, first=at))
            committer.commit()
            clock.at -= 600 * 10**9
    seen = lake.snapshots("metrics")
    assert [each.at_ms for each in seen] == sorted(each.at_ms for each in seen)
    assert values(lake) == [float(each) for each in range(12)]


def test_producers_and_rows_are_in_the_snapshot(lake: Lake) -> None:
    with Committer(lake, "metrics") as committer:
        committer.take([*messages(2), *messages(1, producer="node-b", epoch=5)])
        committer.commit()
        committer.take(messages(1, first=2))
        committer.commit()
    first, second = lake.snapshots("metrics")
    assert lake.holdings("metrics", first.id) == {("node-a", 1): Held(6, 2), ("node-b", 5): Held(3, 1)}
    assert lake.holdings("metrics", second.id)["node-a", 1] == Held(9, 3)


def test_metadata_does_not_grow_without_bound(tmp_path: Path) -> None:
    lake = lake_in(tmp_path, expire_every=10, keep_last=10, keep_minutes=0, keep_hours=0)
    counts = []
    with Committer(lake, "counters") as committer:
        for at in range(90):
            batch = _counters(at)
            committer.take([message(batches.envelope(batch, at, stream="counters"), at + 1)])
            committer.commit()
            counts.append(len(list((lake.settings.folder / "files").rglob("metadata/*"))))
    assert len(lake.snapshots("counters")) <= 20
    assert max(counts[60:]) <= max(counts[:60]) + 15
    assert lake.read("counters").num_rows == 90


def _counters(at: int) -> pa.RecordBatch:
    from loomidi.contracts.schemas import COUNTERS

    row = {"timestamp": START_NS + at, "node": "n", "component": "c", "epoch": 1, "stage": "s", "stream": "flows"}
    row |= {"scope": "x", "name": "received", "unit": "rows", "value": at}
    return pa.RecordBatch.from_arrays([pa.array([row[f.name]], f.type) for f in COUNTERS], schema=COUNTERS)


@pytest.mark.parametrize("limit", [600, 3_000, 9_000])
def test_a_full_disk_is_told_leaves_the_table_as_it_was_and_is_got_over(tmp_path: Path, limit: int) -> None:
    """A limit on the size of files stands for the disk: it strikes in data, manifest or metadata."""
    import resource

    lake = lake_in(tmp_path)
    with Committer(lake, "metrics") as committer:
        committer.take(messages(2))
        committer.commit()
        committer.take(messages(60, first=2))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(Retryable, match=r"no room|disk I/O error"):
                committer.commit()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert values(lake) == [float(each) for each in range(6)]
        assert committer.commit().rows == 180
    assert values(lake) == [float(each) for each in range(186)]


ROUNDS = int(os.environ.get("LOOMIDI_FAULT_ROUNDS", "8"))  # 50 for an acceptance
CHILD = """
import sys
from pathlib import Path
from loomidi.loom.lake import Committer, compact
from tests.unit.loom.lake.batches import lake_in, messages
lake = lake_in(Path(sys.argv[1]), expire_every=3, keep_last=3)
with Committer(lake, "metrics") as committer:
    at = committer.position.get(0, 0)
    print("ready", flush=True)
    while at < 400:
        committer.take(messages(3, first=max(at - 2, 0)))
        at = committer.commit().position[0]
        if at % 7 == 0:
            compact(lake, "metrics", every_hour=True)
print("done", flush=True)
"""


@pytest.mark.slow
def test_kill_at_any_moment_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    for _ in range(ROUNDS):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        try:
            child.wait(draw.uniform(0.0, 0.6))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        lake = lake_in(tmp_path)
        at = lake.marks("metrics").position.get(0, 0)
        assert values(lake) == [float(each) for each in range(3 * at)], f"seed {seed}"
    assert at > 0


def test_flows_are_read_as_they_were_and_a_range_ends_at_the_nanosecond(lake: Lake) -> None:
    batch = batches.flows(1000)
    with Committer(lake, "flows") as committer:
        committer.take([message(batches.envelope(batch, 0, stream="flows"), 1)])
        committer.commit()
    order = [("flow_end_nanoseconds", "ascending"), ("flow_id", "ascending")]
    assert lake.read("flows").sort_by(order).equals(pa.Table.from_batches([batch]).sort_by(order))
    cut = int(pc.min(batch.column("flow_end_nanoseconds").cast(pa.int64())).as_py()) + 1
    assert lake.read("flows", since_ns=cut).num_rows + lake.read("flows", until_ns=cut).num_rows == 1000


def test_a_bus_that_counts_anew_is_taken_from_its_start_and_doubles_nothing(lake: Lake) -> None:
    with Committer(lake, "metrics", lineage="first") as committer:
        committer.take(messages(5))
        committer.commit()
    with Committer(lake, "metrics", lineage="first") as committer:
        assert (committer.position, committer.restarted) == ({0: 5}, False)
    with Committer(lake, "metrics", lineage="second") as committer:
        assert (committer.position, committer.restarted) == ({}, True)
        again = [message(each.envelope, offset) for offset, each in enumerate(messages(2, first=4), 1)]
        assert committer.take(again).duplicates == 1
        assert dict(committer.commit().position) == {0: 2}
    assert values(lake) == [float(each) for each in range(18)]
