"""Failures on a real cluster: each takes hold by its symptoms, and the shop is whole again after it."""

import pytest

from loomidi_lab import staging
from tests.integration.lab.scenarios.driving import Run, happened

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
