"""A lab leaves the host as it was: after `down`, after its command was killed at any point, and `up` repairs."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from loomidi_lab.cluster import Lab, UpSettings, cgroups, down, up
from loomidi_lab.cluster.places import known, place
from tests.integration.lab.cluster.surveying import survey

NAME = "leaving"
COMMAND = [sys.executable, "-c", "from loomidi_lab.cli import main; main()", "up", "--name", NAME]


@pytest.fixture
def before(buildable: None) -> dict[str, list[str]]:
    """The host without the lab."""
    down(NAME)
    return survey(NAME)


def test_after_down_the_host_is_as_it_was(before: dict[str, list[str]]) -> None:
    up(UpSettings(name=NAME, nodes=1, fake_nodes=20))
    with Lab.open(NAME).api as api:
        nodes = {node["metadata"]["name"] for node in api.list("/api/v1/nodes")}
    assert nodes == {"n1", *(f"fake-{number}" for number in range(20))}
    assert survey(NAME) != before
    assert down(NAME)
    assert survey(NAME) == before
    assert NAME not in {lab.name for lab in known()}


def test_a_second_down_finds_nothing(before: dict[str, list[str]]) -> None:
    assert not down(NAME)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_at_a_random_point_nothing_stays_after_down(seed: int, before: dict[str, list[str]]) -> None:
    _kill_after(random.Random(seed * 1000 + os.getpid()).uniform(0.3, 9.0))
    down(NAME)
    assert survey(NAME) == before


def test_up_after_a_dirty_end_repairs(before: dict[str, list[str]]) -> None:
    _kill_after(3.5)
    assert place(NAME).namespaces(), "killed too early to leave anything"
    up(UpSettings(name=NAME, nodes=1))
    with Lab.open(NAME).api as api:
        assert api.text("/readyz") == "ok"
    down(NAME)
    assert survey(NAME) == before


def test_a_node_that_a_scenario_has_frozen_goes_too(before: dict[str, list[str]]) -> None:
    up(UpSettings(name=NAME, nodes=1))
    stops = {"freezer.state": "FROZEN", "cgroup.freeze": "1"}  # version 1, version 2
    files = [top / "n1" / name for top in cgroups.there(place(NAME)) for name in stops if (top / "n1" / name).exists()]
    assert files, "nothing here can be frozen"
    for file in files:
        file.write_text(stops[file.name])
    assert down(NAME)
    assert survey(NAME) == before


def test_what_fails_half_way_leaves_nothing(before: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    from loomidi.contracts.errors import EnvironmentLacks
    from loomidi_lab.cluster import raising

    def fail(*_: object) -> None:
        raise EnvironmentLacks("the proxy does not start")

    monkeypatch.setattr(raising.nodes, "start_proxy", fail)
    with pytest.raises(EnvironmentLacks, match="the proxy does not start"):
        up(UpSettings(name=NAME, nodes=1))
    assert survey(NAME) == before


def _kill_after(seconds: float) -> None:
    """Start `loomidi-lab up` and kill it with SIGKILL; its point is printed, so that a failure can be repeated."""
    print(f"killed after {seconds:.2f} s")
    with subprocess.Popen(COMMAND, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
