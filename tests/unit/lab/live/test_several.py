"""Several scenarios: each has its line, one that cannot be run stops no other, nothing is left out silently."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from loomidi.contracts.errors import EnvironmentLacks, UsageError
from loomidi_lab import shop
from loomidi_lab.cluster import Lab
from loomidi_lab.live import commands


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was deployed; on a lab with Cilium whose runs are all valid but those of scan-nodes, which cannot be run."""
    found: list[str] = []

    def play(drawn: Any, *_: Any, **__: Any) -> Any:
        if drawn.scenario.name == "scan-nodes":
            raise EnvironmentLacks("scan-nodes needs 2 nodes")
        return SimpleNamespace(valid=True), None

    def deploy(_lab: Any, progress: Any) -> Any:
        found.append("shop")
        return SimpleNamespace(wait_ready=lambda _seconds: None)

    monkeypatch.setattr(commands, "_play", play)
    monkeypatch.setattr(Lab, "open", lambda _name: SimpleNamespace(network="cilium"))
    monkeypatch.setattr(shop, "deploy", deploy)
    return found


def run(*words: str) -> Any:
    return CliRunner().invoke(commands.run, words, standalone_mode=False)


def test_one_that_cannot_be_run_is_told_and_does_not_stop_the_others(deployed: list[str]) -> None:
    done = run("scan-nodes", "scan-services")
    assert done.output.splitlines() == [
        "[1/2] scan-nodes: not run: scan-nodes needs 2 nodes",
        "[2/2] scan-services: confirmed",
        "1 of 2 scenarios confirmed",
    ]
    assert done.return_value == 1
    assert deployed == []


def test_what_the_network_does_not_allow_is_told(deployed: list[str]) -> None:
    done = run("arp-spoofing", "scan-services")
    assert done.output.splitlines()[0] == "arp-spoofing: left out, it needs a lab with network bridge"
    assert done.return_value == 0


def test_the_shop_is_brought_for_those_that_need_it(deployed: list[str]) -> None:
    run("scan-services", "rolling-update")
    assert deployed == ["shop"]


def test_json_is_for_one(deployed: list[str], tmp_path: Path) -> None:
    assert isinstance(run("scan-services", "scan-nodes", "--json").exception, UsageError)
