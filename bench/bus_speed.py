"""How fast flow records go through the bus, published and consumed with acknowledgement, beside `nats bench`.

Run by `make bench` and by hand; needs no root. In: flow records of the benchmark's capture, as real batches. Out: a
table, `--json FILE`. The floor is `nats bench` (natscli, built once by Go) against the same server in the same run,
with messages of the same size on a stream on disk; ours and theirs take turns. A flow is published when the server has
acknowledged its envelope, and consumed when it has been decoded and its position committed.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench.make_capture import capture
from loomidi.contracts.schemas import FLOW_RECORDS
from loomidi.contracts.streams import Envelope
from loomidi.loom.bus import BusSettings, TendedBus, open_bus
from loomidi.loom.bus.envelopes import decode, encode
from loomidi.loom.bus.serving import NatsServer
from loomidi.loom.flows import meter
from loomidi.loom.flows.recording import as_records

NATSCLI = "v0.5.0"
CACHE = Path.home() / ".cache" / "loomidi" / "natscli-0.5.0"
ROUNDS = 3
FLOWS = 1_000_000  # a round
ROWS = 900  # a batch: with these flows an envelope of 245 KiB
FLIGHT = 32  # envelopes of one `publish`


def natscli() -> Path | None:
    """The `nats` command, built once; None without Go."""
    command = CACHE / "nats"
    if not command.is_file() and shutil.which("go"):
        CACHE.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "GOBIN": str(CACHE)}
        subprocess.run(["go", "install", f"github.com/nats-io/natscli/nats@{NATSCLI}"], env=environment, check=True)
    return command if command.is_file() else None


def batches() -> list[pa.RecordBatch]:
    """Flow records of the capture, each batch full; the same flows again and again with other ids would be no other."""
    records = [as_records(one, exporter="node-1", link="eth0") for one in meter([capture()]) if one.num_rows]
    whole = pa.Table.from_batches(records, FLOW_RECORDS).combine_chunks()
    return [one for one in whole.to_batches(max_chunksize=ROWS) if one.num_rows == ROWS]


class Used:
    """Wall and processor time: of this process and of the server."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._began = (time.perf_counter(), time.process_time(), self._of_server())

    def _of_server(self) -> float:
        words = Path(f"/proc/{self._server}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def told(self, flows: int, octets: int) -> dict[str, float]:
        """Rates since the beginning."""
        wall, ours, server = (
            now - then
            for now, then in zip(
                (time.perf_counter(), time.process_time(), self._of_server()), self._began, strict=True
            )
        )
        return {
            "flows_per_s": flows / wall,
            "flows_per_s_per_core": flows / (ours + server),
            "octets_per_s": octets / wall,
            "cores": (ours + server) / wall,
        }


def enveloped(given: list[pa.RecordBatch], epoch: int, seq: int, count: int) -> list[Envelope]:
    """The next envelopes of a round."""
    return [
        encode(given[number % len(given)], stream="flows", producer="bench", epoch=epoch, seq=number)
        for number in range(seq, seq + count)
    ]


async def publish(bus: TendedBus, given: list[pa.RecordBatch], epoch: int, used: Used) -> dict[str, float]:
    """Encode in a thread while the flight before is under way, as the publisher does."""
    count, octets = FLOWS // ROWS, 0
    coming = asyncio.create_task(asyncio.to_thread(enveloped, given, epoch, 0, FLIGHT))
    for seq in range(FLIGHT, count + FLIGHT, FLIGHT):
        flight = await coming
        coming = asyncio.create_task(asyncio.to_thread(enveloped, given, epoch, seq, min(FLIGHT, max(count - seq, 0))))
        await bus.publish(flight)
        octets += sum(len(one.payload) for one in flight)
    await coming
    return used.told(count * ROWS, octets)


async def consume(bus: TendedBus, name: str, after: int, used: Used) -> dict[str, float]:
    """Fetch, decode, commit each fetch."""
    reader, rows, octets = await bus.reader("flows", name, after={0: after}), 0, 0
    while rows < FLOWS // ROWS * ROWS:
        messages = await reader.fetch(FLIGHT, 5.0)
        rows += await asyncio.to_thread(
            lambda: sum(decode(one.envelope, FLOW_RECORDS).num_rows for one in messages)  # noqa: B023
        )
        octets += sum(len(one.envelope.payload) for one in messages)
        await reader.commit({0: messages[-1].offset})
    await reader.close()
    return used.told(rows, octets)


async def carried(bus: TendedBus, flights: list[list[Envelope]], used: Used) -> dict[str, float]:
    """Envelopes that are ready: what the bus itself takes, to be compared with `nats bench`."""
    octets = 0
    for flight in flights:
        await bus.publish(flight)
        octets += sum(len(one.payload) for one in flight)
    return used.told(sum(one.rows for flight in flights for one in flight), octets)


async def taken(bus: TendedBus, name: str, after: int, messages: int, used: Used) -> dict[str, float]:
    """Fetch and commit alone."""
    reader, count, rows, octets = await bus.reader("flows", name, after={0: after}), 0, 0, 0
    while count < messages:
        got = await reader.fetch(FLIGHT, 5.0)
        count += len(got)
        rows += sum(one.envelope.rows for one in got)
        octets += sum(len(one.envelope.payload) for one in got)
        await reader.commit({0: got[-1].offset})
    await reader.close()
    return used.told(rows, octets)


class Floor:
    """`nats bench` on a stream of its own on the same server."""

    def __init__(self, command: Path, server: NatsServer) -> None:
        at = server.address
        host = at.url.removeprefix("nats://")
        self._command = [str(command), "--server", f"nats://{at.user}:{at.password}@{host}", "bench", "js"]
        self._pid = at.pid

    def _run(self, *words: str, messages: int, size: int) -> dict[str, float]:
        command = [*self._command, *words, "--stream=peer", f"--msgs={messages}", f"--size={size}", "--no-progress"]
        before, began = os.times(), Used(self._pid)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        rate = re.search(r"stats: ([\d,]+) msgs/sec", done.stdout) or re.search(r"([\d,]+) msgs/sec", done.stdout)
        if done.returncode or rate is None:
            raise SystemExit(f"bus_speed: nats bench failed: {(done.stderr or done.stdout).strip()[-400:]}")
        after = os.times()
        children = after.children_user + after.children_system - before.children_user - before.children_system
        per_s = int(rate.group(1).replace(",", ""))
        told = began.told(0, messages * size)
        return {"octets_per_s": per_s * size, "cores": told["cores"] + children / (messages / per_s)}

    def publish(self, messages: int, size: int) -> dict[str, float]:
        """Asynchronous, as many under way as ours, with message ids as ours."""
        words = ("pub", "async", "peer", "--create", "--purge", "--storage=file", "--maxbytes=8GB", "--dedup")
        return self._run(*words, f"--batch={FLIGHT}", messages=messages, size=size)

    def fetch(self, messages: int, size: int) -> dict[str, float]:
        """A durable pull consumer, as many at once as ours, every batch acknowledged."""
        return self._run("fetch", f"--batch={FLIGHT}", "--acks=all", messages=messages, size=size)


def median(runs: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


async def last(bus: TendedBus) -> int:
    """Offset behind which the next round begins: how many messages the stream has, for nothing is trimmed."""
    return next((one.messages for one in await bus.standings() if one.stream == "flows"), 0)


async def measure() -> dict[str, Any]:
    """All rounds, ours and theirs in turn."""
    given = await asyncio.to_thread(batches)
    command = await asyncio.to_thread(natscli)
    runs: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="loomidi-bus-") as folder:
        server = NatsServer(Path(folder))
        await server.start()
        bus = await joined(Path(folder))
        pid = server.address.pid
        ready = enveloped(given, 1, 0, FLOWS // ROWS)
        size = sum(len(one.payload) for one in ready) // len(ready)

        async def keep(name: str, turn: Callable[[], Awaitable[dict[str, float]]]) -> None:
            runs.setdefault(name, []).append(await turn())

        for number in range(ROUNDS):
            before = await last(bus)
            flights = [enveloped(given, 100 + number, seq, FLIGHT) for seq in range(0, FLOWS // ROWS, FLIGHT)]
            await keep("carried", lambda: carried(bus, flights, Used(pid)))  # noqa: B023
            count = sum(len(flight) for flight in flights)
            await keep("taken", lambda: taken(bus, "taken", before, count, Used(pid)))  # noqa: B023
            if command is not None:
                floor = Floor(command, server)
                await keep("floor_pub", lambda: asyncio.to_thread(floor.publish, count, size))  # noqa: B023
                await keep("floor_fetch", lambda: asyncio.to_thread(floor.fetch, count, size))  # noqa: B023
            before = await last(bus)
            await keep("published", lambda: publish(bus, given, 200 + number, Used(pid)))  # noqa: B023
            await keep("consumed", lambda: consume(bus, "consumed", before, Used(pid)))  # noqa: B023
        await bus.close()
        await server.stop()
    return figures({name: median(each) for name, each in runs.items()}, size)


async def joined(folder: Path) -> TendedBus:
    """A client of the server that we have started over the folder."""
    return await open_bus(BusSettings(folder=folder, stream_octets=16 << 30))


def figures(medians: dict[str, dict[str, float]], size: int) -> dict[str, Any]:
    """With the ratios that the targets are about; none where there was no floor."""
    told: dict[str, Any] = {**medians, "rows": ROWS, "envelope_octets": size, "flows": FLOWS, "rounds": ROUNDS}
    for ours, theirs, name in (("carried", "floor_pub", "publish_ratio"), ("taken", "floor_fetch", "fetch_ratio")):
        if theirs in medians:
            told[name] = medians[ours]["octets_per_s"] / medians[theirs]["octets_per_s"]
    return told


def draw(told: dict[str, Any]) -> list[str]:
    """The table."""
    names = {
        "published": "published: encoded, sent, acknowledged",
        "consumed": "consumed: fetched, decoded, committed",
        "carried": "envelopes that are ready: sent, acknowledged",
        "taken": "envelopes as they are: fetched, committed",
        "floor_pub": "nats bench js pub async",
        "floor_fetch": "nats bench js fetch",
    }
    lines = [f"{'':46}{'flows/s':>12}{'flows/s/core':>14}{'MB/s':>9}{'cores':>7}"]
    for name, words in names.items():
        if name in told:
            one = told[name]
            flows = [
                f"{one[each] / 1e3:,.0f} k" if each in one else "" for each in ("flows_per_s", "flows_per_s_per_core")
            ]
            lines.append(
                f"{words:46}{flows[0]:>12}{flows[1]:>14}{one['octets_per_s'] / 1e6:>9,.0f}{one['cores']:>7.2f}"
            )
    lines.append(
        f"envelopes of {told['rows']:,} rows, {told['envelope_octets'] >> 10} KiB; median of {told['rounds']} rounds"
    )
    for name, words in (("publish_ratio", "sent, beside nats bench"), ("fetch_ratio", "fetched, beside nats bench")):
        lines.append(f"{words:46}{told[name]:>12.0%}" if name in told else f"{words:46}{'needs Go':>12}")
    return lines


def main() -> int:
    """Print the table; write the figures when told to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    told = asyncio.run(measure())
    print("\n".join(draw(told)))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(told, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
