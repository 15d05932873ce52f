"""ARP and neighbour discovery on a real link: heard beside the shield, asked back, told by the lane, never acted on."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts.errors import Refused
from loomidi.contracts.neighbours import ANNOUNCE, ANSWER, ASK, NeighbourWord
from loomidi.loom.capture.neighbours import NeighbourEar, gateways
from loomidi.loom.capture.synthetic import advertisement, arp, icmp, link_address
from loomidi.origami.online import load_rules
from loomidi.services.demo.stage import Defender
from loomidi.services.demo.testbed import ATTACKERS, CLIENTS, CLIENTS6, GATEWAY, GATEWAY6, Network

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

LIAR, HOLDER, NODE = 0x66, "02:00:00:00:00:02", 0x01  # link addresses of the testbed
VICTIM, VICTIM6 = CLIENTS[-1], CLIENTS6[-1]
PATIENCE_S = 10.0
ASKED_S = load_rules()["neighbour_spoofing"].thresholds["asked_s"]


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture
def ear(network: Network) -> Iterator[NeighbourEar]:
    with network.inside("node"):
        made = NeighbourEar(network.interface)
    yield made
    made.close()


def send(network: Network, *frames: bytes, room: str = "attacker") -> None:
    with network.inside(room), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
        link.bind(("eth0", 0))
        for frame in frames:
            link.send(frame)


def speak(network: Network, address: str) -> None:
    """The holder of an address sends something that the node answers, so that it has to know where it is."""
    network.forget(address)
    family, gateway = (socket.AF_INET6, GATEWAY6) if ":" in address else (socket.AF_INET, GATEWAY)
    with network.inside("client"), socket.socket(family, socket.SOCK_DGRAM) as speaking:
        speaking.bind((address, 0))
        speaking.sendto(b"here", (gateway, 9))


def heard(ear: NeighbourEar, network: Network, *wanted: tuple[str, str]) -> list[NeighbourWord]:
    """All words until each of these kinds about these addresses was among them, or patience ends."""
    words: list[NeighbourWord] = []
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with network.inside("node"):
            words += ear.heard(1000)
        if set(wanted) <= {(word.kind, word.address) for word in words}:
            return words
        time.sleep(0.01)
    raise AssertionError(f"{wanted} not among {words}")


@pytest.mark.parametrize("address", [VICTIM, VICTIM6])
def test_our_own_question_is_heard_and_its_answer(network: Network, ear: NeighbourEar, address: str) -> None:
    speak(network, address)
    words = heard(ear, network, (ANSWER, address))
    assert [word.own for word in words if word.kind == ASK and word.about == address] == [True]
    (answer,) = (word for word in words if (word.kind, word.address) == (ANSWER, address))
    assert (answer.link, answer.own, answer.aside) == (HOLDER, False, False)


@pytest.mark.parametrize("address", [VICTIM, VICTIM6])
def test_a_holder_that_is_asked_alone_answers_and_nobody_learns_anything_by_it(
    network: Network, ear: NeighbourEar, address: str
) -> None:
    speak(network, address)
    heard(ear, network, (ANSWER, address))
    with network.inside("node"):
        assert ear.ask(address, HOLDER)
    words = heard(ear, network, (ANSWER, address))
    assert [word.own for word in words if word.kind == ASK and word.about == address] == [True]
    with network.inside("node"):
        assert ear.ask(address, "02:00:00:00:00:99")  # who is not there does not answer
    send(network, arp(LIAR, ATTACKERS[3]))
    late = heard(ear, network, (ANNOUNCE, ATTACKERS[3]))
    assert [word for word in late if word.address == address] == []


def test_the_filter_keeps_discovery_behind_options_and_nothing_that_came_by_a_router(
    network: Network, ear: NeighbourEar
) -> None:
    plain = advertisement(LIAR, "2001:db8:1::a")
    options = bytearray(advertisement(LIAR, "2001:db8:1::b"))
    options[20], options[18:20] = 60, (40).to_bytes(2, "big")
    behind = bytes(options[:54]) + bytes([58, 0, 1, 4, 0, 0, 0, 0]) + bytes(options[54:])
    routed = bytearray(advertisement(LIAR, "2001:db8:1::c"))
    routed[21] = 64
    other = bytearray(icmp(ATTACKERS[0], GATEWAY, 8))
    other[:12] = link_address(NODE) + link_address(LIAR)
    send(network, bytes(other), bytes(routed), plain, behind, arp(LIAR, ATTACKERS[4]))
    words = heard(ear, network, (ANNOUNCE, ATTACKERS[4]))
    told = [word.address for word in words if word.address.startswith("2001:db8:1::")]
    assert told == ["2001:db8:1::a", "2001:db8:1::b"]
    assert ear.odd == 0


def test_a_storm_fills_the_buffer_and_what_is_lost_is_counted(network: Network, ear: NeighbourEar) -> None:
    storm = [arp(LIAR, f"203.0.113.{100 + index % 100}") for index in range(20_000)]
    send(network, *storm)
    with network.inside("node"):
        words = [word for word in ear.heard(30_000) if word.address.startswith("203.0.113.")]
    assert ear.lost > 0
    assert len(words) + ear.lost >= len(storm)


def test_a_link_that_is_not_there_is_refused(network: Network) -> None:
    with network.inside("node"), pytest.raises(Refused, match="nowhere"):
        NeighbourEar("nowhere")


def test_gateways_are_those_of_the_routes_over_that_link(network: Network) -> None:
    with network.inside("client"):
        assert gateways("eth0") == {GATEWAY, GATEWAY6}
        assert gateways("lo") == frozenset()
    with network.inside("node"):
        assert gateways(network.interface) == {ATTACKERS[0]}


class Told:
    """What the lane has told of neighbours."""

    def __init__(self, network: Network, folder: Path) -> None:
        config = {"receipts": str(folder / "receipts.sqlite"), "mode": "autonomous"}
        self.defender = Defender(network, config)

    def of(self, address: str) -> dict[str, Any]:
        found = self.defender.wait(lambda one: one["target"] == f"host/{address}", PATIENCE_S)
        assert found, (self.defender.decisions, self.defender.ask({"do": "balance"})["lane"])
        return found


@pytest.fixture(scope="module")
def told(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    made = Told(network, tmp_path_factory.mktemp("told"))
    yield made
    made.defender.end()


def known(network: Network, told: Told, address: str) -> None:
    """The lane has heard the holder."""
    before = told.defender.ask({"do": "balance"})["lane"]["neighbour_words"]
    speak(network, address)
    until = time.monotonic() + PATIENCE_S
    while told.defender.ask({"do": "balance"})["lane"]["neighbour_words"] < before + 2:
        assert time.monotonic() < until, told.defender.ask({"do": "balance"})["lane"]
        time.sleep(0.05)
    time.sleep(ASKED_S + 0.2)  # an answer beside the holder's own could be that of its second card


@pytest.mark.parametrize(
    ("address", "lie", "technique"),
    [
        (VICTIM, arp(LIAR, VICTIM, NODE, GATEWAY), "T1557.002"),
        (VICTIM6, advertisement(LIAR, VICTIM6), "T1557"),
    ],
    ids=["arp", "discovery"],
)
def test_one_lie_about_a_holder_that_is_there_is_told_and_nobody_is_acted_on(
    network: Network, told: Told, address: str, lie: bytes, technique: str
) -> None:
    known(network, told, address)
    send(network, lie)
    decision = told.of(address)
    assert (decision["decision"], decision["pattern"]) == ("noted", "neighbour_spoofing")
    assert decision["finding"]["techniques"] == [technique]
    assert decision["finding"]["severity"] == "high"
    evidence = {fact["name"]: fact["value"] for fact in decision["finding"]["evidence"]}
    assert (evidence["claimed_by"], evidence["held_by"]) == ("02:00:00:00:00:66", HOLDER)
    assert told.defender.ask({"do": "entries"})["entries"] == []


def test_an_address_that_moves_for_good_is_no_lie(network: Network, told: Told) -> None:
    """The holder gives its address up, as at a fail-over; whoever has it now announces it again and again."""
    from pyroute2 import IPRoute

    moving = CLIENTS[2]
    known(network, told, moving)
    with network.inside("client"), IPRoute() as link:
        link.addr("del", index=link.link_lookup(ifname="eth0")[0], address=moving, prefixlen=24)
    for _ in range(5):
        send(network, arp(LIAR, moving))
        time.sleep(0.3)
    known(network, told, CLIENTS[3])  # heard after all of it
    assert [one for one in told.defender.decisions if one["target"] == f"host/{moving}"] == []
    assert told.defender.ask({"do": "balance"})["lane"]["neighbours_asked"] >= 1
