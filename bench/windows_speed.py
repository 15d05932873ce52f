"""Window operators: flows/s on one core, beside a plain group-by sum of the same rows by polars.

`ours` takes batches of FLOW_RECORDS as a runner would (project, split, reduce) and closes 10 s windows of edges and
entities: sums, rates, entropies, fan-in and fan-out, new peers, periodicity, errors, latency percentiles. `floor` is
polars summing six columns of the same batches by the same key, which no set of features can do without. One thread, one
core, in turns; the best of each. `all sizes` adds windows of 1, 60 and 300 s.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ["POLARS_MAX_THREADS"] = "1"

import polars as pl
import pyarrow as pa

from loomidi.loom.windows import SPECS, Closer, Parts, WindowSettings, WindowSpec, project, reduced, split
from loomidi.loom.windows.synthetic import START_NS, flow_records

SUMMED = (
    "packet_delta_count",
    "octet_delta_count",
    "payload_octet_count",
    "reverse_packet_delta_count",
    "reverse_octet_delta_count",
    "reverse_payload_octet_count",
)
BY = ("source_ip_address", "destination_ip_address", "destination_service", "destination_transport_port")


def ours(batches: list[pa.RecordBatch], settings: WindowSettings) -> tuple[float, int]:
    """CPU seconds, and rows of windows."""
    began = time.process_time()
    parts, closer, rows = dict[int, list[Parts]](), Closer(settings), 0
    for batch in batches:
        for start, some in split(project(batch), settings.base_s):
            parts.setdefault(start, []).append(reduced(some))
        newest = batch.column("flow_end_nanoseconds")[-1].value
        rows += sum(one.rows.num_rows for one in closer.close(parts, {}, newest - 10**9))
    rows += sum(one.rows.num_rows for one in closer.close(parts, {}, newest + 400 * 10**9))
    return time.process_time() - began, rows


def floor(batches: list[pa.RecordBatch]) -> float:
    """CPU seconds of the sums alone."""
    began = time.process_time()
    for batch in batches:
        frame = pl.from_arrow(batch.select([*BY, "protocol_identifier", *SUMMED]))
        assert isinstance(frame, pl.DataFrame)
        frame.group_by(*BY, "protocol_identifier").agg(pl.col(SUMMED).sum())
    return time.process_time() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--batches", type=int, default=16)
    parser.add_argument("--rows", type=int, default=131_072, help="of a batch")
    parser.add_argument("--seconds", type=float, default=20.0, help="of event time in all")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pa.set_cpu_count(1)
    each = given.seconds / given.batches
    batches = [
        flow_records(given.rows, seed=i, start_ns=START_NS + int(i * each * 1e9), seconds=each)
        for i in range(given.batches)
    ]
    flows, ten = given.batches * given.rows, WindowSettings(specs=(WindowSpec(10, 10),))
    best = dict.fromkeys(("ours", "all_sizes", "floor"), float("inf"))
    for _ in range(given.rounds):
        taken, rows = ours(batches, ten)
        all_taken, _ = ours(batches, WindowSettings(specs=SPECS))
        for name, seconds in (("ours", taken), ("all_sizes", all_taken), ("floor", floor(batches))):
            best[name] = min(best[name], seconds)
    figures = {f"{name}_flows_per_second": round(flows / seconds) for name, seconds in best.items()}
    print(f"{flows} flows in batches of {given.rows}, {rows} rows of 10 s windows; one core")
    for name, title in (("ours", "10 s operators"), ("all_sizes", "all sizes"), ("floor", "group-by sum alone")):
        print(f"{title:20} {figures[f'{name}_flows_per_second']:>12,} flows/s")
    if given.json:
        given.json.write_text(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
