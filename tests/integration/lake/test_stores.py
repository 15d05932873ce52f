"""One contract for the lake on every store: local files, SeaweedFS by S3 and by its REST catalog, MinIO by S3."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from loomidi.contracts.errors import Conflict
from loomidi.loom.lake import Committer, Lake, Query, compact, expire, sweep, table_of
from tests.integration.lake.conftest import Make
from tests.unit.loom.lake import batches
from tests.unit.loom.lake.batches import message, messages, values

# MinIO is compiled by whoever comes first, which has its own limit.
pytestmark = [pytest.mark.required, pytest.mark.timeout(300, func_only=True)]
ROOT = Path(__file__).resolve().parents[3]
AGES = 2**62 // 10**6


def committed(lake: Lake, counts: int, first: int = 0) -> None:
    with Committer(lake, "metrics") as committer:
        for at in range(first, first + counts):
            committer.take(messages(1, first=at))
            committer.commit()


def test_flows_come_back_to_the_bit(make: Make) -> None:
    batch = batches.flows(2000)
    with make() as lake, Committer(lake, "flows") as committer:
        committer.take([message(batches.envelope(batch, 0, stream="flows"), 1)])
        assert committer.commit().rows == 2000
        order = [("flow_end_nanoseconds", "ascending"), ("flow_id", "ascending")]
        assert lake.read("flows").sort_by(order).equals(pa.Table.from_batches([batch]).sort_by(order))
        middle = int(pc.quantile(batch.column("flow_end_nanoseconds").cast(pa.int64()), 0.5)[0].as_py())
        halves = lake.read("flows", since_ns=middle).num_rows, lake.read("flows", until_ns=middle).num_rows
        assert sum(halves) == 2000


def test_rows_and_position_are_committed_together_and_found_by_the_next(make: Make) -> None:
    with make() as lake:
        committed(lake, 3)
    with make() as lake, Committer(lake, "metrics") as committer:
        assert committer.position == {0: 3}
        assert committer.take(messages(4)).duplicates == 3
        committer.commit()
        assert values(lake) == [float(each) for each in range(12)]
        assert lake.holdings("metrics") == {("node-a", 1): (12, 4)}


def test_another_committer_is_found_out_by_the_catalog(make: Make) -> None:
    with make() as lake, Committer(lake, "metrics") as mine:
        mine.take(messages(1))
        mine.commit()
        (lake.settings.folder / "locks" / f"{lake.settings.namespace}.metrics.committer").unlink()
        with make() as theirs:
            committed(theirs, 1, first=1)
        mine.take(messages(1, first=1))
        with pytest.raises(Conflict, match="one committer per table"):
            mine.commit()
        assert values(lake) == [float(each) for each in range(6)]


def test_time_travel_and_a_column_that_is_added(make: Make) -> None:
    with make() as lake:
        committed(lake, 2)
    spec = table_of("metrics")
    wide = dataclasses.replace(spec, schema=pa.schema([*spec.schema, pa.field("cluster", pa.utf8())]))
    with make(specs={"metrics": wide}) as lake:
        with Committer(lake, "metrics") as committer:
            committer.take(messages(1, first=2))
            committer.commit()
        first, second, third = lake.snapshots("metrics")
        assert [len(values(lake, as_of=each.id)) for each in (first, second, third)] == [3, 6, 9]
        assert "cluster" not in lake.read("metrics", as_of=second.id).column_names
        assert lake.read("metrics").column("cluster").null_count == 9


def test_compaction_expiry_and_sweep_keep_rows_and_marks(make: Make) -> None:
    with make(grace_s=0.0) as lake:
        committed(lake, 6)
        (done,) = compact(lake, "metrics")
        assert (done.files_before, done.files_after, done.rows) == (6, 1, 18)
        gone = expire(lake, "metrics", older_than_ms=AGES)
        assert (gone.snapshots, gone.data_files, gone.kept) == (6, 6, 1)
        swept = sweep(lake, "metrics")
        assert (swept.young, swept.orphans) == (0, ())
        assert values(lake) == [float(each) for each in range(18)]
        assert lake.marks("metrics").position == {0: 6}


def test_metadata_files_stay_few(make: Make) -> None:
    with make(expire_every=5, keep_last=5, keep_minutes=0, keep_hours=0) as lake:
        committed(lake, 24)
        found = sweep(lake, "metrics")
        named = sum(".metadata.json" in each for each in _listing(lake))
        assert len(lake.snapshots("metrics")) <= 10
        assert named <= 13, found


def _listing(lake: Lake) -> list[str]:
    from loomidi.loom.lake import reading

    table = lake.find("metrics")
    return [each.location for each in reading.files_of(table).below(table.location())]


def test_sql_reads_a_range_as_of_then(make: Make) -> None:
    with make() as lake:
        committed(lake, 4)
        second = lake.snapshots("metrics")[1]
        sql = "select count(*) as rows, max(value) as most from metrics"
        with Query(lake, sql) as asked:
            assert asked.rows().to_pylist() == [{"rows": 12, "most": 11.0}]
        with Query(lake, sql, as_of=second.id, since_ns=batches.START_NS + 10**9) as asked:
            assert asked.rows().to_pylist() == [{"rows": 3, "most": 5.0}]


def test_none_of_the_keepers_loses_a_row_while_a_committer_runs(make: Make) -> None:
    ended, failed = threading.Event(), list[BaseException]()

    def keep() -> None:
        try:
            with make(grace_s=0.0) as theirs:
                while not ended.is_set():
                    compact(theirs, "metrics", every_hour=True)
                    expire(theirs, "metrics", older_than_ms=AGES, keep_last=2)
                    sweep(theirs, "metrics", remove=True, age_s=60)
        except Exception as error:  # noqa: BLE001 told by the test
            failed.append(error)

    with make(expire_every=4, keep_last=2, keep_minutes=0, keep_hours=0, grace_s=0.0) as lake:
        committed(lake, 1)
        thread = threading.Thread(target=keep)
        thread.start()
        try:
            committed(lake, 11, first=1)
        finally:
            ended.set()
            thread.join()
        assert failed == []
        assert values(lake) == [float(each) for each in range(36)]
        assert lake.marks("metrics").position == {0: 12}


ROUNDS = int(os.environ.get("LOOMIDI_FAULT_ROUNDS", "3"))  # for each store
CHILD = """
import dataclasses, json, sys
from pathlib import Path
from loomidi.loom.lake import Committer, Lake, LakeSettings, compact
from tests.unit.loom.lake.batches import messages
given = json.loads(sys.argv[1])
given["folder"] = Path(given["folder"])
with Lake(LakeSettings(**given)) as lake, Committer(lake, "metrics") as committer:
    at = committer.position.get(0, 0)
    print("ready", flush=True)
    while at < 300:
        committer.take(messages(3, first=max(at - 2, 0)))
        at = committer.commit().position[0]
        if at % 5 == 0:
            compact(lake, "metrics", every_hour=True)
"""


@pytest.mark.slow
def test_kill_at_any_moment_loses_nothing_and_doubles_nothing(make: Make) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    with make(expire_every=3, keep_last=3) as lake:
        given = json.dumps({**dataclasses.asdict(lake.settings), "folder": str(lake.settings.folder)})
        for _ in range(ROUNDS):
            child = subprocess.Popen([sys.executable, "-c", CHILD, given], cwd=ROOT, stdout=subprocess.PIPE, text=True)
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n", f"seed {seed}"
            try:
                child.wait(draw.uniform(0.1, 1.0))
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
            child.wait()
            child.stdout.close()
            at = lake.marks("metrics").position.get(0, 0)
            assert values(lake) == [float(each) for each in range(3 * at)], f"seed {seed}"
        assert at > 0
