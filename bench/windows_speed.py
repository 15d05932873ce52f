"""Window operators: flows/s on one core, beside a plain group-by sum of the same rows by polars.

`ours` takes batches of FLOW_RECORDS as a runner would (project, split, reduce) and closes 10 s windows of edges and
entities: sums, rates, entropies, fan-in and fan-out, new peers, periodicity, errors, latency percentiles. `floor` is
polars summing six columns of the same batches by the same key, which no set of features can do without. One thread, one
core, in turns; the best of each; a second is one of CPU. `all sizes` adds windows of 1, 60 and 300 s; `many edges` has
the 10 s operators on flows between ten times as many ends: what an edge costs beside what a flow costs.
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


def made(given: argparse.Namespace, pods: int, outside: int) -> list[pa.RecordBatch]:
    """Batches in the order of time."""
    each = given.seconds / given.batches
    return [
        flow_records(
            given.rows,
            seed=i,
            start_ns=START_NS + int(i * each * 1e9),
            seconds=each,
            pods=pods,
            outside=outside,
        )
        for i in range(given.batches)
    ]


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
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--rows", type=int, default=131_072, help="of a batch")
    parser.add_argument("--seconds", type=float, default=10.0, help="of event time in all")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pa.set_cpu_count(1)
    ten = WindowSettings(specs=(WindowSpec(10, 10),))
    best = dict.fromkeys(("ours", "all_sizes", "floor", "many_edges"), float("inf"))
    rows = dict.fromkeys(best, 0)
    flows, few, many = given.batches * given.rows, made(given, 50, 100), made(given, 300, 2000)
    for _ in range(given.rounds):
        for name, batches, settings in (
            ("ours", few, ten),
            ("all_sizes", few, WindowSettings(specs=SPECS)),
            ("many_edges", many, ten),
        ):
            taken, rows[name] = ours(batches, settings)
            best[name] = min(best[name], taken)
        best["floor"] = min(best["floor"], floor(few))
    figures = {f"{name}_flows_per_second": round(flows / seconds) for name, seconds in best.items()}
    print(f"{flows} flows in batches of {given.rows}, {given.seconds:g} s of event time; one core")
    titles = {
        "ours": "10 s operators",
        "floor": "group-by sum alone",
        "all_sizes": "all sizes",
        "many_edges": "many edges",
    }
    for name, title in titles.items():
        told = f"{rows[name]:>9,} rows of windows" if rows[name] else ""
        print(f"{title:20} {figures[f'{name}_flows_per_second']:>12,} flows/s {told}")
    if given.json:
        given.json.write_text(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
