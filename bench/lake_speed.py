"""How fast the lake takes rows, how fast it becomes few files, how fast it answers before and after.

Run by `make bench` and `make accept NAME=loom`. In: nothing; flows are made up, in a folder that is removed. Out: a
table, `--json FILE`. Beside each figure stands a floor of the same run: for appending plain `pyarrow.parquet` writing
of the same batches (zstd, level 1, and fsync where the lake syncs), for the query DuckDB over one plain file of the
same rows.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from loomidi.contracts.streams import Message
from loomidi.loom.lake import Committer, Lake, LakeSettings, Query, compact
from tests.unit.loom.lake.batches import START_NS, envelope, flows, message

ROWS, BATCH_ROWS = 50_000, 1_000  # of a commit, of an envelope
ROUNDS = 12
SMALL_FILES, SMALL_ROWS = 1_000, 500
QUERY = (
    "select source_ip_address, sum(octet_delta_count) as octets, count(distinct destination_ip_address) as peers "
    "from flows group by 1 order by 2 desc limit 10"
)


def batches(rows: int, size: int, at_ns: int = START_NS) -> list[pa.RecordBatch]:
    """Flows of one minute, as several nodes' batches: sorted within, overlapping among each other."""
    return [flows(size, at_ns=at_ns, seed=seed) for seed in range(rows // size)]


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of the clock and of this process's CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def appending(folder: Path, durable: bool) -> dict[str, float]:
    """Commits beside plain files, in turns, so that both see the same machine."""
    made = batches(ROWS, BATCH_ROWS)
    table = pa.Table.from_batches(made)
    lake = Lake(LakeSettings(folder=folder / f"append-{durable}", durable=durable))
    plain, decoded, committed = [], [], []
    with Committer(lake, "flows") as committer:
        for number in range(ROUNDS):
            numbered = [envelope(each, number * len(made) + at, stream="flows") for at, each in enumerate(made)]
            messages = [message(each, number * len(made) + at) for at, each in enumerate(numbered)]
            file = folder / f"plain-{number}.parquet"
            plain.append(timed(lambda file=file: _plainly(table, file, durable)))
            decoded.append(timed(lambda messages=messages: _taken(committer, messages)))
            committed.append(timed(committer.commit))
    lake.close()
    return {
        "plain_rows_per_s": ROWS / _middle(plain),
        "commit_rows_per_s": ROWS / _middle(committed),
        "with_decoding_rows_per_s": ROWS / (_middle(committed) + _middle(decoded)),
        "share_of_plain": _middle(plain) / _middle(committed),
        "share_of_plain_cpu": _middle(plain, 1) / _middle(committed, 1),
        "commit_s": _middle(committed),
        "worst_commit_s": max(each[0] for each in committed),
    }


def _plainly(table: pa.Table, file: Path, durable: bool) -> None:
    """The floor; synced where the lake syncs."""
    with file.open("wb") as stream:
        pq.write_table(table, stream, compression="zstd", compression_level=1)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())


def _taken(committer: Committer, messages: list[Message]) -> None:
    taken = committer.take(messages)
    assert taken.rows == ROWS, taken


def _middle(times: list[tuple[float, float]], which: int = 0) -> float:
    """Median without the first round, which warms up."""
    return statistics.median(each[which] for each in times[1:])


def keeping(folder: Path) -> dict[str, float]:
    """A thousand small files of one hour: the query, compaction, the query again."""
    lake = Lake(LakeSettings(folder=folder / "keep", durable=False))
    with Committer(lake, "flows") as committer:
        for number in range(SMALL_FILES):
            batch = flows(SMALL_ROWS, at_ns=START_NS + number * 10**9, seed=number)
            committer.take([message(envelope(batch, number, stream="flows"), number)])
            committer.commit()
    one = folder / "one.parquet"
    _as_one_file(lake, one)
    before = _asked(lake)
    held = lake.read("flows", columns=["flow_id"]).num_rows
    compacting = timed(lambda: compact(lake, "flows"))[0]
    last = lake.snapshots("flows")[-1]
    assert (last.rows, last.writer) == (held, "compaction"), last
    after = _asked(lake)
    lake.close()
    return {
        "files_before": SMALL_FILES,
        "files_after": last.files,
        "rows": last.rows,
        "compaction_s": compacting,
        "compaction_rows_per_s": last.rows / compacting,
        "query_before_s": before,
        "query_after_s": after,
        "query_plain_file_s": statistics.median(timed(lambda: _plain(one))[0] for _ in range(5)),
    }


def _as_one_file(lake: Lake, file: Path) -> None:
    with Query(lake, "select * from flows") as asked:
        found = asked.batches()
        with pq.ParquetWriter(file, next(found).schema, compression="zstd", compression_level=1) as writer:
            for batch in found:
                writer.write_batch(batch)


def _asked(lake: Lake) -> float:
    """Opening included: what a person waits for, but for the start of Python."""

    def ask() -> None:
        with Query(lake, QUERY) as asked:
            assert asked.rows().num_rows == 10

    ask()
    return statistics.median(timed(ask)[0] for _ in range(5))


def _plain(file: Path) -> None:
    with duckdb.connect(":memory:") as connection:
        connection.sql(QUERY.replace("from flows", f"from '{file}'")).to_arrow_table()


def _thousands(figures: dict[str, float], name: str) -> str:
    return f"{figures[name] / 1e3:.0f} k rows/s"


def draw(figures: dict[str, Any]) -> list[str]:
    """The table."""
    rows = []
    for name in ("append", "append_durable"):
        one = figures[name]
        rows.append(
            f"{name.replace('_', ', '):16} {_thousands(one, 'commit_rows_per_s')} in commits of {ROWS // 1000} k "
            f"({one['commit_s']:.2f} s, worst {one['worst_commit_s']:.2f}); plain Parquet "
            f"{_thousands(one, 'plain_rows_per_s')}: {one['share_of_plain']:.0%} of it, "
            f"{one['share_of_plain_cpu']:.0%} by CPU; with decoding {_thousands(one, 'with_decoding_rows_per_s')}"
        )
    keep = figures["keeping"]
    return [
        *rows,
        f"compaction       {keep['files_before']} files to {keep['files_after']}, {keep['rows']} rows in "
        f"{keep['compaction_s']:.1f} s ({keep['compaction_rows_per_s'] / 1e3:.0f} k rows/s)",
        f"query            {keep['query_before_s']:.2f} s before, {keep['query_after_s']:.2f} s after; DuckDB over one "
        f"plain file {keep['query_plain_file_s']:.2f} s",
        f"memory           {figures['rss_mib']:.0f} MiB at most",
    ]


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    work = Path.cwd() / ".work"
    work.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=work, prefix="lake-"))
    try:
        figures: dict[str, Any] = {"append": appending(folder, False), "append_durable": appending(folder, True)}
        figures["keeping"] = keeping(folder)
    finally:
        shutil.rmtree(folder)
    figures["rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("\n".join(draw(figures)))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
