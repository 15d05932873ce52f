"""Benign look-alikes on a real cluster: they really happen, harm nobody and leave nothing behind."""

from collections.abc import Callable, Iterator

import pytest

from loomidi_lab import shop as shops
from loomidi_lab import staging
from loomidi_lab.cluster import Lab
from loomidi_lab.staging.stages import journals_of

Run = Callable[..., staging.Occurrence]
HEALTHY_S = 150.0
SHORT = (("dns-retry-burst", 2), ("monitoring-scrape", 8))  # with seeds that draw short acts
ALL = (
    "backup",
    "cron-burst",
    "health-check-storm",
    "load-test",
    "new-service",
    "node-drain",
    "package-download",
    "port-forward-debug",
    "rolling-update",
    "scale-up-down",
)


@pytest.fixture
def whole(cluster: Lab, shop: "shops.Shop") -> Iterator[None]:
    """Nothing of a run is left and every workload of the shop is ready, before and after a test."""
    shop.wait_ready(HEALTHY_S)
    yield
    shop.wait_ready(HEALTHY_S)
    assert not list(journals_of(cluster).glob("*.jsonl"))


def happened(found: staging.Occurrence) -> None:
    """It took place, by every symptom."""
    assert found.void_because == ""
    assert all(symptom.confirmed for symptom in found.symptoms)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), SHORT)
def test_a_short_look_alike_happens_and_leaves_nothing(whole: None, scenario: Run, name: str, seed: int) -> None:
    happened(scenario(name, seed))


@pytest.mark.slow
@pytest.mark.lab_long
@pytest.mark.parametrize("name", ALL)
def test_a_look_alike_happens_and_leaves_nothing(whole: None, scenario: Run, name: str) -> None:
    happened(scenario(name, 1))
