"""The pipeline, from flow records of a meter to rows of a committed table: sustained rate, memory, freshness.

Run as `python bench/pipeline_speed.py [--flows 10000000] [--json FILE]`. A capture is metered once; its records are
sent again and again, each time later, by the publisher that the agent uses, over a real nats-server into Iceberg files,
by `loomidi run --only bus,probes,commit` in a process of its own. Beside it, as the floor, plain Parquet files written
from the same batches by one process, without bus and commits. Then half of the measured rate, paced, for the age of
rows when a query can first see them. RSS is of all processes together, this one with the batches in it included.
"""

import argparse
import asyncio
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.make_capture import capture
from loomidi.contracts.schemas import FLOW_RECORDS
from loomidi.loom.bus import BusSettings, Publisher, open_bus
from loomidi.loom.flows import meter
from loomidi.loom.flows.recording import as_records
from tests.integration.pipeline.running import Pipeline, eventually

_ROUND_NS = 300_000_000_000  # of event time, between two rounds of the same flows
_HALF_S = 30.0


def records() -> list[pa.RecordBatch]:
    """What the meter makes of one capture: 20 thousand flows, their times a while ago."""
    path = capture()
    with meter([path]) as stream:
        return [as_records(batch, exporter="bench", link="mix.pcap") for batch in stream]


def rounds(batches: list[pa.RecordBatch], flows: int) -> Iterator[pa.RecordBatch]:
    """The records again and again, each round later and under other ids, until so many flows."""
    sent = number = 0
    while sent < flows:
        for batch in batches:
            left = flows - sent
            if left <= 0:
                return
            sent += min(left, batch.num_rows)
            yield _later(batch.slice(0, left), number)
        number += 1


def _later(batch: pa.RecordBatch, number: int) -> pa.RecordBatch:
    columns = list(batch.columns)
    for name in ("flow_start_nanoseconds", "flow_end_nanoseconds"):
        at = batch.schema.get_field_index(name)
        columns[at] = pc.add(columns[at], pa.scalar(number * _ROUND_NS, pa.duration("ns")))
    at = batch.schema.get_field_index("flow_id")
    columns[at] = pc.bit_wise_xor(columns[at], pa.scalar(number * 0x9E3779B97F4A7C15 % (1 << 64), pa.uint64()))
    return pa.RecordBatch.from_arrays(columns, schema=FLOW_RECORDS)


class Memory:
    """The most resident octets of these processes together, seen every fifth of a second."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.most = 0
        self._roots = [psutil.Process(), *(psutil.Process(one.pid) for one in pipeline.processes.values())]
        self._server = psutil.Process(json.loads((pipeline.folder / "bus" / "server.json").read_text())["pid"])
        self.task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            self.most = max(self.most, sum(one.memory_info().rss for one in (*self._roots, self._server)))
            await asyncio.sleep(0.2)


async def send(pipeline: Pipeline, batches: list[pa.RecordBatch], flows: int, rate: float) -> dict[str, float]:
    """Offer so many flows at that rate (inf: as the bus takes them); until all are in the table."""
    bus = await open_bus(BusSettings(folder=pipeline.folder / "bus"))
    memory, began, before = Memory(pipeline), time.monotonic(), committed(pipeline)
    publisher = Publisher(bus, producer="bench")
    waiting: list[asyncio.Task[Any]] = []
    sent = 0
    for batch in rounds(batches, flows):
        if math.isfinite(rate):
            publisher.offer("flows", batch)
            await asyncio.sleep(max(began + sent / rate - time.monotonic(), 0))
        else:
            waiting.append(asyncio.create_task(publisher.publish("flows", [batch])))
            if len(waiting) >= 4:
                await waiting.pop(0)
        sent += batch.num_rows
    await asyncio.gather(*waiting)
    await publisher.close()
    published_s = time.monotonic() - began
    while committed(pipeline) < before + flows:
        await asyncio.sleep(0.1)
    seconds = time.monotonic() - began
    memory.task.cancel()
    await bus.close()
    lost = sum(value for _, name, unit, value in publisher.counters() if name.startswith("dropped") and unit == "rows")
    return {
        "flows_per_s": flows / seconds,
        "published_s": published_s,
        "seconds": seconds,
        "rss": memory.most,
        "lost": lost,
    }


def metrics(pipeline: Pipeline) -> dict[str, float]:
    """Name with labels -> value."""
    import httpx

    text = httpx.get(f"http://127.0.0.1:{pipeline.probes}/metrics").text
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def committed(pipeline: Pipeline) -> float:
    """Rows of flows in the table, as its committer says."""
    return metrics(pipeline)['loomidi_lake_rows_total{stream="flows"}']


def freshness(before: dict[str, float], after: dict[str, float], share: float) -> float:
    """Seconds below which that share of the rows was, an upper bound by bucket."""
    name = 'loomidi_lake_freshness_seconds_bucket{stream="flows",le="'
    rows = {key[len(name) : -2]: after[key] - before[key] for key in after if key.startswith(name)}
    return min(float(le) for le, count in rows.items() if count >= share * rows["+Inf"])


def floor(batches: list[pa.RecordBatch], flows: int, folder: Path) -> float:
    """Flows/s of plain Parquet, 50 thousand rows a file."""
    began, rows, number = time.monotonic(), list[pa.RecordBatch](), 0
    for batch in rounds(batches, flows):
        rows.append(batch)
        if sum(one.num_rows for one in rows) >= 50_000:
            pq.write_table(pa.Table.from_batches(rows), folder / f"{number}.parquet", compression="zstd")
            rows, number = [], number + 1
    return flows / (time.monotonic() - began)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flows", type=int, default=10_000_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    batches = records()
    figures: dict[str, Any] = {"flows": options.flows, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory(prefix="loomidi-bench-") as folder:
        figures["floor_flows_per_s"] = floor(batches, min(options.flows, 2_000_000), Path(folder))
    with tempfile.TemporaryDirectory(prefix="loomidi-bench-") as folder:
        pipeline = Pipeline(Path(folder), LOOMIDI_BUS_STREAM_OCTETS=str(32 << 30), LOOMIDI_LOGGING_LEVEL="warning")
        try:
            pipeline.start("bus,probes,commit")
            eventually(pipeline.ready, "the pipeline")
            figures["full"] = asyncio.run(send(pipeline, batches, options.flows, math.inf))
            before, rate = metrics(pipeline), figures["full"]["flows_per_s"] / 2
            figures["half"] = asyncio.run(send(pipeline, batches, int(rate * _HALF_S), rate))
            after = metrics(pipeline)
            figures["freshness_s"] = {
                name: freshness(before, after, share) for name, share in (("p50", 0.5), ("p99", 0.99))
            }
        finally:
            pipeline.close()
    show(figures)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=1))
    return 0


def show(figures: dict[str, Any]) -> None:
    """The table."""
    full, half, fresh = figures["full"], figures["half"], figures["freshness_s"]
    print(f"{figures['flows']:,} flows, record to committed row, in {full['seconds']:.1f} s:")
    print(f"  {full['flows_per_s']:,.0f} flows/s; the last one published after {full['published_s']:.1f} s")
    print(f"  {full['rss'] / 1e6:,.0f} MB resident at most, all processes together")
    print(
        f"  {figures['floor_flows_per_s']:,.0f} flows/s is the floor: plain Parquet of the same batches in one process"
    )
    print(
        f"half of that rate for {_HALF_S:.0f} s: rows visible within {fresh['p50']:g} s (p50), {fresh['p99']:g} s (p99)"
    )
    print(f"  {half['lost']:.0f} lost")


if __name__ == "__main__":
    sys.exit(main())
