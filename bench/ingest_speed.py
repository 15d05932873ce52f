"""The ingestion API under wrk, acknowledged durably by a real nats-server, beside a no-op handler of the same server.

Called by `make bench` and by hand: `python bench/ingest_speed.py --json FILE`. In: nothing. Out: requests/s and latency
as text and JSON. The service is the process `loomidi serve ingest` with a NATS server of its own over a temporary
folder; the no-op answers 202 once it has read the body, by the same granian, router and admission. wrk is Debian's,
unpacked into ~/.cache/loomidi when the system has none. All share the machine: server, broker and load generator.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path.home() / ".cache" / "loomidi" / "wrk-4.1.0"
PACKAGES = ("wrk", "libluajit-5.1-2", "libluajit-5.1-common")
PATH = "/loom-api/data/system-metrics"
SINGLES, ROWS_PER_S = 5_000, 100_000
ARRAY = 100
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [==[%s]==]
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("FIGURES %%d %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
"""


def load_generator() -> tuple[str, dict[str, str]]:
    """wrk and the environment that it needs: the system's, or Debian's packages, unpacked and not installed."""
    if found := shutil.which("wrk"):
        return found, {}
    binary = CACHE / "usr" / "bin" / "wrk"
    if not binary.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = ["apt-get", "download", "-qq", *PACKAGES]
        if subprocess.run(command, cwd=CACHE, capture_output=True, check=False).returncode:
            print("ingest_speed: there is no wrk and apt-get cannot fetch it; install it (apt-get install wrk)")
            raise SystemExit(0)
        for package in CACHE.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, CACHE], check=True)
    libraries = next((CACHE / "usr" / "lib").glob("*-linux-gnu*"))
    lua = next((CACHE / "usr" / "share").glob("luajit-2.1*"))
    return str(binary), {"LD_LIBRARY_PATH": str(libraries), "LUA_PATH": f"{lua}/?.lua;;"}


def row(number: int) -> dict[str, Any]:
    """A metric as an agent would send it."""
    at = f"2026-11-26T12:03:07.{number:09d}Z"
    return {"timestamp": at, "source_id": f"node-{number % 7}", "metric_name": "cpu_usage", "value": number * 0.5}


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


async def noop(port: int) -> None:
    """The floor: everything of the service but what makes it one."""
    from loomidi.services.http.authority import Authority, Door, Gate
    from loomidi.services.http.limits import BodyLimits, Budget, whole_body
    from loomidi.services.http.problems import Answer
    from loomidi.services.http.routing import Call, Route, application
    from loomidi.services.http.serving import serve

    door, limits, budget, told = Door(port=port), BodyLimits(), Budget(1 << 28), asyncio.Event()

    async def accept(call: Call) -> Answer:
        async with whole_body(call.receive, call.headers, limits, budget):
            return Answer(202, b"{}")

    routes = [Route("POST", "/data/system-metrics", Authority.SENDER, accept)]
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    await serve(application("/loom-api", routes, Gate(door), lambda *_: None), door, told)


@contextmanager
def started(command: list[str], port: int, environment: dict[str, str]) -> Iterator[int]:
    """A process that listens on the port, until the end of the context; its id."""
    process = subprocess.Popen(command, env=os.environ | environment, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while True:
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"bench: {command[1:4]} did not come up")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


def cpu_seconds(process: int) -> float:
    """User and system, of all its threads; a broker that it started is not in it."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def loaded(server: tuple[int, int], body: Any, given: argparse.Namespace, folder: Path) -> dict[str, float]:
    """One run of wrk, after a short one that warms up. `server`: its port and its process."""
    port, process = server
    wrk, environment = load_generator()
    script = folder / "post.lua"
    script.write_text(SCRIPT % json.dumps(body))
    url = f"http://127.0.0.1:{port}{PATH}"
    for seconds in (2, given.seconds):
        command = [wrk, "-t1", f"-c{given.connections}", f"-d{seconds}s", "-s", str(script), url]
        before = cpu_seconds(process)
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    found = re.search(r"^FIGURES (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout
    requests, micros, p50, p99, refused, broken = (int(number) for number in found.groups())
    return {
        "requests_per_s": requests / micros * 1e6,
        "cpu_us": (cpu_seconds(process) - before) / requests * 1e6,
        "p50_ms": p50 / 1000,
        "p99_ms": p99 / 1000,
        "not_2xx": refused,
        "broken": broken,
    }


def published(probes: int) -> int:
    """Rows that the bus acknowledged, as the service counts them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{probes}/metrics") as answer:
        text = answer.read().decode()
    found = re.search(r'stage="publish",stream="metrics",scope="",name="published",unit="rows"} (\d+)', text)
    return int(found[1]) if found else 0


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Floor and service, with single objects and with arrays."""
    bodies = {"single": row(5), "array": [row(number) for number in range(ARRAY)]}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port, probes = free_port(), free_port()
        with started([sys.executable, __file__, "--noop", str(port)], port, {}) as process:
            found |= {f"noop_{kind}": loaded((port, process), body, given, folder) for kind, body in bodies.items()}
        port = free_port()
        command = [sys.executable, "-m", "loomidi", "serve", "ingest", "--port", str(port), "--probes", str(probes)]
        with started(command, port, {"LOOMIDI_BUS_FOLDER": str(folder / "bus")}) as process:
            found |= {f"durable_{kind}": loaded((port, process), body, given, folder) for kind, body in bodies.items()}
            found["rows_published"] = published(probes)
    return found


def judged(found: dict[str, Any]) -> dict[str, Any]:
    """The targets, met or missed."""
    singles = found["durable_single"]["requests_per_s"]
    rows = found["durable_array"]["requests_per_s"] * ARRAY
    faults = sum(
        found[name][kind]
        for name in found
        if "_" in name and isinstance(found[name], dict)
        for kind in ("not_2xx", "broken")
    )
    return found | {
        "single_requests_per_s": singles,
        "single_p99_ms": found["durable_single"]["p99_ms"],
        "single_of_noop": singles / found["noop_single"]["requests_per_s"],
        "array_metrics_per_s": rows,
        "array_p99_ms": found["durable_array"]["p99_ms"],
        "faults": faults,
        "targets": {
            f"single metrics, acknowledged: at least {SINGLES:,} requests/s": singles >= SINGLES,
            f"arrays of {ARRAY}, acknowledged: at least {ROWS_PER_S:,} metrics/s": rows >= ROWS_PER_S,
            "every request was accepted": faults == 0,
        },
    }


def show(found: dict[str, Any]) -> None:
    """As lines for a person."""
    print(f"{'':24} {'requests/s':>12} {'metrics/s':>12} {'p50 ms':>8} {'p99 ms':>8} {'CPU us':>8}  not accepted")
    for name in ("noop_single", "durable_single", "noop_array", "durable_array"):
        run, rows = found[name], ARRAY if name.endswith("array") else 1
        figures = f"{run['requests_per_s']:12,.0f} {run['requests_per_s'] * rows:12,.0f}"
        times = f"{run['p50_ms']:8.2f} {run['p99_ms']:8.2f} {run['cpu_us']:8.0f}"
        print(f"{name:24} {figures} {times}  {run['not_2xx'] + run['broken']}")
    print(f"rows on the bus          {found['rows_published']:12,}")
    for target, met in found["targets"].items():
        print(f"{'met' if met else 'MISSED':12} {target}")


def main() -> int:
    """Exit code 1 when a target is missed."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments.add_argument("--seconds", type=int, default=10, help="of each run")
    arguments.add_argument("--connections", type=int, default=64)
    arguments.add_argument("--noop", type=int, metavar="PORT", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.noop:
        asyncio.run(noop(given.noop))
        return 0
    load_generator()
    found = judged(measure(given))
    show(found)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if all(found["targets"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
