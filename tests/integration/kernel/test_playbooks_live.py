"""Playbooks for real: XDP between network namespaces, datagrams that arrive or do not, and the way back."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loomidi.conductor.cli import guarded, loomidi
from loomidi.contracts import Mode
from loomidi.ionic.act import SqliteReceipts
from loomidi.ionic.playbooks import Report, Runner, SqliteRuns
from loomidi.loom.capture import attach, detach, reopen
from loomidi.services.demo.testbed import ATTACKERS, WEB, Network
from loomidi.services.playing import PlayingSettings, hands_over
from tests.unit.ionic.making import a_finding
from tests.unit.ionic.playbooks.playing import DROP, SLOW, action, book, key, probe, undo

pytestmark = pytest.mark.kernel

SOURCE, PORT, SENT = ATTACKERS[0], 5353, 5
FINDING = a_finding("vertical_scan", entities=(f"host/{SOURCE}", f"host/{WEB}"))


class Wire:
    """An attacker who sends datagrams, a service that hears them, and a shield on the way."""

    def __init__(self, network: Network) -> None:
        self.network = network
        with network.inside("web"):
            self._ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._ear.bind((WEB, PORT))
            self._ear.settimeout(1.0)
        with network.inside("attacker"):
            self._mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._mouth.bind((SOURCE, 0))
        until = time.monotonic() + 20
        while not self.heard(1) and time.monotonic() < until:
            pass  # neighbours have to find each other first

    def heard(self, sent: int = SENT) -> int:
        """How many of these datagrams arrive, told apart from late ones by what is in them."""
        mark = f"{time.monotonic_ns()}".encode()
        for _ in range(sent):
            self._mouth.sendto(mark, (WEB, PORT))
        got = 0
        try:
            while got < sent:
                got += self._ear.recv(64) == mark
        except TimeoutError:
            pass
        return got

    def close(self) -> None:
        self._ear.close()
        self._mouth.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Network() as network:
        with network.inside("node"):
            attach(network.interface).close()
        made = Wire(network)
        yield made
        made.close()
        with network.inside("node"):
            detach(network.interface)


def command(wire: Wire, *words: str) -> int:
    with wire.network.inside("node"):
        return guarded(lambda: loomidi.main(list(words), standalone_mode=False))


def test_the_command_blocks_by_a_playbook_of_the_library_and_gives_back(
    wire: Wire, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finding = tmp_path / "finding.json"
    finding.write_text(json.dumps(FINDING.as_dict()))
    acting = ("--interface", wire.network.interface, "--state", str(tmp_path), "--json")
    assert command(wire, "playbook", "run", "port_scan", "--finding", str(finding), *acting) == 0
    assert wire.heard() == SENT  # a dry run
    capsys.readouterr()
    assert command(wire, "playbook", "run", "port_scan", "--finding", str(finding), "--apply", *acting) == 0
    told = json.loads(capsys.readouterr().out)
    assert [fold["action"] for fold in told["folds"]] == ["rate", "drop"]
    assert wire.heard() == 0
    assert command(wire, "playbook", "undo", told["run"], *acting) == 0
    assert wire.heard() == SENT


def ran(wire: Wire, folder: Path, failing: bool) -> Report:
    """Slow and drop, then a step that holds or fails; its on_failure takes everything back."""
    first, last, back, other = key("action", "a"), key("action", "b"), key("action", "c"), key("end", "2")
    step = action({"type": "ssh", "command": "reboot"} if failing else probe(), on_success=other, on_failure=back)
    steps = {
        first: action(SLOW, DROP, on_success=last, on_failure=back),
        last: step,
        back: action(undo()),
        other: {"type": "end"},
    }
    settings = PlayingSettings(state=folder, mode=Mode.GUARDED, interface=wire.network.interface)
    with wire.network.inside("node"):
        shield, receipts, runs = reopen(wire.network.interface), SqliteReceipts(folder / "r"), SqliteRuns(folder / "p")
        report = Runner(hands_over(shield, receipts, settings), runs).start(book(first, steps), FINDING, dry=False)
    shield.close()
    receipts.close()
    runs.close()
    return report


def test_a_run_that_ends_well_leaves_its_block_until_its_own_end(wire: Wire, tmp_path: Path) -> None:
    assert ran(wire, tmp_path / "well", failing=False).state == "completed"
    assert wire.heard() == 0


def test_the_on_failure_branch_gives_the_traffic_back(wire: Wire, tmp_path: Path) -> None:
    report = ran(wire, tmp_path, failing=True)
    assert [ok for _, ok, _ in report.steps] == [True, True, False, True]
    assert wire.heard() == SENT
