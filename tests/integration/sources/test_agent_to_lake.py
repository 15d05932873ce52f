"""From the NIC to the table with processes as people start them, one of them killed: the balance adds up."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loomidi.loom.capture import detach, spaces
from tests.integration.watch.rooms import NODE, rooms, talk, until

pytestmark = [pytest.mark.kernel, pytest.mark.required, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(autouse=True, scope="module")
def machine() -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces and BPF need root")
    with rooms():
        yield


class Node:
    """`loomidi` processes over one state folder, ended whatever happens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        places = {"LOOMIDI_NODE_STATE": "state", "LOOMIDI_BUS_FOLDER": "bus", "LOOMIDI_LAKE_FOLDER": "lake"}
        self._environment = os.environ | {name: str(folder / place) for name, place in places.items()}
        self._environment |= {"LOOMIDI_NODE_NAME": "n1", "LOOMIDI_PROBES_PORT": "0"}
        (folder / "config.toml").write_text("[ingest.door]\nport = 0\n")
        self.running: list[subprocess.Popen[bytes]] = []

    def words(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "loomidi", *words, "--config", str(self.folder / "config.toml")]

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{words[0]}.log").open("ab") as log:
            process = subprocess.Popen(self.words(*words), env=self._environment, stdout=log, stderr=log)
        self.running.append(process)
        return process

    def agent(self) -> "subprocess.Popen[bytes]":
        links = ("serve", "agent", "vetha", "--netns", NODE, "--pin", "--drain", "0.2", "--active", "5", "--idle", "5")
        return self.start(*links)

    def ask(self, *words: str) -> Any:
        done = subprocess.run(
            self.words(*words, "--json"), env=self._environment, capture_output=True, text=True, check=False, timeout=60
        )
        return json.loads(done.stdout) if done.stdout else {"adds_up": False, "problem": done.stderr}

    def books(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / "state" / "agent" / "agent.json").read_text())
        except FileNotFoundError:
            return {"epoch": 0, "links": {}}
        return found

    def accounted(self) -> int:
        return sum(link["packets"]["accounted"] for link in self.books()["links"].values())

    def said(self, name: str) -> str:
        log = self.folder / f"{name}.log"
        return log.read_text() if log.exists() else ""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    for process in reversed(made.running):
        if process.poll() is None:
            process.terminate()
            process.wait(60)
    with spaces.inside(NODE):
        detach("vetha")


def balanced(node: Node, runs: int) -> list[dict[str, Any]]:
    """The meter's equations, once what so many runs of the agent counted has reached the lake and all of it adds up."""
    told: dict[str, Any] = {}

    def meters() -> list[dict[str, Any]]:
        return [one for one in told.get("equations", ()) if one["stage"] == "meter"]

    def adds_up() -> bool:
        told.update(node.ask("balance"))
        return bool(told["adds_up"]) and len(meters()) >= runs

    until(adds_up, "the balance of all runs does not add up", 60)
    return meters()


def test_a_killed_agent_leaves_a_balance_that_adds_up_in_the_lake(node: Node) -> None:
    node.start("run")
    until(lambda: "ingest listens" in node.said("run"), "the pipeline does not start", 60)
    killed = node.agent()
    until(lambda: node.books()["links"], "the agent captures nothing", 60)
    talk(30)
    until(lambda: node.accounted() >= 30, "packets are not accounted")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = node.books()["epoch"]
    talk(20)
    second = node.agent()
    until(lambda: node.books()["epoch"] > before, "the agent does not come again", 60)
    talk(10)
    until(lambda: node.accounted() >= 10, "packets are not accounted")
    second.terminate()
    assert second.wait(60) == 0, node.said("serve")
    meter = balanced(node, runs=2)
    assert sum(one["accounted"] for one in meter) >= 60
    assert sum(one["parts"].get("recovered", 0) for one in meter) >= 20
