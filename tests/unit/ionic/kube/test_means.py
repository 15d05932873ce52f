"""By what a source is denied: what the fold asks for, else what the cluster has; and never more than was judged.

A real API server judges the objects themselves (tests/integration/kube/means), and Cilium (tests/integration/lab).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from loomidi.contracts import FoldKind, FoldSpec, Match, content_id
from loomidi.ionic.act.kube import KubeApi, KubeDriver, Patience
from loomidi.ionic.decide import manifests
from loomidi.ionic.errors import NotActing
from loomidi.kit.clock import ManualClock
from tests.unit.ionic.acting import SIGNER
from tests.unit.ionic.kube import meaning
from tests.unit.ionic.kube.fake_api import FakeApi
from tests.unit.ionic.making import NOW_NS

Object = dict[str, Any]
SOURCE = "203.0.113.7"


class Cluster:
    """A pod in a namespace; Cilium and Istio where they are put."""

    def __init__(self) -> None:
        self.fake, self.clock = FakeApi(), ManualClock(NOW_NS)
        self.api = KubeApi(self.fake.client(), Patience(tries=1), clock=self.clock)
        self.driver = KubeDriver(self.api, SIGNER, clock=self.clock)
        self.fake.put("/api/v1/namespaces/shop", {"metadata": {"name": "shop"}})
        self.pod("cart-0", "10.244.1.5", "main", "istio-proxy", app="cart")
        self.pod("cart-1", "10.244.1.6", "main", app="cart")
        self.pod("reports-0", "10.244.1.9", "main", app="reports")

    def pod(self, name: str, address: str, *containers: str, **labels: str) -> None:
        status = {"podIPs": [{"ip": address}], "conditions": [{"type": "Ready", "status": "True"}]}
        spec = {"containers": [{"name": one} for one in containers], "serviceAccountName": labels["app"]}
        metadata = {"name": name, "namespace": "shop", "labels": labels}
        path = f"/api/v1/namespaces/shop/pods/{name}"
        self.fake.put(path, {"metadata": metadata, "spec": spec, "status": status})

    def cilium(self, *, nodes: int = 1) -> "Cluster":
        self.fake.put("/apis/cilium.io/v2", {"resources": [{"name": "ciliumnetworkpolicies"}, {"name": "ciliumnodes"}]})
        for number in range(nodes):
            spec = {"ipam": {"podCIDRs": ["10.244.0.0/16"]}, "addresses": [{"ip": "10.0.0.11"}]}
            self.fake.put(
                f"/apis/cilium.io/v2/ciliumnodes/n{number}", {"metadata": {"name": f"n{number}"}, "spec": spec}
            )
        return self

    def istio(self) -> "Cluster":
        self.fake.put("/api/v1/namespaces/istio-system", {"metadata": {"name": "istio-system"}})
        self.fake.put("/apis/security.istio.io/v1", {"resources": [{"name": "authorizationpolicies"}]})
        self.fake.put("/apis/networking.istio.io/v1", {"resources": [{"name": "destinationrules"}]})
        service = {"metadata": {"name": "cart", "namespace": "shop"}, "spec": {"selector": {"app": "cart"}}}
        self.fake.put("/api/v1/namespaces/shop/services/cart", service)
        return self

    def made(self, fold: FoldSpec) -> Object:
        """The object that it would make."""
        (change,) = self.driver.inverse(fold)["changes"]
        body: Object = change["body"]
        return body


def denied(source: str = SOURCE, direction: str = "ingress", **more: Any) -> FoldSpec:
    policy = manifests.network_policy("deny-one", direction, [source], {"loomidi.io/action": "drop"})
    policy["metadata"]["namespace"] = "shop"
    policy["spec"]["podSelector"] = {"matchLabels": {"app": "cart"}}
    fold = FoldSpec(FoldKind.RECONFIGURE_NETWORK, f"host/{source}", "drop", Match(source=source), manifest=policy)
    return dataclasses.replace(fold, **more)


def test_a_fold_without_a_means_is_the_same_as_before_there_was_one() -> None:
    assert "means" not in denied().as_dict()
    assert content_id("fold", denied()) != content_id("fold", denied(means="cilium"))


def test_without_cilium_a_deny_is_a_network_policy() -> None:
    cluster = Cluster()
    assert cluster.made(denied()) == denied().manifest
    assert "Cilium does not run here" in cluster.driver.inverse(denied())["told"]


def test_where_cilium_runs_a_deny_is_its_own_and_opens_nothing() -> None:
    cluster = Cluster().cilium()
    made = cluster.made(denied())
    assert (made["kind"], made["metadata"]["name"], made["metadata"]["namespace"]) == (
        "CiliumNetworkPolicy",
        "deny-one",
        "shop",
    )
    assert made["spec"] == {
        "endpointSelector": {"matchLabels": {"app": "cart"}},
        "enableDefaultDeny": {"ingress": False, "egress": False},
        "ingressDeny": [{"fromCIDRSet": [{"cidr": "203.0.113.7/32"}]}],
    }
    assert "CiliumNetworkPolicy shop/deny-one (Cilium runs here)" in cluster.driver.inverse(denied())["told"]


def test_a_port_and_the_other_direction_are_said_too() -> None:
    fold = denied(direction="egress", match=Match(source=SOURCE, destination_port=443, protocol=6))
    (rule,) = Cluster().cilium().made(fold)["spec"]["egressDeny"]
    assert rule == {
        "toCIDRSet": [{"cidr": "203.0.113.7/32"}],
        "toPorts": [{"ports": [{"port": "443", "protocol": "TCP"}]}],
    }


def test_what_is_more_than_a_denied_source_is_left_as_it_was_written() -> None:
    narrow = denied()
    narrow.manifest["spec"]["ingress"][0]["ports"] = [{"port": 80}]  # type: ignore[index]
    cluster = Cluster().cilium()
    assert cluster.made(narrow)["kind"] == "NetworkPolicy"
    assert "more than one denied source" in cluster.driver.inverse(narrow)["told"]
    assert "more than one denied source" in str(cluster.driver.check(dataclasses.replace(narrow, means="cilium")))


def test_definitions_that_no_node_enforces_are_not_chosen() -> None:
    assert Cluster().cilium(nodes=0).made(denied())["kind"] == "NetworkPolicy"


def test_a_source_inside_the_cluster_is_not_denied_by_its_address() -> None:
    for inside in ("10.244.3.3", "10.0.0.11"):
        assert "looks at labels" in str(Cluster().cilium().driver.check(denied(inside)))


def test_a_means_that_is_asked_for_is_taken() -> None:
    cluster = Cluster().cilium().istio()
    kinds = {means: cluster.made(denied(means=means))["kind"] for means in ("networkpolicy", "cilium", "istio")}
    assert list(kinds.values()) == ["NetworkPolicy", "CiliumNetworkPolicy", "AuthorizationPolicy"]
    assert cluster.made(denied(means="istio"))["spec"]["rules"] == [
        {"from": [{"source": {"ipBlocks": ["203.0.113.7/32"]}}]}
    ]


@pytest.mark.parametrize(
    ("means", "why"),
    [("cilium", "no node runs Cilium, or it has no Cilium"), ("istio", "has no Auth"), ("agent", "no agents are here")],
)
def test_a_means_that_the_cluster_lacks_is_refused_with_its_name(means: str, why: str) -> None:
    told = str(Cluster().driver.check(denied(means=means)))
    assert why in told
    assert f"means {means}" in told


def test_what_the_fold_carries_and_what_it_asks_for_are_one() -> None:
    assert "change one of them" in str(Cluster().cilium().istio().driver.check(meaning.cilium(means="istio")))


def test_what_a_cluster_has_is_asked_once_a_minute() -> None:
    cluster = Cluster().cilium()
    for _ in range(3):
        cluster.driver.check(denied())
    assert cluster.api.discoveries == 1
    cluster.clock.move(61 * 10**9)
    cluster.driver.check(denied())
    assert cluster.api.discoveries == 2


@pytest.mark.parametrize("make", meaning.SOUND.values(), ids=meaning.SOUND)
def test_an_object_that_only_takes_away_what_the_match_names_is_taken(make: Callable[[], FoldSpec]) -> None:
    assert Cluster().cilium().istio().driver.check(make()) is None


@pytest.mark.parametrize(("why", "make"), meaning.REFUSED.items(), ids=meaning.REFUSED)
def test_an_object_that_does_more_is_refused(why: str, make: Callable[[], FoldSpec]) -> None:
    assert why in str(Cluster().cilium().istio().driver.check(make()))


def test_a_host_that_another_rule_speaks_of_is_left_to_it() -> None:
    for host in ("cart", "*.shop.svc.cluster.local", "cart.shop.svc"):
        cluster = Cluster().istio()
        other = {"metadata": {"name": "theirs", "namespace": "shop"}, "spec": {"host": host}}
        cluster.fake.put("/apis/networking.istio.io/v1/destinationrules/theirs", other)
        with pytest.raises(NotActing, match="theirs speaks of cart"):
            cluster.driver.inverse(meaning.eject())


def test_a_definition_that_would_drop_a_field_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster().cilium()
    stored = {"spec": {"endpointSelector": {}, "ingressDeny": []}}  # as one without enableDefaultDeny stores it
    monkeypatch.setattr(cluster.api, "create", lambda *given, **more: stored)
    assert "takes Cilium 1.16" in str(cluster.driver.check(denied()))


def test_of_the_last_endpoints_none_is_ejected() -> None:
    cluster = Cluster().istio()
    del cluster.fake.objects["/api/v1/namespaces/shop/pods/cart-1"]
    assert "1 ready pods" in str(cluster.driver.check(meaning.eject()))


def test_a_deny_that_no_proxy_would_enforce_is_not_claimed() -> None:
    cluster = Cluster().istio()
    cluster.pod("cart-0", "10.244.1.5", "main", app="cart")
    assert "nothing would enforce it" in str(cluster.driver.check(meaning.mesh()))


def test_a_protected_pod_is_neither_chosen_nor_cut_off() -> None:
    for name, fold in (("cart-0", meaning.cilium()), ("cart-0", meaning.mesh()), ("reports-0", meaning.mesh())):
        cluster = Cluster().cilium().istio()
        path = f"/api/v1/namespaces/shop/pods/{name}"
        labels = cluster.fake.objects[path]["metadata"]["labels"] | {"loomidi.io/protected": "true"}
        cluster.fake.put(path, cluster.fake.objects[path] | {"metadata": {"labels": labels}})
        assert "protected" in str(cluster.driver.check(fold))
