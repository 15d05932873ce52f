"""Whom a pod of this node speaks with, listened to on its own links for as long as somebody asks.

Called by `cutting_api`, in its one thread. In: a pod with its links, whom to listen for, whether its links are cut.
Out: packets by the address at the other end, each direction with the time of its last one. Listening begins with the
first question and ends half a minute after the last. What a pod sends is met before a cut on its link drops it, so of a
pod that is cut only what is delivered to it is listened to: the cut lets nothing out but answers to the node.
"""

import dataclasses
import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from loomidi.contracts.errors import Retryable, UsageError
from loomidi.kit.clock import Clock, SystemClock
from loomidi.loom.capture.ears import Ear, Network, Packets
from loomidi.loom.capture.podlinks import PodLink

KEPT_S = 30.0  # that an ear stays open after the last question
MOST_EARS, MOST_PEERS, MOST_NETWORKS = 32, 256, 16
OTHERS = "others"  # stands for the peers beyond the most
Question = tuple[str, tuple[str, ...]]  # a pod's UID, whom to listen for
Opened = Callable[[Sequence[str], Sequence[Network], bool], Ear]


@dataclasses.dataclass(slots=True)
class _Listened:
    """To one pod for one question."""

    ear: Ear
    how: tuple[tuple[int, ...], bool]  # its links, whether they are cut
    since_ns: int
    asked_ns: int
    lost_ns: int = 0
    peers: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)

    def turn(self, now_ns: int) -> None:
        """Take in what came since the last time."""
        heard: Packets = self.ear.heard()
        for name, side in (("to", heard.out), ("from", heard.come)):
            for peer, packets in side.items():
                self._note(peer, name, packets, now_ns)
        if heard.lost:
            self.lost_ns = now_ns

    def _note(self, peer: str, name: str, packets: int, now_ns: int) -> None:
        known = peer if peer in self.peers or len(self.peers) < MOST_PEERS else OTHERS
        counts = self.peers.setdefault(known, {"to": 0, "to_ns": 0, "from": 0, "from_ns": 0})
        counts[name] += packets
        counts[f"{name}_ns"] = now_ns


class Listening:
    """For one thread."""

    def __init__(self, opened: Opened | None = None, clock: Clock | None = None) -> None:
        """`opened`: an ear on links of these names, for these networks, for what is delivered only."""
        self._opened, self._clock = opened or _ear, clock or SystemClock()
        self._open: dict[Question, _Listened] = {}

    def told(self, pod: PodLink, peers: Sequence[str], own: Iterable[str], *, cut: bool) -> dict[str, Any]:
        """What was heard since it listens. `own`: addresses of the node. Raises UsageError for what is no network,
        Retryable when too much is listened to, and what keeps it from listening."""
        question, how, now_ns = (pod.uid, tuple(sorted(peers))), (pod.links, cut), self._clock.now_ns()
        known = self._open.get(question)
        if known is not None and known.how != how:  # another sandbox, or a cut that came or went
            self._close(question)
            known = None
        if known is None:
            known = self._open[question] = self._begun(question, how, now_ns)
        known.asked_ns = now_ns
        known.turn(now_ns)
        ours = {peer for peer in known.peers if peer in set(own)}
        return {
            "pod": pod.uid,
            "cut": cut,
            "since_ns": known.since_ns,
            "now_ns": now_ns,
            "lost_ns": known.lost_ns,
            "peers": {peer: counts | {"own": peer in ours} for peer, counts in known.peers.items()},
        }

    def turn(self) -> None:
        """Take in what came; end what nobody asks for any more."""
        now_ns = self._clock.now_ns()
        for question, one in list(self._open.items()):
            if now_ns - one.asked_ns > KEPT_S * 1e9:
                self._close(question)
            else:
                one.turn(now_ns)

    def close(self) -> None:
        """End all."""
        for question in list(self._open):
            self._close(question)

    def _begun(self, question: Question, how: tuple[tuple[int, ...], bool], now_ns: int) -> _Listened:
        if len(self._open) >= MOST_EARS:
            raise Retryable(f"{MOST_EARS} questions are listened for already; ask again in {KEPT_S:g} s")
        networks = networks_of(question[1])
        names = [socket.if_indextoname(link) for link in how[0]]
        return _Listened(self._opened(names, networks, how[1]), how, now_ns, now_ns)

    def _close(self, question: Question) -> None:
        self._open.pop(question).ear.close()


def networks_of(texts: Sequence[str]) -> list[Network]:
    """Raises UsageError for what is none, or too many."""
    if len(texts) > MOST_NETWORKS:
        raise UsageError(f"{len(texts)} peers at once: ask for {MOST_NETWORKS} at most")
    try:
        return [ipaddress.ip_network(text, strict=False) for text in texts]
    except ValueError as error:
        raise UsageError(f"{error}: give addresses or CIDRs") from error


def _ear(links: Sequence[str], networks: Sequence[Network], only_out: bool) -> Ear:
    return Ear(links, networks, only_out=only_out)
