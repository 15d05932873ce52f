"""What a report shows of a graph: what findings name, then the busiest, always within its limits."""

from loomidi.contracts.records import Edge
from loomidi.insight.report.choosing import ENTITIES, LINKS, TALKERS, host, survey
from tests.unit.insight.specimens import FINDING


def edge(source: str, target: str, octets: int = 100) -> Edge:
    return Edge(f"host/{source}", f"service/{target}", "flows", 1, 2, octets)


def test_services_are_told_by_the_host_they_run_on() -> None:
    assert host("service/10.0.0.2:80/tcp") == "host/10.0.0.2"
    assert host("service/[2001:db8::2]:80/tcp") == "host/2001:db8::2"
    assert host("service/shop/cart") == "service/shop/cart"
    assert host("network/10.0.0.0/24") == "network/10.0.0.0/24"


def test_services_of_one_pair_become_one_link() -> None:
    seen = survey([edge("a", f"b:{port}/tcp") for port in range(9)], [])
    (link,) = seen.links
    assert (link.source, link.target, link.flows, link.octets, link.service_count) == ("host/a", "host/b", 9, 900, 9)
    assert link.services == ("0/tcp", "1/tcp", "2/tcp", "3/tcp")


def test_what_findings_name_is_shown_however_quiet_it_is() -> None:
    busy = [edge(f"10.1.{at // 256}.{at % 256}", "10.0.0.1:443/tcp", 10_000) for at in range(2 * LINKS)]
    seen = survey([*busy, edge("192.0.2.7", "198.51.100.1:22/tcp", 1)], [FINDING])
    assert (seen.links[0].source, seen.links[0].target) == ("host/192.0.2.7", "host/198.51.100.1")
    assert [entity.id for entity in seen.entities[:2]] == list(FINDING.entities)


def test_every_part_has_its_limit_and_says_what_is_not_shown() -> None:
    seen = survey([edge(f"10.{at // 65536}.{at // 256 % 256}.{at % 256}", "10.9.9.9:1/tcp") for at in range(5000)], [])
    assert (len(seen.links), len(seen.talkers), len(seen.entities)) == (LINKS, TALKERS, ENTITIES)
    assert seen.hosts_not_shown == (5000 - LINKS, 0, 0)
    assert seen.entity_count == 5001


def test_talkers_count_both_roles_and_who_opened() -> None:
    seen = survey([edge("a", "b:1/tcp", 70), edge("b", "c:1/tcp", 30)], [])
    top = seen.talkers[0]
    assert (top.entity, top.flows, top.packets, top.octets, top.opened, top.peers) == ("host/b", 2, 4, 100, 1, 2)


def test_a_host_that_talks_to_itself_is_counted_once() -> None:
    (only,) = survey([edge("a", "a:1/tcp", 70)], []).talkers
    assert (only.octets, only.peers) == (70, 1)


def test_the_order_of_equal_edges_makes_no_difference() -> None:
    edges = [edge(f"h{at}", f"s{at % 7}:80/tcp") for at in range(900)]
    assert survey(edges, []).links == survey(edges[::-1], []).links
