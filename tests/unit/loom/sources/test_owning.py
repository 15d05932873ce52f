"""Who owned an address when, from objects as the API tells them: reuse, rollouts, drains, gaps, restarts."""

from typing import Any

from loomidi.contracts.schemas import ENTITIES
from loomidi.garden.graph.naming import AddressBook
from loomidi.loom.sources.objects import event_row
from loomidi.loom.sources.owning import Ownership

T0 = 1_795_662_000  # 2026-11-26T03:00:00Z
S = 10**9


def clock(second: float) -> str:
    minutes, seconds = divmod(int(second), 60)
    return f"2026-11-26T{3 + minutes // 60:02}:{minutes % 60:02}:{seconds:02}Z"


def ns(second: float) -> int:
    return round((T0 + second) * S)


def meta(name: str, uid: str = "", namespace: str = "shop", **more: Any) -> dict[str, Any]:
    return {"name": name, "uid": uid or f"uid-{name}", "namespace": namespace, "creationTimestamp": clock(0), **more}


def owned(kind: str, name: str) -> list[dict[str, Any]]:
    return [{"kind": kind, "name": name, "uid": f"uid-{name}", "controller": True}]


def pod(name: str, ip: str = "10.244.1.5", start: float = 0, **more: Any) -> dict[str, Any]:
    """`phase`, `finished` (second), `deleting`, `owner`, `host`, `labels`."""
    about = {"labels": more.get("labels", {"app": "cart"})}
    if more.get("deleting"):
        about["deletionTimestamp"] = clock(0)
    if more.get("owner"):
        about["ownerReferences"] = owned("ReplicaSet", more["owner"])
    state = {"terminated": {"finishedAt": clock(more["finished"])}} if "finished" in more else {"running": {}}
    return {
        "metadata": meta(name, more.get("uid", ""), **about),
        "spec": {"nodeName": "n1", "hostNetwork": more.get("host", False), "containers": []},
        "status": {
            "phase": more.get("phase", "Running"),
            "podIPs": [{"ip": ip}] if ip else [],
            "startTime": clock(start),
            "containerStatuses": [{"state": state}],
        },
    }


def replica_set(name: str, deployment: str) -> dict[str, Any]:
    return {"metadata": meta(name, ownerReferences=owned("Deployment", deployment))}


def piece(service: str, *pods: str) -> dict[str, Any]:
    targets = [{"addresses": ["x"], "targetRef": {"kind": "Pod", "name": one, "uid": f"uid-{one}"}} for one in pods]
    return {
        "metadata": meta(f"{service}-1", labels={"kubernetes.io/service-name": service}),
        "endpoints": [*targets, {"addresses": ["192.0.2.1"]}],
    }


class Play:
    """An ownership, and the book of what it told."""

    def __init__(self, ownership: Ownership | None = None) -> None:
        self.ownership, self.book = ownership or Ownership("lab"), AddressBook()
        self.told: list[dict[str, Any]] = []

    def change(self, kind: str, item: dict[str, Any], at: float, change: str = "MODIFIED") -> None:
        self.ownership.changed(kind, change, item, ns(at))
        self._take()

    def list(self, kind: str, *items: dict[str, Any], at: float, heard: float = 0) -> None:
        self.ownership.listed(kind, list(items), ns(at), ns(heard) if heard else 0)
        self._take()

    def _take(self) -> None:
        batch = self.ownership.take()
        if batch is not None:
            assert batch.schema == ENTITIES
            assert self.book.learn(batch) == batch.num_rows
            self.told += batch.drop_columns(["from", "to", "seen"]).to_pylist()

    def at(self, second: float, ip: str = "10.244.1.5") -> str | None:
        found = self.book.at(ip, ns(second))
        return None if found is None else found.entity

    def row(self, second: float, ip: str = "10.244.1.5") -> Any:
        return self.book.at(ip, ns(second))


def test_a_pod_has_its_address_from_its_start_until_its_deletion_is_told() -> None:
    play = Play()
    play.change("Pod", pod("a", ip="", start=1), 1, "ADDED")
    play.change("Pod", pod("a", start=1), 3)
    play.change("Pod", pod("a", start=1), 60, "DELETED")
    assert [play.at(second) for second in (0.5, 1, 59, 60)] == [None, "pod/shop/a", "pod/shop/a", None]
    assert play.told[0]["cluster"] == "lab"


def test_a_reused_address_is_the_new_pods_from_the_end_of_the_old_ones_containers() -> None:
    play = Play()
    play.change("Pod", pod("old"), 1, "ADDED")
    play.change("Pod", pod("old", deleting=True, finished=20), 21)
    play.change("Pod", pod("old", deleting=True, finished=20), 30, "DELETED")
    play.change("Pod", pod("new", start=15), 31, "ADDED")
    assert [play.at(second) for second in (14, 20.9, 21, 29)] == ["pod/shop/old"] * 2 + ["pod/shop/new"] * 2


def test_a_new_pod_that_is_told_before_the_old_one_is_gone_takes_the_address_over() -> None:
    play = Play()
    play.change("Pod", pod("old"), 1, "ADDED")
    play.change("Pod", pod("new", start=15), 30, "ADDED")
    play.change("Pod", pod("old"), 31, "DELETED")
    assert [play.at(second) for second in (29, 30, 40)] == ["pod/shop/old", "pod/shop/new", "pod/shop/new"]


def test_a_pod_that_is_over_lets_go_of_its_address() -> None:
    play = Play()
    play.change("Pod", pod("job"), 1, "ADDED")
    play.change("Pod", pod("job", phase="Succeeded", finished=10), 14)
    assert [play.at(second) for second in (10.5, 11, 14)] == ["pod/shop/job", None, None]


def test_a_workload_is_the_deployment_behind_the_replica_set_whichever_is_told_first() -> None:
    play = Play()
    play.change("Pod", pod("a", owner="cart-7d9"), 1, "ADDED")
    assert play.row(2).workload == "replicaset/shop/cart-7d9"
    play.change("ReplicaSet", replica_set("cart-7d9", "cart"), 2, "ADDED")
    play.change("Pod", pod("b", "10.244.1.6", owner="cart-7d9"), 3, "ADDED")
    assert play.row(2).workload == play.row(4, "10.244.1.6").workload == "deployment/shop/cart"


def test_a_rollout_leaves_each_flow_with_the_pod_of_its_moment() -> None:
    play = Play()
    play.change("EndpointSlice", piece("cart", "a"), 0, "ADDED")
    play.change("Pod", pod("a", owner="cart-1"), 1, "ADDED")
    play.change("Pod", pod("b", "10.244.1.6", start=10, owner="cart-2"), 12, "ADDED")
    play.change("EndpointSlice", piece("cart", "a", "b"), 13)
    play.change("Pod", pod("a", owner="cart-1", deleting=True), 14)
    play.change("EndpointSlice", piece("cart", "b"), 15)
    play.change("Pod", pod("a", owner="cart-1", deleting=True), 20, "DELETED")
    assert [play.row(second).service for second in (2, 19)] == ["service/shop/cart"] * 2
    assert play.row(21, "10.244.1.6").service == "service/shop/cart"
    assert play.at(21) is None


def test_a_living_pod_that_no_service_selects_any_more_has_none() -> None:
    play = Play()
    play.change("Pod", pod("a"), 1, "ADDED")
    play.change("EndpointSlice", piece("cart", "a"), 2, "ADDED")
    assert play.row(3).services == ("service/shop/cart",)
    play.change("EndpointSlice", piece("cart", "a"), 4, "DELETED")
    assert play.row(3).services == ()


def test_a_drained_nodes_pods_end_and_the_node_stays() -> None:
    play = Play()
    node = {
        "metadata": meta("n1", namespace=""),
        "spec": {"podCIDRs": ["10.244.1.0/24"], "unschedulable": True},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "10.1.0.11"}, {"type": "Hostname", "address": "n1"}]
        },
    }
    play.list("Node", node, at=1)
    play.list("Pod", pod("a"), pod("host", "10.1.0.11", host=True), at=1)
    play.change("Pod", pod("a", deleting=True), 30, "DELETED")
    play.change("Pod", pod("a2", "10.244.2.7", start=25), 31, "ADDED")
    assert (play.at(29), play.at(31), play.at(32, "10.244.2.7")) == ("pod/shop/a", None, "pod/shop/a2")
    assert play.at(32, "10.1.0.11") == "node/n1"
    assert play.at(32, "10.244.1.1") == "node/n1"


def test_the_first_address_of_a_nodes_range_is_a_pods_when_one_has_it() -> None:
    play = Play()
    node = {"metadata": meta("n1", namespace=""), "spec": {"podCIDR": "10.244.1.0/24"}, "status": {}}
    play.change("Node", node, 1, "ADDED")
    play.change("Pod", pod("a", "10.244.1.1", start=10), 12, "ADDED")
    play.change("Node", node, 13)
    assert [play.at(second, "10.244.1.1") for second in (9, 10, 20)] == ["node/n1", "pod/shop/a", "pod/shop/a"]


def test_pods_of_the_hosts_network_share_an_address() -> None:
    play = Play()
    play.change("Pod", pod("one", "10.1.0.11", host=True), 1, "ADDED")
    play.change("Pod", pod("two", "10.1.0.11", host=True), 2, "ADDED")
    play.change("Pod", pod("two", "10.1.0.11", host=True), 5, "DELETED")
    assert play.at(6, "10.1.0.11") == "pod/shop/one"


def test_a_service_has_all_its_addresses_and_is_its_own() -> None:
    play = Play()
    service = {
        "metadata": meta("cart"),
        "spec": {"clusterIPs": ["10.96.0.7", "None"], "externalIPs": ["192.0.2.7"], "ports": [{"port": 80}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.7"}]}},
    }
    play.change("Service", service, 1, "ADDED")
    for ip in ("10.96.0.7", "192.0.2.7", "198.51.100.7"):
        assert (play.at(2, ip), play.row(2, ip).service) == ("service/shop/cart", "service/shop/cart")
    service["spec"] = {"clusterIPs": ["10.96.0.7"]}
    play.change("Service", service, 10)
    assert (play.at(11, "10.96.0.7"), play.at(11, "192.0.2.7")) == ("service/shop/cart", None)


def test_a_list_after_a_gap_ends_what_vanished_and_lets_its_successor_begin_in_the_gap() -> None:
    play = Play()
    play.list("Pod", pod("old"), pod("stays", "10.244.1.6"), at=1)
    play.list("Pod", pod("stays", "10.244.1.6"), pod("new", start=40), at=100, heard=30)
    assert [play.at(second) for second in (39, 40, 99)] == ["pod/shop/old", "pod/shop/new", "pod/shop/new"]
    assert play.at(101, "10.244.1.6") == "pod/shop/stays"


def test_what_vanished_between_two_runs_ends_at_the_first_list_of_the_second() -> None:
    first = Play()
    first.list("Pod", pod("old"), pod("stays", "10.244.1.6"), at=1)
    second = Play(Ownership("lab"))
    assert second.ownership.restore(first.ownership.held()) == 2
    second.list("Pod", pod("stays", "10.244.1.6"), at=100, heard=50)
    assert [row["name"] for row in second.told] == ["old"]
    assert second.at(99) == "pod/shop/old"
    assert second.at(100) is None
    assert second.ownership.open_rows == 1


def test_what_does_not_change_is_not_told_again() -> None:
    play = Play()
    play.change("Pod", pod("a"), 1, "ADDED")
    play.change("Pod", pod("a"), 2)
    play.list("Pod", pod("a"), at=3, heard=2)
    assert len(play.told) == 1
    play.change("Pod", pod("a", labels={"app": "other"}), 4)
    assert len(play.told) == 2


def test_open_rows_are_told_again_to_who_reads_a_while_back() -> None:
    play = Play()
    play.list("Pod", pod("a"), pod("b", "10.244.1.6"), at=1)
    play.change("Pod", pod("b", "10.244.1.6"), 5, "DELETED")
    assert play.ownership.tell_again(ns(100), ns(100)) == 1
    assert play.ownership.tell_again(ns(100), ns(101)) == 0
    batch = play.ownership.take()
    assert batch is not None
    assert batch.column("name").to_pylist() == ["a"]
    assert batch.column("from").cast("int64").to_pylist() == [ns(0)]


def test_odd_objects_do_no_harm() -> None:
    ownership = Ownership()
    for kind in ("Pod", "Service", "Node", "EndpointSlice", "ReplicaSet", "Job"):
        for odd in ({}, {"metadata": None}, {"metadata": {"uid": "x"}, "spec": None, "status": None}):
            ownership.changed(kind, "ADDED", odd, 1)
            ownership.changed(kind, "DELETED", odd, 2)
    assert ownership.take() is None


def test_an_event_of_the_cluster_is_a_row() -> None:
    event = {
        "metadata": meta("cart-0.17", "uid-e", resourceVersion="81"),
        "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "cart-0"},
        "reason": "BackOff",
        "message": "Back-off restarting failed container",
        "type": "Warning",
        "source": {"component": "kubelet", "host": "n1"},
        "lastTimestamp": clock(7),
    }
    row = event_row(event, 5)
    assert (row["kind"], row["severity"], row["entity"], row["node"]) == ("BackOff", "medium", "pod/shop/cart-0", "n1")
    assert (row["timestamp"], row["event_id"], row["actor"]) == (ns(7), "uid-e/81", "kubelet")
    newer = {
        "metadata": {},
        "regarding": {"kind": "Node", "name": "n1"},
        "eventTime": "2026-11-26T03:00:07.5Z",
        "note": "x",
    }
    assert (event_row(newer, 5)["timestamp"], event_row(newer, 5)["entity"]) == (ns(7.5), "node/n1")
