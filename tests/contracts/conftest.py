"""Servers of the bus, one of each kind for all tests of this folder."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.venues import KINDS, Venue
from tests.integration.bus.brokers import KafkaBroker, NatsBroker


@pytest.fixture(scope="session")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, KafkaBroker | NatsBroker]]:
    started: dict[str, KafkaBroker | NatsBroker] = {}
    yield started
    for broker in started.values():
        broker.stop()


@pytest.fixture(params=KINDS)
def venue(request: pytest.FixtureRequest, brokers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Venue:
    kind = request.param
    if kind == "memory":
        return Venue(kind, None, "memory://")
    if kind == "kafka" and os.environ.get("KAFKA"):
        return Venue(kind, None, f"kafka://{os.environ['KAFKA']}", patience_s=10.0)
    if kind not in brokers:
        folder: Path = tmp_path_factory.mktemp(kind)
        broker = KafkaBroker(folder) if kind == "kafka" else NatsBroker(folder)
        broker.start()
        brokers[kind] = broker
    return Venue(kind, brokers[kind], brokers[kind].url, patience_s=10.0 if kind == "kafka" else 2.0)
