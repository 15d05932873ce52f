"""A broker and a service for this folder's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.bus.brokers import NatsBroker
from tests.integration.ingest.running import Service

# Short limits, so that a test of them is short too.
CONFIG = """
[ingest]
bus_wait_s = 1.0
retry_after_s = 3

[ingest.limits]
grace_s = 1.0
"""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsBroker]:
    found = NatsBroker(tmp_path_factory.mktemp("broker"))
    found.start()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def service(broker: NatsBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    found = Service(tmp_path_factory.mktemp("service"), broker.url, config=CONFIG)
    yield found.start()
    found.close()


@pytest.fixture
def own(broker: NatsBroker, tmp_path: Path) -> Iterator[Service]:
    """One that the test may kill."""
    found = Service(tmp_path, broker.url, config=CONFIG)
    yield found
    found.close()
