"""Failures on a real cluster: each takes hold by its symptoms, and the shop is whole again after it."""

from collections.abc import Callable, Iterator

import pytest

from loomidi_lab import shop as shops
from loomidi_lab import staging
from loomidi_lab.cluster import Lab
from loomidi_lab.staging.stages import journals_of

Run = Callable[..., staging.Occurrence]
HEALTHY_S = 150.0
SHORT = (("bad-rollout-image", 0), ("dependency-down", 17))  # with seeds that draw short acts
ALL = (
    "bad-rollout-config",
    "bad-rollout-crash",
    "cascading-retries",
    "certificate-expired",
    "clock-skew",
    "cpu-saturation",
    "disk-fill",
    "dns-failure",
    "fd-leak",
    "memory-leak-oom",
    "node-down",
    "node-pressure",
    "noisy-neighbour",
    "packet-loss",
    "pool-exhaustion",
    "queue-growth",
    "slow-dependency",
)


@pytest.fixture
def whole(cluster: Lab, shop: "shops.Shop") -> Iterator[None]:
    """Nothing of a run is left and every workload of the shop is ready, before and after a test."""
    shop.wait_ready(HEALTHY_S)
    yield
    shop.wait_ready(HEALTHY_S)
    assert not list(journals_of(cluster).glob("*.jsonl"))


def happened(found: staging.Occurrence) -> None:
    """It took hold, at all the places that were planned."""
    assert found.void_because == ""
    assert all(symptom.confirmed for symptom in found.symptoms)
    assert found.end_ns > found.start_ns > 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), SHORT)
def test_a_short_failure_takes_hold_and_the_shop_recovers(whole: None, scenario: Run, name: str, seed: int) -> None:
    happened(scenario(name, seed))


@pytest.mark.slow
@pytest.mark.lab_long
@pytest.mark.parametrize("name", ALL)
def test_a_failure_takes_hold_and_the_shop_recovers(whole: None, scenario: Run, name: str) -> None:
    happened(scenario(name, 1))


@pytest.mark.slow
@pytest.mark.lab_long
def test_both_ways_to_lose_the_dns_take_hold(whole: None, scenario: Run) -> None:
    modes = {}
    for seed in range(20):
        modes.setdefault(staging.draw(staging.load("dns-failure"), seed).parameters["mode"], seed)
    assert set(modes) == {"servfail", "no_pods"}
    for seed in modes.values():
        happened(scenario("dns-failure", seed))
