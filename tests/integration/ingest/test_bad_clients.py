"""What clients may do to the real server: too much, too slowly, packed, malformed; and what they are answered."""

import gzip
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.ingest.running import ROW, Service, until

pytestmark = pytest.mark.required
ROOT = Path(__file__).resolve().parents[3]
LIMIT = 64 << 20
HEAD = (
    b"POST /loom-api/data/system-metrics HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 100\r\n"
)


def test_schemathesis_finds_no_5xx_and_no_answer_that_is_not_described(service: Service, tmp_path: Path) -> None:
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{service.url}/openapi.json"]
    command += ["--checks", f"{checks},response_headers_conformance,unsupported_method", "--max-examples", "25"]
    command += ["--phases", "examples,coverage,fuzzing", "--seed", "5", "--url", service.url, "--no-color"]
    hooks = {"PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.integration.ingest.lines_hook"}
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | hooks, capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stdout[-6000:]
    generated = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert generated is not None, done.stdout[-2000:]
    assert int(generated[1]) == int(generated[2]) > 200


@pytest.mark.parametrize("told", [True, False], ids=["with its length", "in chunks"])
def test_a_body_beyond_the_limit_is_refused_whether_or_not_it_tells_its_length(service: Service, told: bool) -> None:
    block = b" " * (1 << 20)

    def blocks() -> Iterator[bytes]:
        for _ in range(LIMIT // len(block)):
            yield block
        yield b" "

    headers = {"Content-Type": "application/json"} | ({"Content-Length": str(LIMIT + 1)} if told else {})
    with service.client() as client:
        answer = client.post("/data/system-metrics", content=blocks(), headers=headers)
    assert (answer.status_code, answer.json()["most_octets"]) == (413, LIMIT)


def test_a_bomb_is_refused_and_leaves_no_memory_behind(service: Service) -> None:
    before = service.memory_mib()
    bomb = gzip.compress(b"[" + b" " * 900_000_000, compresslevel=1)
    with service.client() as client:
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        answer = client.post("/data/system-metrics", content=bomb, headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (413, "too-large")
    assert service.memory_mib() - before < 250


def test_slow_bodies_are_given_up_and_hold_up_nobody(service: Service) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", service.port))) for _ in range(200)]
        for one in slow:
            one.sendall(HEAD + b"\r\n{")
        with service.client() as client:
            assert client.post("/data/system-metrics", json=ROW).status_code == 202
        for one in slow:
            one.settimeout(30)
            assert one.recv(4096).startswith(b"HTTP/1.1 408 ")
    until(lambda: "loomidi_ingest_requests_in_progress 0\n" in service.metrics(), "the slow ones are gone")


@pytest.mark.slow
def test_slow_headers_are_given_up_and_hold_up_nobody(service: Service) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", service.port))) for _ in range(200)]
        for one in slow:
            one.sendall(HEAD[:50])
        with service.client() as client:
            assert client.post("/data/system-metrics", json=ROW).status_code == 202
        for one in slow:
            one.settimeout(40)
            assert not one.recv(4096)


def test_a_client_that_leaves_in_the_middle_is_counted_and_nothing_of_it_is_taken(service: Service) -> None:
    def broken_off() -> int:
        found = re.search(r'scope="/data/system-metrics",name="malformed",unit="requests"} (\d+)', service.metrics())
        return int(found[1]) if found else 0

    before = broken_off()
    with socket.create_connection(("127.0.0.1", service.port)) as one:
        one.sendall(HEAD + b"\r\n" + json.dumps([ROW]).encode()[:30])
    until(lambda: broken_off() == before + 1, "the broken off request is counted")
