"""The blast radius is counted on the graph, and is the worst case where there is none."""

import dataclasses

import pytest

from loomidi.contracts import Conversation, FoldKind, Match
from loomidi.ionic.decide.radius import MOST_LISTED, measure, networks, overlaps
from tests.unit.ionic.making import SERVICE, SOURCE, a_finding, a_fold
from tests.unit.ionic.object_plans import an_object_plan


@dataclasses.dataclass(frozen=True)
class Answer:
    peers: tuple[str, ...] = (SOURCE,)
    peer_count: int = 1
    flows: int = 3
    packets: int = 40
    octets: int = 25
    total_octets: int = 100
    entities: tuple[str, ...] = (f"host/{SOURCE}", SERVICE, "service/10.0.0.3:443/tcp")
    conversations: tuple[Conversation, ...] = ()
    unlisted: int = 0


class GraphOf:
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def touching(self, match: Match) -> Answer:
        return self._answer


def test_share_and_counts_come_from_the_graph() -> None:
    radius = measure(a_fold(), a_finding(), GraphOf(Answer()), ())
    assert (radius.peers, radius.flows, radius.packets, radius.octets, radius.share_of_octets) == (1, 3, 40, 25, 0.25)


def test_bystanders_are_those_that_no_finding_names() -> None:
    assert measure(a_fold(), a_finding(), GraphOf(Answer()), ()).bystanders == ("service/10.0.0.3:443/tcp",)


def test_without_a_graph_the_worst_is_assumed() -> None:
    radius = measure(a_fold(match=Match(source="203.0.113.0/24")), a_finding(), None, ())
    assert (radius.peers, radius.share_of_octets) == (256, 1.0)


def test_scaling_out_cuts_nothing() -> None:
    fold = dataclasses.replace(a_fold(), kind=FoldKind.SCALE_OUT, action="scale")
    radius = measure(fold, a_finding(), None, networks(["0.0.0.0/0"]))
    assert (radius.peers, radius.share_of_octets, radius.protected) == (0, 0.0, ())


@pytest.mark.parametrize("kind", [FoldKind.CORDON, FoldKind.RESIZE])
def test_what_leaves_running_what_runs_cuts_nothing_but_may_meet_the_protected_set(kind: FoldKind) -> None:
    radius = measure(an_object_plan(kind, target="node/10.0.0.1").fold, a_finding(), None, networks(["10.0.0.1"]))
    assert (radius.peers, radius.share_of_octets, radius.protected) == (0, 0.0, ("host/10.0.0.1",))


@pytest.mark.parametrize("kind", [FoldKind.RESTART, FoldKind.ROLLBACK, FoldKind.EVICT, FoldKind.TERMINATE])
def test_what_ends_pods_is_counted_and_does_not_touch_who_talks_to_them(kind: FoldKind) -> None:
    graph = GraphOf(Answer(peers=("192.0.2.1",)))
    radius = measure(an_object_plan(kind).fold, a_finding(), graph, networks(["192.0.2.1"]))
    assert (radius.peers, radius.share_of_octets, radius.protected) == (1, 0.25, ())


@pytest.mark.parametrize("entry", [SOURCE, "203.0.113.0/24", "::ffff:203.0.113.7", "0.0.0.0/0"])
def test_a_protected_source_is_seen_however_it_is_written(entry: str) -> None:
    assert measure(a_fold(), a_finding(), None, networks([entry])).protected == (f"host/{SOURCE}",)


def test_a_network_that_holds_one_protected_address_is_a_hit() -> None:
    fold = a_fold(match=Match(source="203.0.113.0/24"), target="network/203.0.113.0/24")
    assert measure(fold, a_finding(), None, networks([SOURCE])).protected == ("network/203.0.113.0/24",)


def test_peers_count_as_touched_when_no_source_is_named() -> None:
    fold = a_fold("rate", match=Match(destination="10.0.0.2"), target=SERVICE)
    radius = measure(fold, a_finding(), GraphOf(Answer(peers=("10.9.9.9", "192.0.2.1"))), networks(["192.0.2.1"]))
    assert radius.protected == ("host/192.0.2.1",)


def test_what_cannot_be_read_counts_as_protected() -> None:
    assert overlaps("not an address", ())


def test_an_isolation_lists_each_conversation_up_to_a_bound_and_counts_the_rest() -> None:
    every = tuple(Conversation("10.0.0.9", "10.0.0.2", port, 6) for port in range(1, 201))
    graph, few = GraphOf(Answer(conversations=every, unlisted=100)), GraphOf(Answer(conversations=every[:2]))
    isolation = a_fold(kind=FoldKind.ISOLATE_POD)
    radius = measure(isolation, a_finding(), graph, ())
    assert (radius.conversations, radius.unlisted) == (every[:MOST_LISTED], 300 - MOST_LISTED)
    assert measure(isolation, a_finding(), few, ()).conversations == every[:2]
    assert measure(a_fold(), a_finding(), graph, ()).conversations == ()
