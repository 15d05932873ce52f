"""Real receivers for the contract of the sinks: servers on free ports that can be taken away and brought back.

Called by `test_sink_contract`. NATS and Kafka are the brokers of the bus's tests, rsyslogd is Debian's; HTTP and syslog
are sockets of this process.
"""

import asyncio
import contextlib
import http.server
import io
import json
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loomidi.loom.sinks import FileSettings, MemorySink, Sink, SyslogSettings, Transport
from loomidi.loom.sinks.files import FileSink
from loomidi.loom.sinks.settings import KafkaSettings, NatsSettings, WebhookSettings
from loomidi.loom.sinks.stdout import StdoutSink
from tests.integration.bus.brokers import KafkaBroker, NatsBroker, answers, free_port
from tests.rungs import ran

KINDS = [
    "memory", "stdout", "file", "webhook", "webhook-https", "syslog-udp", "syslog-tcp", "syslog-tls", "rsyslogd",
    "nats", pytest.param("kafka", marks=[pytest.mark.slow, pytest.mark.required]),
]  # fmt: skip
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WAIT_S = 30.0


class Receiver:
    """Where one sink sends to."""

    falls = True  # it can be taken away so that a sink notices

    def __init__(self, make: Callable[[], Sink]) -> None:
        self.make = make

    def got(self) -> list[dict[str, Any]]:
        """Bodies that have arrived, in their order."""
        raise NotImplementedError

    def down(self) -> None:
        raise NotImplementedError

    def up(self) -> None:
        raise NotImplementedError

    def wait(self, count: int) -> list[dict[str, Any]]:
        """All that has arrived, once it is so much."""
        until = time.monotonic() + WAIT_S
        while len(found := self.got()) < count and time.monotonic() < until:
            time.sleep(0.02)
        return found

    def wait_for(self, letter_id: str) -> list[dict[str, Any]]:
        """All that has arrived, once that is there."""
        until = time.monotonic() + WAIT_S
        while not any(one["id"] == letter_id for one in self.got()) and time.monotonic() < until:
            time.sleep(0.02)
        return self.got()


class Memory(Receiver):
    falls = False

    def __init__(self) -> None:
        sink = MemorySink()
        super().__init__(lambda: sink)
        self._sink = sink

    def got(self) -> list[dict[str, Any]]:
        return [json.loads(one.body) for one in self._sink.letters]


class Text(Receiver):
    """An open text file in the place of standard output."""

    falls = False

    def __init__(self) -> None:
        self._file = io.StringIO()
        super().__init__(lambda: StdoutSink(self._file))

    def got(self) -> list[dict[str, Any]]:
        return [json.loads(one) for one in self._file.getvalue().splitlines()]


class Lines(Receiver):
    """A file; away while a folder is missing that cannot be made."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "out" / "events.jsonl"
        super().__init__(lambda: FileSink(FileSettings(path=str(self.path))))

    def got(self) -> list[dict[str, Any]]:
        return [json.loads(one) for one in self.path.read_text().splitlines()] if self.path.is_file() else []

    def down(self) -> None:
        shutil.rmtree(self.path.parent, ignore_errors=True)
        self.path.parent.write_text("in the way")

    def up(self) -> None:
        self.path.parent.unlink()


class Listening(Receiver):
    """A socketserver that is stopped and started on the same port."""

    def __init__(self, make: Callable[[], Sink], server: Callable[[int], socketserver.BaseServer]) -> None:
        super().__init__(make)
        self.bodies: list[dict[str, Any]] = []
        self.port, self._server = free_port(), server
        self._running: socketserver.BaseServer | None = None

    def got(self) -> list[dict[str, Any]]:
        return list(self.bodies)

    def up(self) -> None:
        self._running = self._server(self.port)
        threading.Thread(target=self._running.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        if self._running is not None:
            self._running.shutdown()
            self._running.server_close()
            self._running = None


class Server(socketserver.ThreadingTCPServer):
    """Ends the connections that it has when it ends."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, *given: Any, context: ssl.SSLContext | None = None) -> None:
        self.open, self._context = list[socket.socket](), context
        super().__init__(*given)

    def get_request(self) -> tuple[socket.socket, Any]:
        there, where = super().get_request()
        if self._context is not None:
            there = self._context.wrap_socket(there, server_side=True)
        self.open.append(there)
        return there, where

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that was cut is what the tests ask for."""

    def server_close(self) -> None:
        super().server_close()
        for there in self.open:
            with contextlib.suppress(OSError):
                there.shutdown(socket.SHUT_RDWR)
            there.close()


class Hook(http.server.BaseHTTPRequestHandler):
    """Checks nothing, remembers all: `receiver` and `requests` are set by who makes it."""

    protocol_version = "HTTP/1.1"
    receiver: Any = None

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        status, told = self.receiver.answer(dict(self.headers.items()), body)
        self.send_response(status)
        for name, value in told.items():
            self.send_header(name, value)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Silent."""


class Web(Listening):
    """An HTTP server; `statuses` are answered before it accepts."""

    def __init__(self, folder: Path, certificate: tuple[Path, Path] | None = None) -> None:
        from loomidi.loom.sinks.webhook import WebhookSink

        secret = folder / "secret"
        secret.write_text(SECRET)
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[tuple[int, dict[str, str]]] = []
        context = _serving(certificate)
        hook = type("Bound", (Hook,), {"receiver": self})
        super().__init__(lambda: WebhookSink(settings), lambda port: Server(("127.0.0.1", port), hook, context=context))
        scheme, ca = ("https", str(certificate[0])) if certificate else ("http", "")
        settings = WebhookSettings(f"{scheme}://127.0.0.1:{self.port}/hook", secret=secret, tls_ca=ca, timeout_s=5.0)

    def answer(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        self.requests.append((headers, body))
        if self.statuses:
            return self.statuses.pop(0)
        self.bodies.append(json.loads(body))
        return 204, {}


class Counted(socketserver.StreamRequestHandler):
    """Frames by octet counting."""

    receiver: Any = None

    def handle(self) -> None:
        while length := b"".join(iter(lambda: self.rfile.read(1).strip(), b"")):
            self.receiver.take(self.rfile.read(int(length)))


class Datagrams(socketserver.BaseRequestHandler):
    receiver: Any = None

    def handle(self) -> None:
        self.receiver.take(self.request[0])


class Syslog(Listening):
    def __init__(self, transport: Transport, certificate: tuple[Path, Path] | None = None) -> None:
        from loomidi.loom.sinks.syslog import SyslogSink

        self.messages: list[bytes] = []
        self.falls = transport is not Transport.UDP
        handler = type("Bound", (Datagrams if transport is Transport.UDP else Counted,), {"receiver": self})
        context = _serving(certificate)
        super().__init__(
            lambda: SyslogSink(settings, "node-1"), lambda port: _syslog(transport, port, handler, context)
        )
        ca = str(certificate[0]) if certificate else ""
        settings = SyslogSettings("127.0.0.1", self.port, transport, tls_ca=ca, timeout_s=5.0)

    def take(self, message: bytes) -> None:
        self.messages.append(message)
        self.bodies.append(json.loads(message.split(b" ", 7)[7]))


def _syslog(transport: Transport, port: int, handler: Any, context: ssl.SSLContext | None) -> socketserver.BaseServer:
    if transport is Transport.UDP:
        return socketserver.UDPServer(("127.0.0.1", port), handler)
    return Server(("127.0.0.1", port), handler, context=context)


class Rsyslogd(Receiver):
    """Debian's, receiving by TCP, writing what it understood as JSON."""

    def __init__(self, folder: Path) -> None:
        from loomidi.loom.sinks.syslog import SyslogSink

        if shutil.which("rsyslogd") is None:
            pytest.skip("rsyslogd is not installed (apt-get install rsyslog)")
        self.folder, self.port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        settings = SyslogSettings("127.0.0.1", self.port, Transport.TCP, timeout_s=5.0)
        super().__init__(lambda: SyslogSink(settings, "node-1"))
        self.out = folder / "out.log"
        (folder / "rsyslog.conf").write_text(
            f'global(workDirectory="{folder}" maxMessageSize="64k")\nmodule(load="imtcp")\n'
            f'input(type="imtcp" address="127.0.0.1" port="{self.port}")\n'
            'template(name="seen" type="string" string="%app-name% %hostname% %msgid% %syslogseverity% %msg%\\n")\n'
            f'action(type="omfile" file="{self.out}" template="seen")\n'
        )

    def up(self) -> None:
        command = ["rsyslogd", "-n", "-f", str(self.folder / "rsyslog.conf"), "-i", str(self.folder / "pid")]
        with (self.folder / "own.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + WAIT_S
        while not answers(self.port):
            assert self._process.poll() is None, (self.folder / "own.log").read_text()
            assert time.monotonic() < until, "rsyslogd does not come up"
            time.sleep(0.02)
        ran("rsyslogd", "Debian's")

    def down(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def got(self) -> list[dict[str, Any]]:
        lines = self.out.read_text().splitlines() if self.out.is_file() else []
        assert all(one.startswith("loomidi node-1 finding ") for one in lines)
        return [json.loads(one.split(" ", 4)[4]) for one in lines]


class Nats(Receiver):
    def __init__(self, broker: NatsBroker, name: str) -> None:
        from loomidi.loom.sinks.nats import NatsSink

        self._broker, self._name = broker, name
        settings = NatsSettings(broker.url, subject=f"{name}.told", stream=name, patience_s=2.0)
        super().__init__(lambda: NatsSink(settings))

    def got(self) -> list[dict[str, Any]]:
        return asyncio.run(self._read())

    async def _read(self) -> list[dict[str, Any]]:
        import nats
        from nats.js.errors import NotFoundError

        client = await nats.connect(self._broker.url)
        try:
            manager = client.jetstream()
            with contextlib.suppress(NotFoundError):
                held = (await manager.stream_info(self._name)).state.messages
                return [json.loads((await manager.get_msg(self._name, at)).data) for at in range(1, held + 1)]
            return []
        finally:
            await client.close()

    def down(self) -> None:
        self._broker.down()

    def up(self) -> None:
        if self._broker.process is None or self._broker.process.poll() is not None:
            self._broker.start()


class Kafka(Receiver):
    def __init__(self, broker: KafkaBroker, name: str) -> None:
        from loomidi.loom.sinks.kafka import KafkaSink

        self._broker, self._topic = broker, name
        super().__init__(lambda: KafkaSink(KafkaSettings(broker.url, topic=name, patience_s=10.0)))

    def got(self) -> list[dict[str, Any]]:
        from confluent_kafka import Consumer, TopicPartition

        where = {"bootstrap.servers": f"127.0.0.1:{self._broker.port}", "group.id": self._topic}
        consumer = Consumer({**where, "enable.auto.commit": False})
        try:
            _, last = consumer.get_watermark_offsets(TopicPartition(self._topic, 0), timeout=20)
            consumer.assign([TopicPartition(self._topic, 0, 0)])
            return [json.loads(one.value()) for one in consumer.consume(last, 20)] if last else []
        finally:
            consumer.close()

    def down(self) -> None:
        self._broker.down()

    def up(self) -> None:
        from confluent_kafka.admin import AdminClient, NewTopic

        if self._broker.process is None or self._broker.process.poll() is not None:
            self._broker.start()
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{self._broker.port}"})
        if self._topic not in admin.list_topics(timeout=30).topics:
            admin.create_topics([NewTopic(self._topic, 1, 1)])[self._topic].result(30)


def _serving(certificate: tuple[Path, Path] | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@contextlib.contextmanager
def standing(receiver: Receiver) -> Iterator[Receiver]:
    """Up until the end of the block."""
    if receiver.falls or isinstance(receiver, Listening):
        with contextlib.suppress(FileNotFoundError):
            receiver.up()
    try:
        yield receiver
    finally:
        if isinstance(receiver, (Listening, Rsyslogd)):
            receiver.down()
