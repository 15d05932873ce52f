"""Sources denied on the uplinks of a node, beside a shield that one of them has of its own; all of it given back."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from loomidi.conductor.verbs.cuts import command
from loomidi.contracts import Match, Step
from loomidi.contracts.ports import Deny
from loomidi.ionic.act.receipts import FILE_NAME, SqliteReceipts
from loomidi.loom.capture import open_shield, spaces
from loomidi.loom.capture.xdp.cutting import LinkCuts
from loomidi.loom.capture.xdp.uplinks import UplinkShield
from loomidi.services.agents import uncutting
from tests.integration.kernel.test_cuts import GATE, cut, index, says, silent
from tests.integration.kernel.test_live import SMALL
from tests.integration.watch.rooms import NODE, POD_A, POD_B, A, B, ip, rooms

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def built() -> Iterator[None]:
    with rooms():
        ip("-n", NODE, "addr", "add", f"{GATE}/24", "dev", "br0")
        yield


@pytest.fixture
def node(built: None) -> Iterator[None]:
    with spaces.inside(NODE):
        yield
        uncutting.clear(Path("/nowhere"))


@pytest.mark.parametrize("source", [A, "10.244.1.4/31"])
def test_a_source_is_dropped_on_every_uplink_and_no_other_is(node: None, source: str) -> None:
    assert says(POD_A, NODE, GATE)
    shield = UplinkShield([index("vetha"), index("vethb")])
    shield.deny(Deny(Match(source), "drop", 60.0, rule_id=5))
    assert silent(POD_A, NODE, GATE)
    assert says(POD_B, NODE, GATE)
    found = shield.entry(Match(source))
    assert found is not None
    assert found.dropped > 0
    shield.remove(Match(source))
    assert says(POD_A, NODE, GATE)
    shield.clear()


def test_a_protected_source_passes_whatever_is_denied(node: None) -> None:
    shield = UplinkShield([index("vetha")])
    shield.allow(A)
    shield.deny(Deny(Match("10.0.0.0/8"), "drop", 60.0))
    assert says(POD_A, NODE, GATE)
    shield.clear()


def test_it_lies_beside_a_shield_of_the_link_s_own(node: None) -> None:
    with open_shield("vetha", "tc", SMALL):
        shield = UplinkShield([index("vetha")])
        shield.deny(Deny(Match(A), "drop", 60.0))
        assert silent(POD_A, NODE, GATE)
        shield.clear()
    shield = UplinkShield([index("vetha")])
    open_shield("vetha", "native", SMALL).close()
    shield.clear()


def test_entries_outlive_the_process_and_end_on_time(node: None) -> None:
    shield = UplinkShield([index("vetha")])
    shield.deny(Deny(Match(A), "drop", 0.6))
    shield.close()
    assert silent(POD_A, NODE, GATE)
    again = UplinkShield([index("vetha")])
    found = again.entry(Match(A))
    assert found is not None
    assert found.dropped > 0
    time.sleep(0.5)
    assert says(POD_A, NODE, GATE)
    again.clear()


def test_everything_is_shown_and_given_back_by_hand(node: None, tmp_path: Path) -> None:
    receipts = SqliteReceipts(tmp_path / "cuts" / FILE_NAME)
    receipts.append("plan-1", Step.APPLIED, "agent:n1", {}, {})
    cuts, shield = LinkCuts(), UplinkShield([index("vetha")])
    cuts.put(cut("vethb"))
    shield.deny(Deny(Match(A), "drop", 60.0))
    cuts.close(), shield.close()
    shown = json.loads(CliRunner().invoke(command, ["list", "--json"]).output)
    assert [one["cut"]["plan"] for one in shown["cuts"]] == ["plan-1"]
    assert [one["deny"]["match"]["source"] for one in shown["denies"]] == [A]
    assert len(CliRunner().invoke(command, ["list"]).output.splitlines()) == 2
    told = CliRunner().invoke(command, ["clear", "--state", str(tmp_path)]).output
    assert told == "given back: 1 links of pods, 1 sources\n"
    assert says(POD_A, POD_B, B)
    assert not list(Path("/sys/fs/bpf").glob("loomidi-*"))
    assert [one.step for one in receipts.of("plan-1")] == [Step.APPLIED, Step.UNDONE]
    receipts.close()
    assert CliRunner().invoke(command, ["list"]).output == "nothing is cut here\n"
