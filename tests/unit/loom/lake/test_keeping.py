"""What keeps a table small: compaction, expiry, the sweep. None of them touches a row."""

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from loomidi.contracts.errors import Conflict, InputError
from loomidi.kit.clock import ManualClock
from loomidi.loom.lake import Committer, Lake, Query, compact, expire, sweep
from loomidi.loom.lake.expiring import thinned
from loomidi.loom.lake.locks import TableLock
from loomidi.loom.lake.marks import POSITION
from loomidi.loom.lake.settings import LakeSettings
from tests.unit.loom.lake import batches
from tests.unit.loom.lake.batches import START_NS, lake_in, message, messages, values

AGES = 2**62 // 10**6


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    """Eight commits of three rows."""
    lake = lake_in(tmp_path, grace_s=0.0)
    with Committer(lake, "metrics") as committer:
        for at in range(8):
            committer.take(messages(1, first=at))
            committer.commit()
    yield lake
    lake.close()


def stored(lake: Lake) -> set[Path]:
    return {each for each in (lake.settings.folder / "files").rglob("*") if each.is_file()}


def test_small_files_of_an_hour_become_one_and_rows_and_marks_stay(lake: Lake) -> None:
    before = lake.marks("metrics")
    (done,) = compact(lake, "metrics")
    assert (done.files_before, done.files_after, done.rows) == (8, 1, 24)
    assert values(lake) == [float(each) for each in range(24)]
    assert lake.marks("metrics") == before
    assert lake.snapshots("metrics")[-1].writer == "compaction"


def test_what_is_compact_already_is_left_alone(lake: Lake) -> None:
    compact(lake, "metrics")
    assert compact(lake, "metrics") == []


def test_an_hour_that_rows_still_come_for_is_left_to_the_committer(tmp_path: Path) -> None:
    lake = lake_in(tmp_path, clock=ManualClock(START_NS + batches.HOUR_NS + 200 * 10**9))
    with Committer(lake, "metrics") as committer:
        for at in range(2):
            committer.take(messages(1, first=at))
            committer.commit()
    assert compact(lake, "metrics") == []
    assert len(compact(lake, "metrics", every_hour=True)) == 1


def test_more_rows_than_may_be_sorted_at_once_become_several_files(tmp_path: Path) -> None:
    lake = lake_in(tmp_path, compact_rows=10)
    with Committer(lake, "metrics") as committer:
        for at in range(8):
            committer.take(messages(1, first=at))
            committer.commit()
    (done,) = compact(lake, "metrics")
    assert (done.files_after, done.rows) == (3, 24)
    assert values(lake) == [float(each) for each in range(24)]


def test_a_second_compaction_of_a_table_is_refused_while_one_runs(lake: Lake) -> None:
    held = TableLock(lake.settings, "metrics", "compaction")
    with pytest.raises(Conflict, match=f"process {os.getpid()}"):
        compact(lake, "metrics")
    held.close()


def test_time_travel_still_reads_what_compaction_replaced(lake: Lake) -> None:
    third = lake.snapshots("metrics")[2]
    compact(lake, "metrics")
    assert values(lake, as_of=third.id) == [float(each) for each in range(9)]


def test_expiry_lets_snapshots_go_with_the_files_that_only_they_need(lake: Lake) -> None:
    compact(lake, "metrics")
    parquet_before = sum(each.suffix == ".parquet" for each in stored(lake))
    done = expire(lake, "metrics", older_than_ms=AGES)
    assert (done.snapshots, done.kept, done.data_files) == (8, 1, 8)
    assert sum(each.suffix == ".parquet" for each in stored(lake)) == parquet_before - 8
    assert values(lake) == [float(each) for each in range(24)]
    assert sweep(lake, "metrics").young == 0


def test_expiry_keeps_the_last_the_tagged_and_the_position(lake: Lake) -> None:
    seen = lake.snapshots("metrics")
    with lake.find("metrics").manage_snapshots() as changes:
        changes.create_tag(seen[1].id, "before-the-incident")
    expire(lake, "metrics", older_than_ms=AGES, keep_last=3)
    left = lake.snapshots("metrics")
    assert [each.id for each in left] == [seen[1].id, *(each.id for each in seen[-3:])]
    assert left[0].tags == ("before-the-incident",)
    assert values(lake, as_of=seen[1].id) == [float(each) for each in range(6)]
    assert lake.marks("metrics").position == {0: 8}


def test_expiry_leaves_what_is_younger(lake: Lake) -> None:
    fifth = lake.snapshots("metrics")[4]
    expire(lake, "metrics", older_than_ms=fifth.at_ms)
    assert lake.snapshots("metrics")[0].at_ms >= fifth.at_ms


def test_files_that_compaction_replaced_stay_for_the_grace_time(tmp_path: Path) -> None:
    lake = lake_in(tmp_path, grace_s=600.0)
    with Committer(lake, "metrics") as committer:
        for at in range(3):
            committer.take(messages(1, first=at))
            committer.commit()
    with Query(lake, "select count(*) as rows from metrics") as asked:
        compact(lake, "metrics")
        expire(lake, "metrics", older_than_ms=AGES)
        assert asked.rows().to_pylist() == [{"rows": 9}]


def test_a_snapshot_of_somebody_else_does_not_hide_the_position(lake: Lake) -> None:
    """Spark may delete rows of a tenant: the marks are those of our newest snapshot, which expiry keeps."""
    table = lake.find("metrics")
    table.delete("value < 3")
    assert POSITION not in (table.current_snapshot().summary.additional_properties if table.current_snapshot() else {})
    expire(lake, "metrics", older_than_ms=AGES)
    with Committer(lake, "metrics") as committer:
        assert committer.position == {0: 8}
        assert committer.take(messages(8)).duplicates == 8


def test_thinning_keeps_the_last_then_one_a_minute_then_one_an_hour() -> None:
    from pyiceberg.table.snapshots import Snapshot

    day_ms = 86_400_000
    made = [Snapshot.model_construct(snapshot_id=at, timestamp_ms=day_ms * 10 - at * 10_000) for at in range(60_000)]
    settings = LakeSettings(keep_last=50, keep_minutes=60, keep_hours=100)
    kept = thinned(made, settings, day_ms * 10)
    assert [each.snapshot_id for each in kept[:50]] == list(range(50))
    assert 50 + 50 <= sum(day_ms * 10 - each.timestamp_ms < 3_600_000 for each in kept) <= 50 + 61
    assert 150 <= len(kept) <= 50 + 61 + 101
    assert max(day_ms * 10 - each.timestamp_ms for each in kept) < 100 * 3_600_000


def test_the_sweep_finds_what_a_crash_left_and_removes_it_only_when_told(lake: Lake) -> None:
    table_folder = next((lake.settings.folder / "files").rglob("data")).parent
    orphan, young = table_folder / "data" / "orphan.parquet", table_folder / "metadata" / "young.avro"
    for each in (orphan, young):
        each.write_bytes(b"left behind")
    long_ago = time.time() - 2 * 86_400
    os.utime(orphan, (long_ago, long_ago))
    seen = sweep(lake, "metrics")
    assert [each.rpartition("/")[2] for each in seen.orphans] == ["orphan.parquet"]
    assert (seen.young, seen.removed, seen.octets) == (1, 0, 11)
    assert orphan.exists()
    assert sweep(lake, "metrics", remove=True).removed == 1
    assert (orphan.exists(), young.exists()) == (False, True)
    assert values(lake) == [float(each) for each in range(24)]


def test_the_sweep_spares_every_file_of_every_snapshot_however_old(lake: Lake) -> None:
    compact(lake, "metrics")
    long_ago = time.time() - 9 * 86_400
    for each in stored(lake):
        os.utime(each, (long_ago, long_ago))
    assert sweep(lake, "metrics", remove=True).orphans == ()
    for seen in lake.snapshots("metrics"):
        assert len(values(lake, as_of=seen.id)) == seen.rows


def test_an_age_that_would_take_files_under_way_is_refused(lake: Lake) -> None:
    with pytest.raises(InputError, match="under way"):
        sweep(lake, "metrics", age_s=5)


def test_none_of_them_loses_or_doubles_a_row_while_a_committer_runs(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    draw, ended, failed = random.Random(seed), threading.Event(), list[BaseException]()
    mine = lake_in(tmp_path, expire_every=4, keep_last=2, keep_minutes=0, keep_hours=0, grace_s=0.0)

    def keep() -> None:
        theirs = lake_in(tmp_path, grace_s=0.0)
        try:
            while not ended.is_set():
                compact(theirs, "metrics", every_hour=True)
                expire(theirs, "metrics", older_than_ms=AGES, keep_last=draw.randrange(1, 4))
                sweep(theirs, "metrics", remove=True, age_s=60)
        except Exception as error:  # noqa: BLE001 told by the test
            failed.append(error)

    with Committer(mine, "metrics") as committer:
        committer.take(messages(1))
        committer.commit()
        thread = threading.Thread(target=keep)
        thread.start()
        try:
            for at in range(1, 60):
                committer.take(messages(1, first=at))
                committer.commit()
        finally:
            ended.set()
            thread.join()
    assert failed == [], f"seed {seed}"
    assert values(mine) == [float(each) for each in range(180)], f"seed {seed}"
    assert mine.holdings("metrics") == {("node-a", 1): (180, 60)}
    assert mine.marks("metrics").position == {0: 60}


def test_late_rows_of_an_hour_that_was_compacted_join_it_at_the_next_one(lake: Lake) -> None:
    compact(lake, "metrics")
    with Committer(lake, "metrics") as committer:
        committer.take([message(batches.envelope(batches.metrics([99.0]), 8), 9)])
        committer.commit()
    (done,) = compact(lake, "metrics")
    assert (done.files_before, done.files_after, done.rows) == (2, 1, 25)


def test_files_that_overlap_little_stay_apart_in_time(tmp_path: Path) -> None:
    """Groups are made in the order of time, so that a range of time opens few of them."""
    lake = lake_in(tmp_path, compact_rows=10)
    with Committer(lake, "metrics") as committer:
        for at in (5, 0, 3, 1, 4, 2):
            committer.take(messages(1, first=at))
            committer.commit()
    compact(lake, "metrics")
    ranges = []
    for file in (lake.settings.folder / "files").rglob("*.parquet"):
        times = pq.read_table(file, columns=["timestamp_ns"]).column(0).to_pylist()
        if len(times) == 9:
            ranges.append((times[0], times[-1]))
    (_, end), (begin, _) = sorted(ranges)
    assert end < begin
