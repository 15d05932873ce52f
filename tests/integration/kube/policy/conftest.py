"""Kyverno's definitions on the API server of the folder above, and a stage for each test."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.kube.policy.definitions import USER, establish
from tests.integration.kube.policy.stages import Stage
from tests.integration.kube.servers import Server


@pytest.fixture(scope="session")
def ruling(server: Server, admin: httpx.Client) -> Iterator[httpx.Client]:
    establish(admin)
    with server.user(USER) as client:
        yield client


@pytest.fixture
def stage(tmp_path: Path, admin: httpx.Client, ruling: httpx.Client) -> Iterator[Stage]:
    stage = Stage(tmp_path, admin, ruling)
    yield stage
    stage.shelf.close()
