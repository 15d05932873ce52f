"""The entity graph: whom a match meets, and that it stays small."""

import numpy as np
import pytest

from loomidi.contracts import Conversation, Match
from loomidi.garden.graph import EntityGraph, GraphSettings, service_id
from loomidi.garden.graph.columns import hashes, networks, texts
from tests.unit.origami.making import batch, flow

WEB = {"protocol": 6, "port": 80, "packets": 5, "octets": 500, "back_packets": 4, "back_octets": 4000}


def graph(*flows, **settings):
    made = EntityGraph(GraphSettings(**settings))
    made.absorb(batch(flows))
    return made


def web(index, **values):
    return flow(index, 1.0, **WEB | {"source": f"10.1.0.{index}", "source_port": 30000 + index} | values)


def test_flows_of_one_pair_become_one_edge():
    (edge,) = graph(web(1), web(1, source_port=9999)).edges()
    assert (edge.source, edge.target) == ("host/10.1.0.1", "service/10.0.0.2:80/tcp")
    assert (edge.flows, edge.packets, edge.octets) == (2, 18, 9000)
    assert edge.first_ns < edge.last_ns


def test_hosts_and_services_are_entities_with_their_totals():
    made = graph(web(1), web(2))
    assert sorted(entity.id for entity in made.entities()) == [
        "host/10.1.0.1",
        "host/10.1.0.2",
        "service/10.0.0.2:80/tcp",
    ]
    assert dict(made.find("service/10.0.0.2:80/tcp").attributes)["flows"] == 2
    assert made.find("host/192.0.2.1") is None


@pytest.mark.parametrize(
    ("match", "peers"),
    [
        (Match(source="10.1.0.1"), 1),
        (Match(source="10.1.0.0/24"), 3),
        (Match(source="10.2.0.0/16"), 0),
        (Match(destination="10.0.0.2", destination_port=80, protocol=6), 3),
        (Match(destination="10.0.0.2", destination_port=443, protocol=6), 0),
        (Match(protocol=17), 0),
    ],
)
def test_a_match_meets_these_many_peers(match, peers):
    touched = graph(web(1), web(2), web(3)).touching(match)
    assert touched.peer_count == len(touched.peers) == peers
    assert touched.flows == peers
    assert touched.octets == peers * 4500
    assert touched.total_octets == 3 * 4500


def test_cutting_a_server_off_meets_the_clients_that_it_answers():
    touched = graph(web(1), web(2)).touching(Match(source="10.0.0.2"))
    assert touched.flows == 2
    assert {"host/10.1.0.1", "host/10.1.0.2"} <= set(touched.entities)
    assert set(touched.conversations) == {
        Conversation("10.1.0.1", "10.0.0.2", 80, 6),
        Conversation("10.1.0.2", "10.0.0.2", 80, 6),
    }
    assert touched.unlisted == 0


def test_a_reflector_port_is_remembered_although_the_client_port_is_not():
    answers = {"protocol": 17, "source_port": 123, "packets": 9, "octets": 4000}
    rows = [flow(i, source=f"192.0.2.{i}", port=40000 + i, **answers) for i in range(20)]
    made = graph(*rows, web(1))
    touched = made.touching(Match(destination="10.0.0.2", source_port=123, protocol=17))
    assert touched.peer_count == 20
    assert touched.octets == 80_000
    assert all(edge.target == "host/10.0.0.2" for edge in made.edges() if edge.source.endswith("/udp"))


def test_an_empty_graph_meets_nobody():
    touched = EntityGraph().touching(Match(source="10.0.0.1"))
    assert (touched.peer_count, touched.octets, touched.total_octets) == (0, 0, 0)


def test_beyond_its_bounds_quiet_hosts_become_networks_and_are_counted():
    made = EntityGraph(GraphSettings(hosts=100, edges=200, pending=50))
    made.absorb(batch([web(1, octets=10**9)]))
    for part in range(30):
        rows = [web(1, source=f"{11 + i}.{part}.{i}.7", octets=40, back_packets=0, back_octets=0) for i in range(100)]
        made.absorb(batch(rows))
    assert len(made.entities()) <= 110
    assert made.collapsed_hosts > 1000
    assert made.find("host/10.1.0.1") is not None
    touched = made.touching(Match(destination="10.0.0.2", destination_port=80))
    assert touched.flows == 3001
    assert touched.octets == touched.total_octets


def test_a_scan_of_all_ports_loses_ports_and_not_hosts():
    made = EntityGraph(GraphSettings(hosts=100, edges=200, pending=50))
    for part in range(20):
        made.absorb(batch([web(1, port=1 + part * 100 + i, octets=40) for i in range(100)]))
    assert len(made.edges()) <= 200
    assert made.collapsed_hosts == 0
    assert made.touching(Match(source="10.1.0.1")).flows == 2000


def test_a_full_mesh_beyond_the_bounds_still_ends():
    made = EntityGraph(GraphSettings(hosts=64, edges=32, pending=10))
    rows = [web(1, source=f"10.1.{a}.1", destination=f"10.2.{b}.1") for a in range(20) for b in range(20)]
    made.absorb(batch(rows))
    assert len(made.edges()) <= 32
    assert made.touching(Match(destination="10.2.0.0/16")).flows == 400


def test_the_order_of_batches_makes_no_difference():
    rows = [web(index % 7, octets=100 + index) for index in range(50)]
    there, back = EntityGraph(), EntityGraph()
    for start in range(0, 50, 10):
        there.absorb(batch(rows[start : start + 10]))
        back.absorb(batch(rows[40 - start : 50 - start]))
    assert there.edges() == back.edges()


def test_ipv6_services_have_brackets():
    assert service_id("2001:db8::1", 443, 6) == "service/[2001:db8::1]:443/tcp"
    assert service_id("10.0.0.1", 0, 6) == service_id("10.0.0.1", 8, 1) == "host/10.0.0.1"


@pytest.mark.parametrize(
    ("address", "level", "network"),
    [
        (b"192.0.2.77", 0, b"192.0.2.0/24"),
        (b"192.0.2.77", 1, b"192.0.0.0/16"),
        (b"192.0.2.0/24", 2, b"192.0.0.0/8"),
        (b"9.9.9.9", 3, b"0.0.0.0/0"),
        (b"2001:db8::1", 0, b"2001:db8::/64"),
        (b"2001:db8:1:2:3:4:5:6", 0, b"2001:db8:1:2::/64"),
    ],
)
def test_addresses_fold_into_their_networks(address, level, network):
    assert networks(np.array([address], "S40"), level).tolist() == [network]


def test_text_columns_hash_alike_whatever_their_width():
    short = batch([flow(source="10.0.0.1")]).column("source_ip_address")
    long = batch([flow(source="10.0.0.1"), flow(source="2001:db8:1111:2222:3333:4444:5555:6666")])
    assert hashes(texts(short))[0] == hashes(texts(long.column("source_ip_address")))[0]
    assert texts(long.column("source_ip_address")).tolist()[1] == b"2001:db8:1111:2222:3333:4444:5555:6666"
    assert texts(long.column("source_ip_address")[1:]).tolist() == [b"2001:db8:1111:2222:3333:4444:5555:6666"]
