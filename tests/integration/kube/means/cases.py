"""Folds by each means beside the NetworkPolicy: the stage that each needs, and what somebody else may do in between."""

from collections.abc import Callable
from typing import Any

from loomidi.contracts import FoldKind, FoldSpec, Match
from tests.integration.kube.cases import Case, block, of
from tests.integration.kube.rooms import SEEN, Object, Room

CILIUM = "/apis/cilium.io/v2/namespaces/{}/ciliumnetworkpolicies"
DENIES = "/apis/security.istio.io/v1/namespaces/{}/authorizationpolicies"
RULES = "/apis/networking.istio.io/v1/namespaces/{}/destinationrules"
NODE: Object = {
    "apiVersion": "cilium.io/v2",
    "kind": "CiliumNode",
    "metadata": {"name": "n1"},
    "spec": {"ipam": {"podCIDRs": ["10.244.0.0/24"]}, "addresses": [{"type": "InternalIP", "ip": "10.9.0.11"}]},
}
PEER = Match(source="10.244.0.9")  # as the rooms' pods have it


class MeansRoom(Room):
    """With what Cilium and Istio keep there."""

    seen = (*SEEN, CILIUM, DENIES, RULES)


def served(room: Room) -> None:
    """Two ready pods behind a service, in a mesh, and one that calls them."""
    room.service("front", app="front")
    for name, app in (("front-0", "front"), ("front-1", "front"), ("caller-0", "caller")):
        containers = [{"name": one, "image": "none.invalid/none"} for one in ("main", "istio-proxy")]
        metadata = {"name": name, "labels": {"app": app}}
        spec = {"containers": containers, "serviceAccountName": app}
        room.post("/api/v1/namespaces/{}/pods", {"metadata": metadata, "spec": spec})
        room.ready(name)


def chosen(room: Room) -> FoldSpec:
    """A NetworkPolicy, of which the driver makes Cilium's."""
    fold = block(room)
    fold.manifest["metadata"]["annotations"] = {"loomidi.io/action": "drop"}  # an empty map would not come back
    return fold


def asked(room: Room) -> FoldSpec:
    """A deny of a pod by its labels, which the fold carries and asks for."""
    spec: Object = {
        "endpointSelector": {"matchLabels": {"app": "front"}},
        "enableDefaultDeny": {"ingress": False, "egress": False},
        "ingressDeny": [{"fromEndpoints": [{"matchLabels": {"app": "caller"}}], "toPorts": _PORTS}],
    }
    return _carrying(room, "cilium.io/v2", "CiliumNetworkPolicy", spec, "drop", match=PEER, means="cilium")


def denied(room: Room) -> FoldSpec:
    """A caller denied by who it is, at the proxies."""
    principal = f"cluster.local/ns/{room.namespace}/sa/caller"
    rules = [{"from": [{"source": {"principals": [principal]}}], "to": [{"operation": {"ports": ["8080"]}}]}]
    spec = {"selector": {"matchLabels": {"app": "front"}}, "action": "DENY", "rules": rules}
    return _carrying(room, "security.istio.io/v1", "AuthorizationPolicy", spec, "drop", match=PEER)


def ejected(room: Room) -> FoldSpec:
    """Failing endpoints of the service."""
    detection = {"consecutive5xxErrors": 5, "interval": "10s", "baseEjectionTime": "60s", "maxEjectionPercent": 50}
    spec = {"host": f"front.{room.namespace}.svc.cluster.local", "trafficPolicy": {"outlierDetection": detection}}
    return _carrying(room, "networking.istio.io/v1", "DestinationRule", spec, "eject")


_PORTS = [{"ports": [{"port": "8080", "protocol": "TCP"}]}]


def _carrying(room: Room, version: str, kind: str, spec: Object, action: str, **more: Any) -> FoldSpec:
    manifest = {"apiVersion": version, "kind": kind, "metadata": {"name": "loomidi-one", "namespace": room.namespace}}
    target = f"service/{room.namespace}/front" if action == "eject" else "host/10.244.0.9"
    return of(FoldKind.RECONFIGURE_NETWORK, action, target, manifest=manifest | {"spec": spec}, **more)


def _taken(path: str, fold: Callable[[Room], FoldSpec]) -> Callable[[Room], Any]:
    """Somebody else makes one of that name."""
    return lambda room: room.post(path, dict(fold(room).manifest))


def _taken_by_cilium(room: Room) -> None:
    room.post(CILIUM, dict(asked(room).manifest) | {"metadata": {"name": "loomidi-drop"}})


CASES: dict[str, Case] = {
    "Cilium's, chosen": Case(served, chosen, _taken_by_cilium),
    "Cilium's, asked for": Case(served, asked, _taken(CILIUM, asked)),
    "Istio's deny": Case(served, denied, _taken(DENIES, denied)),
    "Istio's ejection": Case(served, ejected, _taken(RULES, ejected)),
}
PATHS = dict(zip(CASES, (CILIUM, CILIUM, DENIES, RULES), strict=True))
