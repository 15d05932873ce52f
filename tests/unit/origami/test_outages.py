"""Outages from a cluster's state: about whom, blaming what; silent about what was never well or is switched over."""

import dataclasses
from typing import Any

import pytest

from loomidi.contracts import Finding, FoldKind
from loomidi.ionic.decide import propose
from loomidi.origami.online import ClusterState, Failures
from tests.unit.origami.test_failures import (
    DEPLOYMENT,
    NOW_NS,
    SECOND,
    Object,
    lasting,
    moment,
    node,
    pod,
    release,
)

SERVICE: Object = {"metadata": {"name": "cart", "namespace": "shop"}, "spec": {"selector": {"app": "cart"}}}


def killed(ago_s: float, reason: str = "OOMKilled", of: str = "cart-2") -> Object:
    ended = {"terminated": {"reason": reason, "finishedAt": moment(ago_s)}}
    return pod(f"{of}-a", of, restartCount=1, lastState=ended)


def seen_in(pods: list[Object], *releases: Object) -> ClusterState:
    return ClusterState(NOW_NS, pods=pods, replica_sets=releases, deployments=[DEPLOYMENT])


def test_a_new_release_whose_container_ran_out_of_memory_goes_back() -> None:
    (finding,) = Failures().look(seen_in([killed(5.0)], release(1, 9000.0), release(2)))
    assert (finding.pattern, finding.entities) == ("out_of_memory", ("workload/shop/cart", "pod/shop/cart-2-a"))
    (fold,) = propose(finding)
    assert (fold.kind, fold.target) == (FoldKind.ROLLBACK, "workload/shop/cart")


@pytest.mark.parametrize(
    "state",
    [
        seen_in([killed(5.0)], release(2)),  # nothing before it
        seen_in([killed(5.0)], release(1, 9000.0), release(2, 5000.0)),  # it ran for long
        seen_in([killed(5.0, of="cart-1")], release(1, 9000.0), release(2)),  # the release before, not the new one
        seen_in([killed(5.0, of="daemon")], release(1, 9000.0), release(2)),  # of no Deployment
    ],
)
def test_no_release_is_blamed_for_what_another_ran_into(state: ClusterState) -> None:
    (finding,) = Failures().look(state)
    assert finding.pattern == "out_of_memory"
    assert propose(finding) == ()


def test_what_ended_otherwise_or_long_ago_did_not_run_out_of_memory() -> None:
    assert Failures().look(seen_in([killed(5.0, "Completed"), killed(90.0)], release(1), release(2))) == []


def serving(*pods: Object, at_s: float = 0.0, services: tuple[Object, ...] = (SERVICE,)) -> ClusterState:
    return ClusterState(NOW_NS + round(at_s * SECOND), pods=pods, replica_sets=[release(2)], services=services)


def labelled(**more: Any) -> Object:
    one = pod("cart-2-a", **more)
    one["metadata"]["labels"] = {"app": "cart", "tier": "back"}
    return one


def looked(*states: ClusterState) -> list[list[Finding]]:
    failures = Failures()
    return [failures.look(state) for state in states]


def test_a_service_that_lost_its_last_ready_pod_is_told_with_who_served_it() -> None:
    *before, last = looked(serving(labelled()), *(serving(labelled(ready=False), at_s=at) for at in (1, 6, 12)))
    assert before == [[], [], []]
    assert [(one.pattern, one.entities) for one in last] == [
        ("no_endpoints", ("workload/shop/cart", "service/shop/cart"))
    ]
    assert propose(last[0]) == ()


def test_a_pod_that_goes_away_serves_nobody_any_more() -> None:
    going = labelled()
    going["metadata"]["deletionTimestamp"] = moment(1.0)
    assert looked(serving(labelled()), serving(going, at_s=1), serving(going, at_s=20))[-1]


def test_a_service_that_is_served_again_in_time_is_not_told_nor_one_that_never_was_or_is_deleted() -> None:
    assert looked(*(serving(labelled(ready=at != 5), at_s=at) for at in (0, 5, 14, 30))) == [[], [], [], []]
    assert looked(*(serving(at_s=at) for at in (0, 5, 60))) == [[], [], []]
    assert looked(serving(labelled()), serving(at_s=60, services=()))[-1] == []


def test_a_service_without_a_selector_is_not_judged() -> None:
    bare: Object = {"metadata": {"name": "outside", "namespace": "shop"}, "spec": {}}
    assert lasting(serving(services=(bare,)), 60.0) == []


def unready(name: str, **spec: Any) -> Object:
    return {
        "metadata": {"name": name},
        "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]},
    }


def test_a_node_that_was_ready_is_told_and_one_that_joins_or_was_closed_is_not() -> None:
    well = ClusterState(NOW_NS, nodes=[node("n1", False), node("n2", False)])
    down = [unready("n1"), unready("n2", unschedulable=True), unready("n3")]
    states = (dataclasses.replace(well, at_ns=NOW_NS + at * SECOND, nodes=down) for at in (1, 5))
    _, first, last = looked(well, *states)
    assert first == []
    assert [(one.pattern, one.entities) for one in last] == [("node_unready", ("node/n1",))]
    assert propose(last[0]) == ()
