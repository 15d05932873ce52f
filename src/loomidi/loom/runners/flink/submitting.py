"""Starts the job in Flink's own environment, as a process.

Called by `services` and tests. In: `FlinkSettings`. Out: a process whose end is the job's (mini-cluster, bounded) or
the submission's (session cluster). Leaves what the job does to `job`.
"""

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from loomidi.contracts.errors import EnvironmentLacks
from loomidi.loom.runners.flink.settings import CONNECTOR, FlinkSettings

_PACKAGE = Path(__file__).resolve().parents[3]  # loomidi
_TOLD = 4000  # characters of what the job said last


@dataclasses.dataclass(slots=True)
class Submitted:
    """The process, and what it says: standard output and error in one file."""

    process: "subprocess.Popen[bytes]"
    log: Path
    folder: "tempfile.TemporaryDirectory[str]"

    def wait(self, timeout_s: float | None = None) -> None:
        """Until it ends. Raises EnvironmentLacks with the end of its log when it failed."""
        code = self.process.wait(timeout_s)
        if code:
            said = self.log.read_text(errors="replace")[-_TOLD:]
            raise EnvironmentLacks(f"the Flink job ended with exit code {code}; its last words:\n{said}")

    def stop(self) -> None:
        """End it; what its last checkpoint covers is done, the rest is done again by the next job."""
        self._tell(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        self.kill()

    def kill(self) -> None:
        """At once, with the Java process and the Python workers that it started."""
        self._tell(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """End it if it runs, and remove its log and settings."""
        if self.process.poll() is None:
            self.kill()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tell(self, word: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, word)


def submit(settings: FlinkSettings) -> Submitted:
    """Start it. Raises EnvironmentLacks when the tools are not there."""
    python = settings.home / "venv" / "bin" / "python"
    connector = settings.home / f"flink-sql-connector-kafka-{CONNECTOR}.jar"
    missing = [path for path in (python, connector) if not path.exists()]
    if missing:
        raise EnvironmentLacks(f"Flink's environment is not there ({missing[0]}); run: make flink-tools")
    if not settings.epoch:
        settings = dataclasses.replace(settings, epoch=time.time_ns())
    folder = tempfile.TemporaryDirectory(prefix="loomidi-flink-")
    package = Path(folder.name) / "package"
    # A copy of our package alone: the folder that it lies in may hold another pyarrow, and clusters take no links.
    shutil.copytree(_PACKAGE, package / "loomidi", ignore=shutil.ignore_patterns("__pycache__", "native"))
    told = Path(folder.name) / "settings.json"
    told.write_text(settings.to_json())
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    log = Path(folder.name) / "job.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [python, "-m", "loomidi.loom.runners.flink.job", told],
            env=environment | {"PYTHONPATH": str(package), "POLARS_MAX_THREADS": "1"},
            cwd=folder.name,
            stdin=subprocess.PIPE,  # its end tells the job that we are gone
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Submitted(process, log, folder)
