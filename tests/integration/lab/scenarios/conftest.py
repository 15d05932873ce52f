"""The shop whole before and after a scenario."""

from collections.abc import Iterator

import pytest

from loomidi_lab import shop as shops
from loomidi_lab.cluster import Lab
from loomidi_lab.staging.stages import journals_of
from tests.integration.lab.scenarios.driving import HEALTHY_S


@pytest.fixture
def whole(cluster: Lab, shop: "shops.Shop") -> Iterator[None]:
    """Nothing of a run is left and every workload of the shop is ready, before and after a test."""
    shop.wait_ready(HEALTHY_S)
    yield
    shop.wait_ready(HEALTHY_S)
    assert not list(journals_of(cluster).glob("*.jsonl"))
