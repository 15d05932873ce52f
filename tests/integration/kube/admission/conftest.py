"""An API server of its own with the policies of deployments/admission, and a stage for each test."""

from collections.abc import Iterator

import httpx
import pytest

from tests.integration.kube.admission.floors import Floor, FloorStage, install
from tests.integration.kube.operator.granting import establish
from tests.integration.kube.operator.stages import POLICIES
from tests.integration.kube.rooms import USER, Room, a_room, bind
from tests.integration.kube.servers import Server, kube_server


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The whole lives once more are for the long run (`make lab-test`)."""
    for item in items:
        if item.path.name == "test_all_lives.py":
            item.add_marker(pytest.mark.lab_long)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with kube_server(tmp_path_factory.mktemp("kube-admission"), controllers=True) as running:
        yield running


@pytest.fixture(scope="session")
def admin(server: Server) -> Iterator[httpx.Client]:
    with server.admin() as client:
        bind(client)
        establish(client)
        install(client)
        yield client


@pytest.fixture(scope="session")
def operator(server: Server) -> Iterator[httpx.Client]:
    with server.user(USER) as client:
        yield client


@pytest.fixture
def room(admin: httpx.Client, operator: httpx.Client) -> Iterator[Room]:
    yield from a_room(admin, operator)


@pytest.fixture
def stage(server: Server, room: Room) -> Iterator[FloorStage]:
    stage = FloorStage(server, room)
    yield stage
    room.admin.delete(f"{POLICIES}/{room.namespace}")


@pytest.fixture
def floor(room: Room) -> Floor:
    return Floor(room)
