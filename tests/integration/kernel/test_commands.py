"""`loomidi shield` and `loomidi balance` used the way xdp-filter is: each command a process of its own."""

import json
import subprocess
import sys

import pytest

from tests.integration.kernel.conftest import frame
from tests.integration.kernel.test_live import NAME, send, veth

__all__ = ["veth"]

pytestmark = pytest.mark.kernel


def loomidi(*words: str, code: int = 0) -> str:
    done = subprocess.run((sys.executable, "-m", "loomidi", *words), check=False, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def attached(veth: str) -> str:
    loomidi("shield", "attach", veth)
    return veth


def test_a_denied_source_is_dropped_and_listed_with_its_hits(attached: str) -> None:
    loomidi("shield", "deny", attached, "--source", "10.0.0.1", "--ttl", "5m")
    send([frame()] * 3 + [frame(source="10.0.0.9")])
    (entry,) = json.loads(loomidi("shield", "list", attached, "--json"))["entries"]
    assert (entry["match"]["source"], entry["action"], entry["dropped"]) == ("10.0.0.1", "drop", 3)
    stats = json.loads(loomidi("shield", "stats", attached, "--json"))
    assert (stats["drop_host"]["packets"], stats["passed"]["packets"]) == (3, 1)
    assert json.loads(loomidi("balance", attached, "--json"))[0]["adds_up"]


def test_a_network_and_a_conversation_can_be_denied_and_taken_back(attached: str) -> None:
    conversation = "tcp:10.0.0.1:40000>10.0.0.2:80"
    loomidi("shield", "deny", attached, "--source", "10.7.0.0/16")
    loomidi("shield", "deny", attached, "--tuple", conversation, "--rate", "10", "--burst", "5")
    assert len(json.loads(loomidi("shield", "list", attached, "--json"))["entries"]) == 2
    loomidi("shield", "allow", attached, "--tuple", conversation, "--remove")
    loomidi("shield", "allow", attached, "--source", "10.7.0.0/16", "--remove")
    assert json.loads(loomidi("shield", "list", attached, "--json"))["entries"] == []


def test_a_protected_source_passes_whatever_is_denied(attached: str) -> None:
    loomidi("shield", "deny", attached, "--source", "10.0.0.0/24")
    loomidi("shield", "allow", attached, "--source", "10.0.0.1")
    send([frame(), frame(source="10.0.0.9")])
    stats = json.loads(loomidi("shield", "stats", attached, "--json"))
    assert (stats["drop_cidr"]["packets"], stats["passed"]["packets"]) == (1, 1)


def test_disarm_turns_all_off_until_arm(attached: str) -> None:
    loomidi("shield", "deny", attached, "--source", "10.0.0.1")
    loomidi("shield", "disarm", attached)
    send([frame()])
    assert json.loads(loomidi("shield", "stats", attached, "--json"))["drop_host"]["packets"] == 0
    assert "disarmed" in loomidi("shield", "deny", attached, "--source", "10.0.0.1", code=1)
    loomidi("shield", "arm", attached)
    loomidi("shield", "deny", attached, "--source", "10.0.0.1")


def test_detach_leaves_nothing_and_a_second_one_says_so(attached: str) -> None:
    loomidi("shield", "detach", attached)
    assert "no shield on" in loomidi("shield", "detach", attached, code=2)
    assert "no shield on" in loomidi("shield", "stats", attached, code=2)


def test_a_second_attach_and_a_nonsense_argument_are_one_line(attached: str) -> None:
    for words in (("attach", NAME), ("deny", NAME, "--source", "10.0.0.999"), ("deny", NAME), ("allow", NAME)):
        said = loomidi("shield", *words, code=2)
        assert said.startswith("loomidi: "), said
        assert len(said.splitlines()) == 1
