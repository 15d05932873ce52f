"""Whom a finding or a fold names, held against who a scenario means."""

from typing import Any

import pytest

from loomidi_lab.drills.matching import listed, means, named


def measured(kind: str, name: str, space: str = "shop", **pods: str) -> dict[str, Any]:
    """As `staging.targets` tells it: pod name -> address."""
    found = [{"name": pod.replace("_", "-"), "address": address} for pod, address in pods.items()]
    return {"entity": {"kind": kind, "namespace": space, "name": name}, "pods": found}


SCANNER = measured("Pod", "feed-reader", "tenants", feed_reader="10.1.1.7")
FRONTEND = measured("Deployment", "frontend", frontend_84c4d8f86c_pmm4r="10.1.1.9")
OUTSIDE = measured("External", "198.51.100.0/24", "")
EVERYBODY = measured("External", "0.0.0.0/0", "")
NODE = measured("Node", "n1", "", n1="10.0.0.1")

SAME = {
    "a pod": ("pod/tenants/feed-reader", SCANNER),
    "a pod's address": ("host/10.1.1.7", SCANNER),
    "a port of a pod": ("pod/shop/frontend-84c4d8f86c-pmm4r:8080/tcp", FRONTEND),
    "a workload": ("workload/shop/frontend", FRONTEND),
    "a release of the workload": ("rollout/shop/frontend@84c4d8f86c", FRONTEND),
    "another pod of the workload": ("pod/shop/frontend-84c4d8f86c-mj8qh", FRONTEND),
    "a part of a network": ("network/198.51.100.96/28", OUTSIDE),
    "an address of a network": ("host/198.51.100.7", OUTSIDE),
    "everybody": ("network/0.0.0.0/0", EVERYBODY),
    "a node": ("node/n1", NODE),
}
OTHERS = {
    "a name that begins like it": ("workload/shop/frontend-metrics-exporter", FRONTEND),
    "a release of another": ("rollout/shop/frontend-admin@84c4d8f86c", FRONTEND),
    "the same name elsewhere": ("pod/shop/feed-reader", SCANNER),
    "an address that begins like it": ("host/10.1.1.70", SCANNER),
    "a network beside it": ("network/198.51.101.0/24", OUTSIDE),
    "one address of everybody's": ("host/198.51.100.7", EVERYBODY),
    "another node": ("node/n2", NODE),
}


@pytest.mark.parametrize("case", SAME)
def test_an_entity_is_known_as_who_is_meant(case: str) -> None:
    assert means(*SAME[case])


@pytest.mark.parametrize("case", OTHERS)
def test_somebody_else_is_not_taken_for_who_is_meant(case: str) -> None:
    assert not means(*OTHERS[case])


def test_one_of_several_entities_is_enough_and_none_is_not() -> None:
    assert named(["host/10.9.9.9", "pod/tenants/feed-reader"], [FRONTEND, SCANNER])
    assert not named(["host/10.9.9.9"], [FRONTEND, SCANNER])
    assert not named([], [SCANNER])


def test_a_fold_is_listed_by_its_kind_and_its_target() -> None:
    right = [{"kind": "ISOLATE_POD", "target": {"kind": "Pod", "namespace": "tenants", "name": "feed-reader"}}]
    assert listed({"kind": "ISOLATE_POD", "target": "pod/tenants/feed-reader"}, right)
    assert not listed({"kind": "EVICT", "target": "pod/tenants/feed-reader"}, right)
    assert not listed({"kind": "ISOLATE_POD", "target": "pod/tenants/ledger"}, right)
    assert not listed({"kind": "ISOLATE_POD", "target": "pod/tenants/ledger"}, [{"kind": "NONE"}])
