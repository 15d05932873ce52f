"""An OPA server for these tests, compiled by Go (`tests.built`), started on a free loopback port."""

import contextlib
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.built import OPA, program
from tests.rungs import ran

START_S = 20

Ask = Callable[[Any], dict[str, Any]]


@pytest.fixture(scope="session")
def opa() -> Path:
    """The OPA program of the pinned version."""
    return program(OPA)


@pytest.fixture(scope="session")
def ask_opa(opa: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Ask a running OPA server for the base guardrail's document on one input."""
    from loomidi.ionic.decide.guards.rego import PACKAGE, base_policy

    with _serving(opa, tmp_path_factory.mktemp("opa"), {"base.rego": base_policy()}, PACKAGE) as ask:
        yield ask


@pytest.fixture(scope="session")
def ask_opa_library(opa: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """The same for the policy library for manifests."""
    from loomidi.ionic.decide import load_library
    from loomidi.ionic.decide.guards.library import PACKAGE

    library = load_library()
    texts = {rule.name: rule.text for rule in library.rules.values()} | dict(library.shared)
    modules = {f"{name}.rego": text for name, text in texts.items()}
    with _serving(opa, tmp_path_factory.mktemp("opa-library"), modules, PACKAGE) as ask:
        yield ask


@contextlib.contextmanager
def _serving(opa: Path, folder: Path, modules: Mapping[str, str], package: str) -> Iterator[Ask]:
    """An OPA server with these modules, asked for the document of a package."""
    for name, text in modules.items():
        (folder / name).write_text(text, encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    files = [str(folder / name) for name in modules]
    log = (folder / "opa.log").open("w")
    arguments = [str(opa), "run", "--server", "--disable-telemetry", "--addr", f"127.0.0.1:{port}", *files]
    server = subprocess.Popen(arguments, stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", server)
        ran("OPA", OPA.version.removeprefix("v"))
        yield lambda document: _post(f"http://127.0.0.1:{port}/v1/data/{package}", {"input": document})
    finally:
        server.terminate()
        server.wait(10)
        log.close()


def _wait_for(address: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(address, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, "the OPA server ended"
            assert time.monotonic() < deadline, f"the OPA server did not answer within {START_S} s"
            time.sleep(0.05)


def _post(address: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        result: dict[str, Any] = json.load(answer).get("result", {})
    return result
