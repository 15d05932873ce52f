"""The definitions on the API server of this folder's tests, and a stage for each test."""

from collections.abc import Iterator

import httpx
import pytest

from tests.integration.kube.operator.granting import establish
from tests.integration.kube.operator.stages import POLICIES, Stage
from tests.integration.kube.rooms import Room
from tests.integration.kube.servers import Server


@pytest.fixture(scope="session")
def folding(admin: httpx.Client) -> None:
    establish(admin)


@pytest.fixture
def stage(server: Server, room: Room, folding: None) -> Iterator[Stage]:
    stage = Stage(server, room)
    yield stage
    room.admin.delete(f"{POLICIES}/{room.namespace}")
