"""One OPA server and one service for this folder's tests; each test has packages and names of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.built import OPA
from tests.integration.bus.brokers import free_port
from tests.integration.opa.conftest import opa  # noqa: F401 - a fixture
from tests.integration.policy.running import OpaServer, Service
from tests.rungs import ran


@pytest.fixture(scope="session")
def service_port() -> int:
    return free_port()


@pytest.fixture(scope="session")
def opa_server(opa: Path, tmp_path_factory: pytest.TempPathFactory, service_port: int) -> Iterator[OpaServer]:  # noqa: F811
    found = OpaServer(tmp_path_factory.mktemp("opa"), program=opa, log_to=service_port)
    yield found.start()
    ran("OPA", OPA.version.removeprefix("v"))
    found.kill()


@pytest.fixture(scope="session")
def service(opa_server: OpaServer, tmp_path_factory: pytest.TempPathFactory, service_port: int) -> Iterator[Service]:
    found = Service(tmp_path_factory.mktemp("policy"), port=service_port, opa=opa_server.url)
    yield found.start()
    found.kill()
