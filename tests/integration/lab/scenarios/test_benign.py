"""Benign look-alikes on a real cluster: they really happen, harm nobody and leave nothing behind."""

import pytest

from tests.integration.lab.scenarios.driving import Run, happened

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


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), SHORT)
def test_a_short_look_alike_happens_and_leaves_nothing(whole: None, scenario: Run, name: str, seed: int) -> None:
    happened(scenario(name, seed))


@pytest.mark.slow
@pytest.mark.lab_long
@pytest.mark.parametrize("name", ALL)
def test_a_look_alike_happens_and_leaves_nothing(whole: None, scenario: Run, name: str) -> None:
    happened(scenario(name, 1))
