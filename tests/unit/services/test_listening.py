"""Listening to a pod for as long as somebody asks: what is heard, what is lost, what ends."""

import dataclasses
import ipaddress
from collections.abc import Sequence
from typing import Any

import pytest

from loomidi.contracts.errors import Retryable, UsageError
from loomidi.kit.clock import ManualClock
from loomidi.loom.capture.ears import Packets
from loomidi.loom.capture.podlinks import PodLink
from loomidi.services.agents import listening
from loomidi.services.agents.listening import KEPT_S, MOST_EARS, MOST_PEERS, OTHERS, Listening

NOW = 1_800_000_000_000_000_000
S = 10**9
POD = PodLink("uid-cart", "shop", "cart-0", (1,))  # loopback's index is one everywhere


class FakeEar:
    """Tells once what it was given."""

    def __init__(self, networks: Sequence[Any], only_out: bool) -> None:
        self.networks, self.only_out, self.closed = list(networks), only_out, False
        self.next = Packets({}, {}, 0)

    def heard(self) -> Packets:
        told, self.next = self.next, Packets({}, {}, 0)
        return told

    def close(self) -> None:
        self.closed = True


class Room:
    """A node with one ear a question."""

    def __init__(self) -> None:
        self.clock, self.ears = ManualClock(NOW), list[FakeEar]()
        self.listening = Listening(self._opened, self.clock)  # type: ignore[arg-type]

    def _opened(self, _: Sequence[str], networks: Sequence[Any], only_out: bool) -> FakeEar:
        self.ears.append(FakeEar(networks, only_out))
        return self.ears[-1]

    def ask(self, *peers: str, pod: PodLink = POD, cut: bool = False) -> dict[str, Any]:
        return self.listening.told(pod, peers, ["10.0.0.1"], cut=cut)


def test_packets_are_told_by_peer_and_direction_with_the_time_of_the_last() -> None:
    room = Room()
    room.ask()
    room.ears[0].next = Packets({"1.2.3.4": 2, "10.0.0.1": 1}, {"1.2.3.4": 3}, 0)
    room.clock.move(S)
    told = room.ask()
    seen = {"to": 2, "to_ns": NOW + S, "from": 3, "from_ns": NOW + S, "own": False}
    assert (told["since_ns"], told["peers"]["1.2.3.4"]) == (NOW, seen)
    assert told["peers"]["10.0.0.1"]["own"] is True


def test_what_is_lost_is_told_with_its_time() -> None:
    room = Room()
    assert room.ask()["lost_ns"] == 0
    room.ears[0].next = Packets({}, {}, 7)
    room.clock.move(S)
    room.listening.turn()
    assert room.ask()["lost_ns"] == NOW + S


def test_a_cut_that_came_or_another_sandbox_begins_anew() -> None:
    room = Room()
    room.ask()
    room.clock.move(S)
    assert room.ask(cut=True)["since_ns"] == NOW + S
    room.ask(pod=dataclasses.replace(POD, links=(1, 1)), cut=True)
    assert [(ear.only_out, ear.closed) for ear in room.ears] == [(False, True), (True, True), (True, False)]


def test_it_ends_when_nobody_asks_any_more() -> None:
    room = Room()
    room.ask("192.0.2.0/24")
    assert room.ears[0].networks == [ipaddress.ip_network("192.0.2.0/24")]
    room.clock.move(round((KEPT_S + 1) * S))
    room.listening.turn()
    assert room.ears[0].closed


def test_questions_peers_and_networks_are_bounded() -> None:
    room = Room()
    room.ask()
    room.ears[0].next = Packets({f"10.9.{number // 250}.{number % 250}": 1 for number in range(MOST_PEERS + 5)}, {}, 0)
    peers = room.ask()["peers"]
    assert (len(peers), peers[OTHERS]["to"]) == (MOST_PEERS + 1, 5)
    for number in range(MOST_EARS - 1):
        room.ask(f"192.0.2.{number}")
    with pytest.raises(Retryable, match="ask again"):
        room.ask("198.51.100.1")
    for wrong in (["cart-0"], ["10.0.0.1"] * 17):
        with pytest.raises(UsageError):
            listening.networks_of(wrong)
