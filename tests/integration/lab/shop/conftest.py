"""The whole shop as plain processes on loopback, with a real Redis and a real PostgreSQL. No cluster, no network."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from loomidi_lab.shop import certificates

APP = Path(certificates.__file__).parent / "app"
PYTHON = "/usr/bin/python3"
POSTGRES = Path("/usr/lib/postgresql/15/bin")
SERVICES = ("catalog", "cart", "orders", "payment", "shipping", "recommendations", "mailer", "frontend")
MODULES = ("aiohttp", "redis", "asyncpg", "prometheus_client")


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Spans:
    """An OTLP/HTTP receiver that keeps every span with its service."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []
        outer = self

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.take(data)
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *words: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, data: dict[str, Any]) -> None:
        self.requests.append(data)
        for group in data["resourceSpans"]:
            about = {a["key"]: a["value"] for a in group["resource"]["attributes"]}
            for scope in group["scopeSpans"]:
                self.spans += [{**s, "service": about["service.name"]["stringValue"]} for s in scope["spans"]]


class LocalShop:
    """Processes, ports and what they say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.app, self.python = APP, PYTHON
        names = [*SERVICES, "payment_tls", "redis", "postgres"]
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.spans = Spans()
        tls = folder / "tls"
        tls.mkdir()
        ca = certificates.authority()
        pair = certificates.issue(ca, "payment", "shop", hosts=("localhost",))
        (tls / "ca.crt").write_text(ca.certificate)
        (tls / "tls.crt").write_text(pair.certificate)
        (tls / "tls.key").write_text(pair.key)

    def environment(self, service: str) -> dict[str, str]:
        urls = {f"{name.upper()}_URL": f"http://127.0.0.1:{self.ports[name]}" for name in SERVICES}
        return {
            "PATH": os.environ["PATH"],
            **urls,
            "PAYMENT_URL": f"https://localhost:{self.ports['payment_tls']}",
            "PORT": str(self.ports[service]),
            "TLS_PORT": str(self.ports["payment_tls"] if service == "payment" else 0),
            "TLS_FOLDER": str(self.folder / "tls"),
            "CA_FILE": str(self.folder / "tls" / "ca.crt"),
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(self.ports["redis"]),
            "REDIS_PASSWORD": "red",
            "DATABASE_HOST": "127.0.0.1",
            "DATABASE_PORT": str(self.ports["postgres"]),
            "DATABASE_PASSWORD": "blue",
            "SPOOL_FOLDER": str(self.folder / "spool"),
            "DRAIN_S": "0.2",
            "MAIL_SECONDS": "0.01",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.spans.port}",
            "TRACE_EVERY_S": "0.2",
            "POD_NAME": f"{service}-test",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def start(self, service: str, **more: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{service}.log").open("ab")
        with log:
            env = {**self.environment(service), **more}
            process = subprocess.Popen([PYTHON, str(APP), service], env=env, stdout=log, stderr=log)
        self.processes[service] = process
        return process

    def restart(self, service: str, **more: str) -> None:
        self.stop(service)
        self.start(service, **more)
        self.wait_ready(service)

    def stop(self, name: str) -> int:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM if name != "postgres" else signal.SIGINT)
        return process.wait(20)

    def start_redis(self) -> None:
        log = (self.folder / "redis.log").open("ab")
        words = [
            "redis-server",
            "--bind",
            "127.0.0.1",
            "--port",
            str(self.ports["redis"]),
            "--save",
            "",
            "--requirepass",
            "red",
        ]
        with log:
            self.processes["redis"] = subprocess.Popen(words, stdout=log, stderr=log, cwd=self.folder)

    def start_postgres(self) -> None:
        data = self.folder / "pg"
        if not data.exists():
            data.mkdir()
            shutil.chown(data, "postgres")
            (self.folder / "pw").write_text("blue")
            shutil.chown(self.folder / "pw", "postgres")
            words = [POSTGRES / "initdb", "-D", data, "-U", "shop", "--no-sync", f"--pwfile={self.folder / 'pw'}"]
            words += ["--auth-host=scram-sha-256", "--auth-local=trust"]
            subprocess.run(words, check=True, user="postgres", capture_output=True, env={"PATH": os.environ["PATH"]})
        words = [POSTGRES / "postgres", "-D", data, "-k", "", "-c", f"port={self.ports['postgres']}", "-c", "fsync=off"]
        words += ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=40", "-c", "shared_buffers=32MB"]
        with (self.folder / "postgres.log").open("ab") as log:
            self.processes["postgres"] = subprocess.Popen(words, user="postgres", stdout=log, stderr=log)
        self.create_database()

    def create_database(self) -> None:
        where = ["-h", "127.0.0.1", "-p", str(self.ports["postgres"]), "-U", "shop", "-d", "postgres"]
        words = [POSTGRES / "psql", *where, "-c", "create database shop"]
        until = time.monotonic() + 30.0
        while True:
            done = subprocess.run(words, env={"PGPASSWORD": "blue"}, capture_output=True, text=True, check=False)
            if done.returncode == 0 or "already exists" in done.stderr:
                return
            assert time.monotonic() < until, done.stderr
            time.sleep(0.1)

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"

    def wait_ready(self, service: str, timeout_s: float = 30.0) -> None:
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url(service)}/readyz").status_code == 200:
                    return
            assert self.processes[service].poll() is None, (self.folder / f"{service}.log").read_text()[-2000:]
            time.sleep(0.05)
        raise AssertionError(f"{service} is not ready: {(self.folder / f'{service}.log').read_text()[-2000:]}")

    def metrics(self, service: str) -> dict[str, float]:
        """Every sample of a service by its name with labels."""
        found = {}
        for line in httpx.get(f"{self.url(service)}/metrics").text.splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
        return found

    def close(self) -> None:
        for name in (*SERVICES, "redis", "postgres"):
            if name in self.processes:
                self.stop(name)
        self.spans.server.shutdown()
        self.spans.server.server_close()


def _lacking() -> str:
    if os.geteuid() != 0:
        return "needs root to run PostgreSQL as its own user"
    if shutil.which("redis-server") is None:
        return "needs the Debian package redis-server"
    if not (POSTGRES / "postgres").exists():
        return "needs the Debian package postgresql-15"
    probe = subprocess.run([PYTHON, "-c", f"import {', '.join(MODULES)}"], capture_output=True, check=False)
    return (
        ""
        if probe.returncode == 0
        else "needs python3-aiohttp, python3-redis, python3-asyncpg, python3-prometheus-client"
    )


@pytest.fixture(scope="session")
def local_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalShop]:
    """All services, started in the wrong order on purpose."""
    lacking = _lacking()
    if lacking:
        pytest.skip(lacking)
    folder = tmp_path_factory.mktemp("shop")
    above_all = Path(tempfile.gettempdir()).resolve()
    for above in (folder, *(one for one in folder.parents if above_all in one.parents)):
        above.chmod(0o755)  # PostgreSQL runs as its own user
    shop = LocalShop(folder)
    try:
        for service in reversed(SERVICES):
            shop.start(service)
        shop.start_redis()
        shop.start_postgres()
        for service in SERVICES:
            shop.wait_ready(service)
        yield shop
    finally:
        shop.close()
