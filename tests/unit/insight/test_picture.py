"""The graph picture: few nodes, marked, placed the same way every time."""

import dataclasses

from loomidi.insight.report import Link
from loomidi.insight.report.picture import NODES, picture
from tests.unit.insight.specimens import FINDING


def link(source: str, target: str, octets: int = 1000) -> Link:
    return Link(f"host/{source}", f"host/{target}", 1, 2, octets, 1, ("80/tcp",))


def test_nothing_is_an_empty_picture() -> None:
    drawn = picture([], [])
    assert (drawn.nodes, drawn.arcs) == ((), ())
    assert drawn.height > 0


def test_initiators_stand_left_responders_right_and_both_in_between() -> None:
    nodes = {node.label: node for node in picture([link("a", "b"), link("b", "c")], []).nodes}
    assert nodes["a"].x < nodes["b"].x < nodes["c"].x


def test_many_hosts_are_collapsed_and_counted() -> None:
    drawn = picture([link(f"h{at}", "victim", at + 1) for at in range(200)], [], (5000, 0, 0))
    heap = next(node for node in drawn.nodes if node.role == "heap")
    assert len(drawn.nodes) <= NODES + 3
    assert heap.label == f"{200 - (len(drawn.nodes) - 2) + 5000:,} other hosts"
    assert sum(arc.flows for arc in drawn.arcs) == 200


def test_those_that_a_finding_names_are_shown_and_marked_however_quiet() -> None:
    links = [*(link(f"h{at}", "busy", 10**9) for at in range(200)), link("192.0.2.7", "198.51.100.1", 1)]
    nodes = {node.label: node.role for node in picture(links, [FINDING]).nodes}
    assert (nodes["192.0.2.7"], nodes["198.51.100.1"], nodes["busy"]) == ("first", "involved", "other")


def test_only_the_traffic_between_hosts_of_a_finding_is_marked_as_such() -> None:
    links = [link("192.0.2.7", "198.51.100.1"), link("10.0.0.1", "198.51.100.1"), link("10.0.0.1", "10.0.0.2")]
    flood = dataclasses.replace(FINDING, entities=("service/10.0.0.2:80/tcp",))
    roles = {(arc.source.label, arc.target.label): arc.role for arc in picture(links, [FINDING, flood]).arcs}
    assert roles["192.0.2.7", "198.51.100.1"] == "first"
    assert roles["10.0.0.1", "10.0.0.2"] == "involved"
    assert roles["10.0.0.1", "198.51.100.1"] == "other"


def test_the_same_links_in_another_order_give_the_same_picture() -> None:
    links = [link(f"h{at}", f"s{at % 5}", 100 + at) for at in range(90)]
    first, second = picture(links, [FINDING]), picture(links[::-1], [FINDING])
    places = [{node.entity: (node.x, node.y) for node in drawn.nodes} for drawn in (first, second)]
    assert places[0] == places[1]


def test_no_two_nodes_lie_on_each_other() -> None:
    drawn = picture([link(f"h{at}", f"s{at % 30}") for at in range(60)], [])
    places = [(round(node.x), round(node.y)) for node in drawn.nodes]
    assert len(set(places)) == len(places)
    assert all(0 < y < drawn.height for _, y in places)
