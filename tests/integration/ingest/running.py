"""The real service over a real bus: `loomidi serve ingest` as a process, killed, ended, started again on its port."""

import asyncio
import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa

from loomidi.contracts.schemas import EVENTS, FLOW_RECORDS, METRICS
from loomidi.loom.bus import BusSettings, open_bus
from loomidi.loom.bus.envelopes import decode
from tests.integration.bus.brokers import NatsBroker, free_port

SCHEMAS = {"flows": FLOW_RECORDS, "metrics": METRICS, "events": EVENTS}
ROW = {"source_id": "node-1", "metric_name": "cpu_usage", "value": 0.5}
READY_S = 60.0


def until(reached: Callable[[], bool], what: str, seconds: float = READY_S) -> None:
    """Wait for a condition; it never decides by time whether something is right."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.02)


@dataclasses.dataclass
class Service:
    """One service on one port."""

    folder: Path
    bus: str
    options: tuple[str, ...] = ()
    config: str = ""
    scheme: str = "http"
    port: int = dataclasses.field(default_factory=free_port)
    probes: int = dataclasses.field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/loom-api"

    def command(self) -> list[str]:
        file = self.folder / "loomidi.toml"
        file.write_text(self.config)
        command = [sys.executable, "-m", "loomidi", "serve", "ingest", "--bus", self.bus, "--node", "n1"]
        return [*command, "--port", str(self.port), "--probes", str(self.probes), "--config", str(file), *self.options]

    def start(self) -> "Service":
        log = (self.folder / "service.log").open("ab")
        self.process = subprocess.Popen(self.command(), stderr=log, stdout=log)
        log.close()
        until(self.is_ready, f"the service is ready ({self.folder / 'service.log'})")
        return self

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "service.log").read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{self.probes}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def metrics(self) -> str:
        return httpx.get(f"http://127.0.0.1:{self.probes}/metrics", trust_env=False).text

    def memory_mib(self) -> float:
        """Peak, resident."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def client(self, **given: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, trust_env=False, timeout=60, **given)


def held(broker: NatsBroker, stream: str) -> pa.Table:
    """All rows of a stream that the bus holds, in its order."""

    async def read() -> list[pa.RecordBatch]:
        found: list[pa.RecordBatch] = []
        async with await open_bus(BusSettings(url=broker.url)) as bus:
            reader = await bus.reader(stream, "test", after={})
            while messages := await reader.fetch(most=256, timeout_s=0.3):
                found += [decode(message.envelope, SCHEMAS[stream]) for message in messages]
            await reader.close()
        return found

    return pa.Table.from_batches(asyncio.run(read()), SCHEMAS[stream])
