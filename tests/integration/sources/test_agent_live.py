"""The agent on real links: every packet that the kernel counted is somewhere, on each rung, also after kill -9."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from loomidi.contracts.schemas import COUNTERS, FLOW_RECORDS
from loomidi.loom.bus.envelopes import decode
from loomidi.loom.bus.spooling import Spool
from loomidi.loom.capture import detach, spaces
from tests.integration.watch.rooms import NODE, rooms, talk, until

pytestmark = [pytest.mark.kernel, pytest.mark.required]
NOWHERE = "nats://127.0.0.1:1"  # all that the agent says goes to its spool, which is read here


@pytest.fixture(autouse=True, scope="module")
def machine() -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces and BPF need root")
    with rooms():
        yield


class Process:
    """`loomidi serve agent` on the pods' links of the node."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        words = ("serve", "agent", "veth?", "--netns", NODE, "--drain", "0.1", "--idle", "5", "--active", "5")
        places = ("--bus", NOWHERE, "--state", str(folder), "--node", "n1")
        self.log = (folder / "log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "loomidi", *words, *places, *options], stderr=self.log, stdout=self.log
        )

    def links(self) -> dict[str, Any]:
        """What it has kept last."""
        try:
            kept = json.loads((self.folder / "agent" / "agent.json").read_text())
        except FileNotFoundError:
            return {}
        found: dict[str, Any] = kept["links"]
        return found if kept["epoch"] > self._former() else {}

    def _former(self) -> int:
        marker = self.folder / "former"
        return int(marker.read_text()) if marker.exists() else 0

    def accounted(self) -> int:
        return sum(link["packets"]["accounted"] for link in self.links().values())

    def up(self) -> "Process":
        until(lambda: len(self.links()) == 2 or self.process.poll() is not None, "no links", 40)
        assert self.process.poll() is None, (self.folder / "log").read_text()
        return self

    def end(self, number: int = signal.SIGTERM) -> int:
        kept = self.folder / "agent" / "agent.json"
        self.process.send_signal(number)
        code = self.process.wait(30)
        (self.folder / "former").write_text(str(json.loads(kept.read_text())["epoch"]))
        self.log.close()
        return code


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    with spaces.inside(NODE):
        for link in ("vetha", "vethb"):
            detach(link)


def spooled(folder: Path) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Flows, and the last value of every counter."""
    spool = Spool(folder / "spool" / "agent", limit_octets=1 << 30, segment_octets=1 << 24)
    flows, last = [], dict[tuple[Any, ...], dict[str, Any]]()
    for envelope in spool.take(1 << 30):
        if envelope.stream == "flows":
            flows.append(decode(envelope, FLOW_RECORDS))
            continue
        for row in decode(envelope, COUNTERS).drop_columns(["timestamp"]).to_pylist():
            last[tuple(value for name, value in row.items() if name != "value")] = row
    spool.close()
    return pa.Table.from_batches(flows, schema=FLOW_RECORDS), list(last.values())


def values(counters: list[dict[str, Any]], stage: str, unit: str = "packets") -> dict[tuple[int, str], dict[str, int]]:
    """(epoch, link) -> name -> value."""
    found: dict[tuple[int, str], dict[str, int]] = {}
    for row in counters:
        if (row["stage"], row["unit"]) == (stage, unit):
            found.setdefault((row["epoch"], row["scope"]), {})[row["name"]] = row["value"]
    return found


def in_flows(flows: pa.Table) -> int:
    return sum(sum(flows[name].to_pylist()) for name in ("packet_delta_count", "reverse_packet_delta_count"))


@pytest.mark.parametrize("capture", ["shield", "sockets"])
def test_every_packet_is_in_a_flow_after_a_clean_end(folder: Path, capture: str) -> None:
    agent = Process(folder, "--capture", capture).up()
    talk(50)
    until(lambda: agent.accounted() >= (100 if capture != "sockets" else 200), "packets are not accounted")
    assert agent.end() == 0
    flows, counters = spooled(folder)
    captured, exported = values(counters, "capture"), values(counters, "export")
    for place, counts in captured.items():
        assert counts.pop("received") == sum(counts.values()), place
        assert counts["accounted"] == sum(exported[place].values()), place
        assert exported[place]["open"] == 0
    assert in_flows(flows) == sum(counts["accounted"] for counts in captured.values())
    assert {link for _, link in captured} == {f"{NODE}/vetha", f"{NODE}/vethb"}
    rungs = {link["rung"] for link in agent_links(folder).values()}
    assert rungs == {"sockets"} if capture == "sockets" else rungs <= {"xdp-native", "xdp-generic", "tc"}


def agent_links(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "agent" / "agent.json").read_text())["links"]
    return found


def test_what_a_pinned_shield_counted_while_no_agent_ran_is_recovered_or_told(folder: Path) -> None:
    first = Process(folder, "--capture", "shield", "--pin").up()
    talk(30)
    until(lambda: first.accounted() >= 60, "packets are not accounted")
    first.end(signal.SIGKILL)
    talk(20)
    second = Process(folder, "--capture", "shield", "--pin").up()
    talk(10)
    until(lambda: second.accounted() >= 20, "packets are not accounted")
    assert second.end() == 0
    _, counters = spooled(folder)
    captured, exported = values(counters, "capture"), values(counters, "export")
    killed = min(epoch for epoch, _ in captured)
    for place, counts in captured.items():
        assert counts.pop("received") == sum(counts.values()), place
        assert counts["accounted"] == sum(exported[place].values()), place
    sent = sum(counts["accounted"] for (epoch, _), counts in captured.items() if epoch == killed)
    recovered = sum(exported[place].get("recovered", 0) for place in captured if place[0] == killed)
    assert sent >= 100
    assert recovered >= 40
    assert all(exported[place]["open"] == 0 for place in captured if place[0] == killed)


def test_a_socket_agent_that_was_killed_has_its_open_flows_told(folder: Path) -> None:
    first = Process(folder, "--capture", "sockets").up()
    talk(30)
    until(lambda: first.accounted() >= 120, "packets are not accounted")
    first.end(signal.SIGKILL)
    second = Process(folder, "--capture", "sockets").up()
    assert second.end() == 0
    _, counters = spooled(folder)
    captured, exported = values(counters, "capture"), values(counters, "export")
    killed = min(epoch for epoch, _ in captured)
    for place in captured:
        assert captured[place]["accounted"] == sum(exported[place].values()), place
        assert exported[place]["open"] == 0, place
    uncovered = sum(exported[place].get("uncovered", 0) for place in captured if place[0] == killed)
    done = sum(exported[place]["exported"] for place in captured if place[0] == killed)
    assert uncovered + done >= 120
