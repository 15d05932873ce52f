"""One API server for all tests of this folder, a namespace for each test."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.kube.rooms import USER, Room, a_room, bind
from tests.integration.kube.servers import Server, kube_server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where the binaries are built, as CI builds them, nothing here may be skipped."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.required)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with kube_server(tmp_path_factory.mktemp("kube"), controllers=True) as running:
        yield running


@pytest.fixture(scope="session")
def admin(server: Server) -> Iterator[httpx.Client]:
    with server.admin() as client:
        bind(client)
        yield client


@pytest.fixture(scope="session")
def operator(server: Server) -> Iterator[httpx.Client]:
    with server.user(USER) as client:
        yield client


@pytest.fixture
def room(admin: httpx.Client, operator: httpx.Client) -> Iterator[Room]:
    yield from a_room(admin, operator)
