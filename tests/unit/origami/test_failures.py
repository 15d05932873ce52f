"""Failures from a cluster's state: told once they have lasted, about the right object, silent about what is usual."""

import dataclasses
import datetime as dt
from typing import Any

from loomidi.contracts import Finding
from loomidi.origami.online import ClusterState, Failures

NOW_NS = 1_790_000_000_000_000_000
SECOND = 1_000_000_000
Object = dict[str, Any]


def moment(ago_s: float) -> str:
    return dt.datetime.fromtimestamp(NOW_NS / 1e9 - ago_s, dt.UTC).isoformat()


def owned(name: str, owner: str, kind: str, **more: Any) -> Object:
    owners = [{"kind": kind, "name": owner, "uid": f"uid-{owner}", "controller": True}]
    metadata = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "ownerReferences": owners}
    return {"metadata": metadata | {"creationTimestamp": moment(60.0)} | more.pop("metadata", {})} | more


def release(number: int, ago_s: float = 60.0) -> Object:
    noted = {"annotations": {"deployment.kubernetes.io/revision": str(number)}, "creationTimestamp": moment(ago_s)}
    return owned(f"cart-{number}", "cart", "Deployment", metadata=noted)


def pod(name: str, of: str = "cart-2", node: str = "n1", **container: Any) -> Object:
    ready = container.pop("ready", True)
    spec = {"nodeName": node, "containers": [{"name": "c"}]}
    status = {"ready": ready, "restartCount": 0, "state": {}} | container
    conditions = [{"type": "Ready", "status": str(ready)}]
    return owned(name, of, "ReplicaSet", spec=spec, status={"containerStatuses": [status], "conditions": conditions})


def crashing(name: str, reason: str = "CrashLoopBackOff") -> Object:
    return pod(name, ready=False, restartCount=1, state={"waiting": {"reason": reason}})


DEPLOYMENT: Object = {"metadata": {"name": "cart", "namespace": "shop", "uid": "uid-cart"}}
ROLLING = ClusterState(
    NOW_NS,
    pods=[pod("cart-1-a", "cart-1"), crashing("cart-2-a")],
    replica_sets=[release(1, 9000.0), release(2)],
    deployments=[DEPLOYMENT],
)


def lasting(state: ClusterState, seconds: float = 10.0) -> list[Finding]:
    failures = Failures()
    failures.look(state)
    return failures.look(dataclasses.replace(state, at_ns=state.at_ns + round(seconds * SECOND)))


def test_a_release_that_crashes_is_told_about_its_workload_and_pod() -> None:
    (finding,) = lasting(ROLLING)
    assert finding.pattern == "crash_loop"
    assert finding.entities == ("workload/shop/cart", "pod/shop/cart-2-a")
    assert {one.name: one.value for one in finding.evidence}["reason"] == "CrashLoopBackOff"


def test_a_single_look_is_none() -> None:
    assert Failures().look(ROLLING) == []


def test_it_keeps_its_id_while_it_lasts_and_gets_another_when_it_comes_again() -> None:
    failures = Failures()
    seen = [failures.look(dataclasses.replace(ROLLING, at_ns=NOW_NS + at * SECOND)) for at in (0, 5, 10)]
    assert seen[1][0].id == seen[2][0].id
    assert failures.look(ClusterState(NOW_NS + 11 * SECOND)) == []
    failures.look(dataclasses.replace(ROLLING, at_ns=NOW_NS + 20 * SECOND))
    (again,) = failures.look(dataclasses.replace(ROLLING, at_ns=NOW_NS + 30 * SECOND))
    assert again.id != seen[1][0].id


def test_one_pod_of_a_release_that_runs_is_no_reason_to_go_back() -> None:
    assert lasting(dataclasses.replace(ROLLING, pods=[crashing("cart-2-a"), pod("cart-2-b")])) == []


def test_without_a_release_before_there_is_nothing_to_go_back_to() -> None:
    assert lasting(dataclasses.replace(ROLLING, replica_sets=[release(2)])) == []


def test_a_release_that_ran_for_long_is_not_blamed() -> None:
    assert lasting(dataclasses.replace(ROLLING, replica_sets=[release(1, 9000.0), release(2, 5000.0)])) == []


def rolled_out(reason: str, ago_s: float) -> ClusterState:
    """Release 2 was made long ago; its rollout is at this, for so long."""
    progressing = {"type": "Progressing", "status": "True", "reason": reason, "lastUpdateTime": moment(ago_s)}
    deployment = DEPLOYMENT | {"status": {"conditions": [progressing]}}
    sets = [release(1, 9000.0), release(2, 5000.0)]
    return dataclasses.replace(ROLLING, replica_sets=sets, deployments=[deployment])


def test_a_bad_release_that_is_rolled_out_once_more_is_told_though_its_replica_set_is_old() -> None:
    (finding,) = lasting(rolled_out("ReplicaSetUpdated", 30.0))
    assert finding.pattern == "crash_loop"
    assert lasting(rolled_out("NewReplicaSetAvailable", 30.0)) == []
    assert lasting(rolled_out("ProgressDeadlineExceeded", 4000.0)) == []


def test_an_image_that_is_missing_is_a_release_that_does_not_come_up() -> None:
    (finding,) = lasting(dataclasses.replace(ROLLING, pods=[crashing("cart-2-a", "ImagePullBackOff")]))
    assert finding.pattern == "crash_loop"


def test_a_workload_whose_pods_are_throttled_on_average_is_saturated() -> None:
    state = dataclasses.replace(ROLLING, pods=[pod("cart-2-a"), pod("cart-2-b")])
    busy = dataclasses.replace(state, throttled={("shop", "cart-2-a"): 1.0, ("shop", "cart-2-b"): 0.2})
    idle = dataclasses.replace(state, throttled={("shop", "cart-2-a"): 0.7, ("shop", "cart-2-b"): 0.2})
    assert [(one.pattern, one.entities) for one in lasting(busy)] == [("cpu_saturation", ("workload/shop/cart",))]
    assert lasting(idle) == []


def node(name: str, pressed: bool) -> Object:
    conditions = [{"type": "MemoryPressure", "status": str(pressed)}, {"type": "Ready", "status": "True"}]
    return {"metadata": {"name": name}, "status": {"conditions": conditions}}


def test_a_pressed_node_gives_away_a_pod_with_a_sibling_elsewhere() -> None:
    pods = [pod("alone", "alone-1"), pod("cart-2-a"), pod("cart-2-b", node="n2")]
    (finding,) = lasting(ClusterState(NOW_NS, pods=pods, nodes=[node("n1", True), node("n2", False)]))
    assert (finding.pattern, finding.entities) == ("node_pressure", ("pod/shop/cart-2-a", "node/n1"))


def test_a_pod_that_no_guard_would_let_go_is_not_the_one_to_move() -> None:
    here, there = pod("dns-a", "dns-1"), pod("dns-b", "dns-1", node="n2")
    for one in (here, there):
        one["metadata"]["namespace"] = "kube-system"
    assert lasting(ClusterState(NOW_NS, pods=[here, there], nodes=[node("n1", True)])) == []


def test_a_pressed_node_with_nothing_to_move_is_not_told() -> None:
    state = ClusterState(NOW_NS, pods=[pod("alone", "alone-1")], nodes=[node("n1", True)])
    assert lasting(state) == []
