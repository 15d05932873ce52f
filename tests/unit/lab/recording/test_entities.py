"""Who owned an address when: addresses are used again, pods end, ranges stand for what nobody holds."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from loomidi.garden.graph.naming import AddressBook
from loomidi_lab.recording.entities import Entities, Owned
from loomidi_lab.recording.lookup import LATE, NOBODY, OWNER, RANGE, UNASSIGNED, Lookup
from tests.unit.lab.recording.making import BEGIN, S, change, pod

ADDRESS = "10.0.0.5"


def who(entities: Entities, at_ns: int, address: str = ADDRESS) -> tuple[str, str] | None:
    answer = Lookup(entities.table()).at(address, at_ns)
    return None if answer is None else (answer.row["name"], answer.how)


def test_an_address_that_is_used_again_belongs_to_each_in_its_time() -> None:
    entities = Entities()
    entities.changed(pod("old", "a", ADDRESS), BEGIN)
    entities.changed(pod("old", "a", ADDRESS, "DELETED"), BEGIN + 100 * S)
    started = {"startTime": "2027-01-15T08:00:00Z"}  # long before its address was free
    entities.changed(pod("new", "b", ADDRESS, more_status=started), BEGIN + 103 * S)
    assert who(entities, BEGIN + 50 * S) == ("old", "owner")
    assert who(entities, BEGIN + 102 * S) == ("new", "owner")
    assert who(entities, BEGIN - 1) is None


def test_a_pod_that_is_over_lets_go_although_its_object_stays() -> None:
    entities = Entities()
    entities.changed(pod("job", "a", ADDRESS), BEGIN)
    entities.changed(pod("job", "a", ADDRESS, "MODIFIED", phase="Succeeded"), BEGIN + 10 * S)
    assert who(entities, BEGIN + 5 * S) == ("job", "owner")
    assert who(entities, BEGIN + 15 * S) == ("job", "late")
    assert who(entities, BEGIN + 90 * S) is None


def test_a_pod_on_the_hosts_network_owns_no_address() -> None:
    entities = Entities()
    entities.changed(pod("proxy", "a", ADDRESS, spec={"hostNetwork": True}), BEGIN)
    assert who(entities, BEGIN + S) is None


def test_the_deployment_behind_a_replica_set_is_the_owner() -> None:
    entities = Entities()
    of_deployment = [{"controller": True, "kind": "Deployment", "name": "cart", "uid": "d"}]
    of_set = [{"controller": True, "kind": "ReplicaSet", "name": "cart-5", "uid": "r"}]
    entities.changed(change("ReplicaSet", "cart-5", "r", ownerReferences=of_deployment), BEGIN)
    entities.changed(pod("cart-5-x", "p", ADDRESS, ownerReferences=of_set), BEGIN)
    row = entities.table().to_pylist()[0]
    assert (row["owner_kind"], row["owner"]) == ("Deployment", "cart")


def test_services_and_nodes_own_theirs() -> None:
    entities = Entities()
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    entities.changed(change("Service", "cart", "s", spec={"clusterIPs": ["10.1.0.9"], "ports": ports}), BEGIN)
    entities.changed(change("Service", "headless", "h", spec={"clusterIPs": ["None"]}), BEGIN)
    inner: dict[str, Any] = {
        "addresses": [{"type": "InternalIP", "address": "10.2.0.11"}, {"type": "Hostname", "address": "n1"}]
    }
    entities.changed(change("Node", "n1", "n", status=inner), BEGIN)
    assert [row["address"] for row in entities.table().to_pylist()] == ["10.1.0.9", "10.2.0.11"]
    assert json.loads(entities.table().to_pylist()[0]["ports"]) == ports


def test_the_most_exact_range_answers_for_what_nobody_holds() -> None:
    entities = Entities()
    for cidr, name in (("10.0.0.0/8", "wide"), ("10.0.0.0/24", "near")):
        entities.add_fixed([Owned(cidr, UNASSIGNED, "", name, cidr, "", "", "{}", "", "[]", 0)])
    assert who(entities, BEGIN) == ("near", "range")
    assert who(entities, BEGIN, "10.9.9.9") == ("wide", "range")
    assert who(entities, BEGIN, "192.0.2.1") is None
    assert who(entities, BEGIN, "no address") is None


def test_the_address_book_grows_by_a_line_per_begin_and_end(tmp_path: Path) -> None:
    book = tmp_path / "addresses.jsonl"
    entities = Entities(book)
    entities.changed(pod("old", "a", ADDRESS, labels={"app": "cart"}), BEGIN)
    entities.changed(pod("old", "a", ADDRESS, "MODIFIED"), BEGIN + S)
    entities.changed(pod("old", "a", ADDRESS, "DELETED"), BEGIN + 2 * S)
    entities.close()
    rows = [json.loads(line) for line in book.read_text().splitlines()]
    assert [(row["uid"], row["to_ns"]) for row in rows] == [("a", 0), ("a", BEGIN + 2 * S)]
    assert rows[0]["labels"] == {"app": "cart"}
    assert set(rows[0]) == {
        *("address", "kind", "namespace", "name", "uid", "owner_kind", "owner"),
        *("labels", "node", "ports", "from_ns", "to_ns"),
    }


def test_many_times_at_once_give_what_each_gives_alone() -> None:
    entities = Entities()
    entities.add_fixed([Owned("10.0.0.0/8", UNASSIGNED, "", "pods", "r", "", "", "{}", "", "[]", 0)])
    entities.add_fixed([Owned("203.0.113.0/24", "External", "", "users", "x", "", "", "{}", "", "[]", 0)])
    entities.changed(pod("old", "a", ADDRESS), BEGIN)
    entities.changed(pod("old", "a", ADDRESS, "DELETED"), BEGIN + 100 * S)
    entities.changed(pod("new", "b", ADDRESS), BEGIN + 103 * S)
    entities.changed(pod("new", "b", ADDRESS, "DELETED"), BEGIN + 120 * S)
    lookup = Lookup(entities.table())
    times = np.array([BEGIN + second * S for second in (-1, 0, 50, 100, 102, 103, 119, 120, 179, 180, 500)])
    words = {"owner": OWNER, "late": LATE, "range": RANGE}
    for address in (ADDRESS, "10.9.9.9", "203.0.113.7", "192.0.2.1"):
        alone = [lookup.at(address, int(at)) for at in times]
        nobody = [answer is None or answer.row["kind"] == UNASSIGNED for answer in alone]
        found = [
            NOBODY if lost or not answer else words[answer.how] for answer, lost in zip(alone, nobody, strict=True)
        ]
        assert lookup.how_at(address, times).tolist() == found, address


def test_loomidi_reads_the_book_and_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "addresses.jsonl"
    entities = Entities(path)
    entities.add_fixed([Owned("203.0.113.0/24", "External", "", "users", "x", "", "", "{}", "", "[]", 0)])
    entities.add_fixed([Owned("10.0.0.0/8", UNASSIGNED, "", "pods", "r", "", "", "{}", "", "[]", 0)])
    entities.changed(pod("cart-1", "a", ADDRESS, labels={"app": "cart"}), BEGIN)
    entities.changed(pod("cart-1", "a", ADDRESS, "DELETED"), BEGIN + 9 * S)
    entities.close()
    book = AddressBook(path)
    assert book.refresh() == 3
    assert book.bad == 0
    held = book.at(ADDRESS, BEGIN + S)
    assert held is not None
    assert (held.entity, held.labels) == ("pod/shop/cart-1", {"app": "cart"})
    assert book.at("203.0.113.9", BEGIN) is not None
    assert book.at("10.9.9.9", BEGIN) is None
