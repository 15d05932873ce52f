"""Findings by names: which entities get one, what is kept, and the fold that follows for a pod."""

import json

from loomidi.contracts import FoldKind
from loomidi.garden.graph.naming import AddressBook
from loomidi.kit.clock import ManualClock
from loomidi.services.folds.planning import decider_over, explained, planned
from loomidi.services.gathering import Recent
from loomidi.services.naming import endpoints, named, with_names
from tests.unit.ionic.making import NOW_NS, a_finding
from tests.unit.origami.making import START, batch, flow

ROWS = (
    {"address": "10.244.1.5", "kind": "Pod", "namespace": "shop", "name": "scanner-x", "uid": "u1", "from_ns": 1,
     "labels": {"app": "scanner"}, "owner_kind": "Deployment", "owner": "scanner", "node": "n1"},
    {"address": "10.244.1.6", "kind": "Pod", "namespace": "shop", "name": "cart-0", "uid": "u2", "from_ns": 1},
    {"address": "10.96.0.7", "kind": "Service", "namespace": "shop", "name": "cart", "uid": "u3", "from_ns": 1},
    {"address": "10.1.0.11", "kind": "Node", "namespace": "", "name": "n1", "uid": "u4", "from_ns": 1},
    {"address": "203.0.113.0/24", "kind": "External", "namespace": "", "name": "users", "uid": "", "from_ns": 1},
)  # fmt: skip


def a_book() -> AddressBook:
    book = AddressBook()
    assert all(book.add_line(json.dumps(row)) for row in ROWS)
    return book


def test_pods_services_and_nodes_get_their_names_and_ports_stay() -> None:
    entities = ("host/10.244.1.5", "service/10.96.0.7:80/tcp", "service/10.244.1.6:6379/tcp", "host/10.1.0.11")
    found = named(a_finding(entities=entities), a_book())
    assert found.finding.entities == (
        "pod/shop/scanner-x", "service/shop/cart:80/tcp", "pod/shop/cart-0:6379/tcp", "node/n1",
    )  # fmt: skip
    assert [found.where(entity).address for entity in found.finding.entities] == [
        "10.244.1.5", "10.96.0.7", "10.244.1.6", "10.1.0.11",
    ]  # fmt: skip
    assert found.called("service/shop/cart:80/tcp") == "service/shop/cart:80/tcp (10.96.0.7)"


def test_an_outsider_keeps_its_address_and_is_told_with_its_name() -> None:
    found = named(a_finding(entities=("host/203.0.113.7", "host/192.0.2.1", "network/198.51.100.0/24")), a_book())
    assert found.finding.entities == ("host/203.0.113.7", "host/192.0.2.1", "network/198.51.100.0/24")
    assert found.called("host/203.0.113.7") == "203.0.113.7 (external/users)"
    assert found.called("host/192.0.2.1") == "192.0.2.1"


def test_names_are_those_of_the_time_of_the_finding() -> None:
    book = a_book()
    book.add_line(json.dumps(ROWS[0] | {"to_ns": NOW_NS - 10**12}))
    book.add_line(json.dumps(ROWS[0] | {"name": "other-y", "uid": "u9", "from_ns": NOW_NS}))
    entities = ("host/10.244.1.5",)
    assert named(a_finding(entities=entities, last_ns=NOW_NS - 10**13), book).finding.entities == (
        "pod/shop/scanner-x",
    )
    assert named(a_finding(entities=entities, last_ns=NOW_NS + 1), book).finding.entities == ("pod/shop/other-y",)


def test_entities_are_told_to_programs_with_owner_and_address() -> None:
    (told,) = named(a_finding(entities=("host/10.244.1.5",)), a_book()).as_dicts()
    assert told == {
        "id": "pod/shop/scanner-x", "address": "10.244.1.5", "kind": "Pod", "namespace": "shop", "name": "scanner-x",
        "owner_kind": "Deployment", "owner": "scanner", "node": "n1",
    }  # fmt: skip


def test_a_pod_that_scans_is_isolated_within_its_namespace_and_all_guards_allow() -> None:
    found = named(a_finding("vertical_scan", entities=("host/10.244.1.5", "host/10.244.1.6")), a_book())
    graph = Recent(300)
    graph.absorb(batch([flow(source="10.244.1.5", destination="10.244.1.6", port=80, protocol=6, packets=3)]), NOW_NS)
    decider = decider_over(graph, (), ManualClock(NOW_NS))
    (proposed,) = planned(found.finding, decider, found.where)
    assert (proposed.fold.kind, proposed.fold.target) == (FoldKind.ISOLATE_POD, "pod/shop/scanner-x")
    assert proposed.fold.manifest["metadata"]["namespace"] == "shop"
    assert proposed.allowed, [verdict for verdict in proposed.verdicts if verdict.allow is not True]
    assert proposed.plan.blast_radius.bystanders == ()
    told = explained(found.finding, [proposed]).explanation
    assert "Cut pod/shop/scanner-x off from the network, dropping the packets from 10.244.1.5" in told
    assert "kubectl label pod scanner-x -n shop" in told


def test_a_protected_pod_is_refused_by_its_address_though_it_is_named() -> None:
    found = named(a_finding("vertical_scan", entities=("host/10.244.1.5", "host/10.244.1.6")), a_book())
    decider = decider_over(Recent(300), ("10.244.1.5",), ManualClock(NOW_NS))
    (proposed,) = planned(found.finding, decider, found.where)
    assert not proposed.allowed
    assert {"floor/protected", "rego:base/protected_untouched"} <= {
        f"{verdict.guard}/{verdict.rule}" for verdict in proposed.verdicts if verdict.allow is not True
    }


def test_bystanders_and_flows_are_named_too() -> None:
    names = endpoints(("host/10.244.1.5", "service/10.96.0.7:80/tcp", "host/192.0.2.1"), NOW_NS, a_book())
    assert names == {"host/10.244.1.5": "pod/shop/scanner-x", "service/10.96.0.7:80/tcp": "service/shop/cart:80/tcp"}
    given = batch([flow(source="10.244.1.5", destination="192.0.2.1")])
    (told,) = with_names(given, a_book()).select(["source_entity", "destination_entity"]).to_pylist()
    assert told == {"source_entity": "pod/shop/scanner-x", "destination_entity": None}
    assert given.column("flow_start_nanoseconds").cast("int64").to_pylist() == [START]
