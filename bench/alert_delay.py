"""Event to alert in a running pipeline: `loomidi run` with its own bus, flows as they end, findings as they are told.

A process of `loomidi run` (bus, windows, anomalies, probes) in a folder of its own learns from windows of generated
flows, then is given one second of flows each second, scans of ever new attackers among them. `alert` is from the newest
flow of a window, open or closed, to its finding, as `loomidi_anomalies_alert_seconds` tells it; `word` from the end of
an attacker's first flow to the finding on the bus, seen from outside. Wall time: worth nothing on a busy machine. Exit
code 1 when the p99 of `alert` is over 2 s, or a scan is not told.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench.early_words import CALIBRATE_S, LEARN_S, SETTINGS, SIZE_S, attack, usual
from loomidi.contracts.schemas import FINDINGS
from loomidi.contracts.streams import Stream
from loomidi.loom.bus import BusSettings, TendedBus, open_bus
from loomidi.loom.bus.envelopes import decode, encode
from loomidi.loom.runners import WindowMachine
from loomidi.loom.windows import WindowSettings
from loomidi.loom.windows.specifications import SPECS

RESULT = Path(__file__).resolve().parent.parent / ".work" / "bench" / "alert_delay.json"
NS, WAIT_S, P99_S = 10**9, 900.0, 2.0
PAUSE_S, SCAN_S = 12, 6  # between two scans, of one
PARTS = "bus,probes,windows,anomalies,commit:findings"


class Pipeline:
    """One process of `loomidi run`."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            self.port = int(trial.getsockname()[1])
        self.folder = folder
        group = {
            name: getattr(SETTINGS, name) for name in ("learn_s", "calibrate_s", "learn_rows", "kept_rows", "pairs")
        }
        self.environment = {
            **os.environ,
            "LOOMIDI_STORAGE_STATE": str(folder),
            "LOOMIDI_NODE_NAME": "bench",
            "LOOMIDI_NODE_STATE": str(folder),
            "LOOMIDI_BUS_FOLDER": str(folder / "bus"),
            "LOOMIDI_LAKE_FOLDER": str(folder / "lake"),
            "LOOMIDI_PROBES_PORT": str(self.port),
            **{f"LOOMIDI_ANOMALIES_{name.upper()}": f"{value:g}" for name, value in group.items()},
        }
        with (folder / "run.log").open("ab") as log:
            command = [sys.executable, "-m", "loomidi", "run", "--only", PARTS]
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def metrics(self) -> dict[str, float]:
        """All of them; none while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return {}
        found = (re.fullmatch(r"(loomidi_anomalies_\S+) (\S+)", line) for line in lines)
        return {one[1]: float(one[2]) for one in found if one}

    async def until(self, name: str, least: float) -> None:
        """Raises TimeoutError with the end of its log."""
        began = time.monotonic()
        while self.metrics().get(name, 0.0) < least:
            if time.monotonic() - began > WAIT_S or self.process.poll() is not None:
                raise TimeoutError(f"{name} did not come to {least:g}: {(self.folder / 'run.log').read_text()[-2000:]}")
            await asyncio.sleep(0.2)

    def stop(self) -> None:
        """In order."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(300)


async def measured(folder: Path, seed: int, scans: int) -> dict[str, Any]:
    """Learn, then scans; seconds."""
    pipeline = Pipeline(folder)
    try:
        await pipeline.until('loomidi_anomalies_phase{phase="learning"}', 1)
        async with await open_bus(BusSettings(folder=folder / "bus", join=True)) as bus:
            past = LEARN_S + CALIBRATE_S + 60
            start_ns = (time.time_ns() // (SIZE_S * NS) - past // SIZE_S - 3) * SIZE_S * NS
            await _learn(bus, seed, past, start_ns)
            await pipeline.until('loomidi_anomalies_phase{phase="telling"}', 1)
            words = await _scan(bus, seed, scans, start_ns)
        told = pipeline.metrics()
        name = "loomidi_anomalies_alert_seconds"
        alert = {at: told.get(f'{name}{{quantile="{at}"}}', float("inf")) for at in ("0.5", "0.99")}
        counts = {
            what: told.get(f'loomidi_anomalies_total{{what="{what}"}}', 0.0)
            for what in ("early", "new", "early_withdrawn")
        }
        return {"words": words, "alert_p50_s": alert["0.5"], "alert_p99_s": alert["0.99"], "counts": counts}
    finally:
        pipeline.stop()


async def _learn(bus: TendedBus, seed: int, seconds: int, start_ns: int) -> None:
    """Windows of the past, as the runner would have told them."""
    specs = tuple(spec for spec in SPECS if spec.size_s == SIZE_S)
    machine = WindowMachine(WindowSettings(specs=specs, lateness_s=0), epoch=1)
    for second in range(0, seconds, SIZE_S):
        machine.absorb(usual(second, seed, start_ns, SIZE_S))
        closed = machine.close(start_ns + (second + SIZE_S) * NS)
        await bus.publish([one for one in closed if one.stream == Stream.EDGE_WINDOWS])


async def _scan(bus: TendedBus, seed: int, scans: int, start_ns: int) -> list[float | None]:
    """A second of flows each second; for each scan how long after its first flow it was on the bus, None: never."""
    began, words = dict[str, float](), dict[str, float]()
    reader = await bus.reader(Stream.FINDINGS, "bench", after={})
    for turn in range(PAUSE_S + scans * (PAUSE_S + SCAN_S) + PAUSE_S):
        at = time.time()
        second = int(at - start_ns / 1e9) - 1  # the one that has just ended
        batches = [usual(second, seed, start_ns)]
        number, inside = divmod(turn - PAUSE_S, PAUSE_S + SCAN_S)
        if 0 <= number < scans and inside < SCAN_S:
            batches.append(_by(attack("scan", second, seed, start_ns), number))
            began.setdefault(f"workload/tenants/attacker-{number}", at)
        rows = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
        about = {"stream": Stream.FLOWS, "producer": "bench.agent", "epoch": 2, "seq": turn}
        await bus.publish([encode(rows, created_ns=time.time_ns(), **about)])
        while time.time() < int(at) + 1.05:
            for message in await reader.fetch(100, 0.1):
                for entities in decode(message.envelope, FINDINGS).column("entities").to_pylist():
                    words |= {
                        name: time.time() - began[name] for name in entities if name in began and name not in words
                    }
    await reader.close()
    return [words.get(name) for name in began]


def _by(scan: pa.RecordBatch, number: int) -> pa.RecordBatch:
    """The same by another attacker, at other targets."""
    renamed = {
        "source_workload": [f"deployment/tenants/attacker-{number}"] * scan.num_rows,
        "source_entity": [f"pod/tenants/attacker-{number}-0"] * scan.num_rows,
    }
    for name in ("destination_workload", "destination_entity"):
        renamed[name] = [f"{one}-{number}" for one in scan.column(name).to_pylist()]
    arrays = [
        pa.array(renamed[one.name], one.type) if one.name in renamed else scan.column(one.name) for one in scan.schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=scan.schema)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, default=RESULT, help="write the figures here")
    parser.add_argument("--scans", type=int, default=20, help="that are staged")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = asyncio.run(measured(Path(folder), 1, given.scans))
    words = [one for one in told["words"] if one is not None]
    p50, p99 = (float(np.quantile(words, at)) if words else float("inf") for at in (0.5, 0.99))
    print(f"alert, newest flow to finding: p50 {told['alert_p50_s']:.2f} s, p99 {told['alert_p99_s']:.2f} s")
    share = f"{len(words)} of {len(told['words'])} told"
    print(f"word, first flow of a scan to finding: p50 {p50:.2f} s, p99 {p99:.2f} s; {share}")
    print(", ".join(f"{name} {value:g}" for name, value in told["counts"].items()))
    missed = [] if told["alert_p99_s"] <= P99_S else [f"event to alert p99 {told['alert_p99_s']:.2f} s, not {P99_S:g}"]
    missed += [] if len(words) == len(told["words"]) else [f"{len(told['words']) - len(words)} scans were not told"]
    print("\n" + ("\n".join(f"missed: {line}" for line in missed) if missed else "all targets are met"))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(told | {"word_p50_s": p50, "word_p99_s": p99, "missed": missed}))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
