"""Folds that carry an object of Cilium or Istio: sound ones, and ones that would do more than was judged."""

import copy
from collections.abc import Callable
from typing import Any

from loomidi.contracts import FoldKind, FoldSpec, Match

Object = dict[str, Any]
OUTSIDE, PEER = Match(source="203.0.113.0/24"), Match(source="10.244.1.9")
CART = {"matchLabels": {"app": "cart"}}
_CILIUM: Object = {
    "endpointSelector": CART,
    "enableDefaultDeny": {"ingress": False, "egress": False},
    "ingressDeny": [{"fromCIDRSet": [{"cidr": "203.0.113.0/25"}]}],
}
_MESH: Object = {
    "selector": CART,
    "action": "DENY",
    "rules": [{"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/reports"]}}]}],
}
_DETECTION: Object = {"consecutive5xxErrors": 5, "interval": "10s", "baseEjectionTime": "60s", "maxEjectionPercent": 50}


def cilium(match: Match = OUTSIDE, means: str = "", space: str = "shop", **spec: Any) -> FoldSpec:
    return _fold("cilium.io/v2", "CiliumNetworkPolicy", _CILIUM | spec, match, means, space)


def mesh(match: Match = PEER, means: str = "", space: str = "shop", **spec: Any) -> FoldSpec:
    return _fold("security.istio.io/v1", "AuthorizationPolicy", _MESH | spec, match, means, space)


def eject(space: str = "shop", more: Object | None = None, **detection: Any) -> FoldSpec:
    ejecting = {"host": "cart.shop.svc.cluster.local", "trafficPolicy": {"outlierDetection": _DETECTION | detection}}
    metadata = {"name": "ejecting", "namespace": space}
    rule = {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": metadata}
    manifest = rule | {"spec": ejecting | (more or {})}
    return FoldSpec(FoldKind.RECONFIGURE_NETWORK, "service/shop/cart", "eject", manifest=manifest)


def of(**source: Any) -> list[Object]:
    """Rules of an AuthorizationPolicy for one source."""
    return [{"from": [{"source": source}]}]


def ports(*numbers: str) -> Object:
    return {"toPorts": [{"ports": [{"port": one, "protocol": "TCP"} for one in numbers]}]}


def _fold(version: str, kind: str, spec: Object, match: Match, means: str, space: str) -> FoldSpec:
    manifest = {"apiVersion": version, "kind": kind, "metadata": {"name": "deny-one", "namespace": space}}
    whole = manifest | {"spec": copy.deepcopy(spec)}
    return FoldSpec(FoldKind.RECONFIGURE_NETWORK, f"host/{match.source}", "drop", match, manifest=whole, means=means)


WEB = Match(source="203.0.113.0/24", destination_port=443, protocol=6)
FROM = [{"cidr": "203.0.113.9/32"}]
REPORTS = {"matchLabels": {"k8s:app": "reports", "k8s:io.kubernetes.pod.namespace": "shop"}}
ELSEWHERE = {"key": "io.kubernetes.pod.namespace", "operator": "NotIn", "values": ["none"]}
SOUND: dict[str, Callable[[], FoldSpec]] = {
    "addresses outside": cilium,
    "a port": lambda: cilium(WEB, ingressDeny=[{"fromCIDRSet": FROM, **ports("443")}]),
    "what it may not send to": lambda: cilium(ingressDeny=[], egressDeny=[{"toCIDR": ["203.0.113.9/32"]}]),
    "a pod by its labels": lambda: cilium(PEER, ingressDeny=[{"fromEndpoints": [{"matchLabels": {"app": "reports"}}]}]),
    "a pod by its labels and namespace": lambda: cilium(PEER, ingressDeny=[{"fromEndpoints": [REPORTS]}]),
    "a principal": mesh,
    "addresses at the proxy": lambda: mesh(OUTSIDE, rules=of(ipBlocks=["203.0.113.9"])),
    "a whole namespace that the match holds": lambda: mesh(
        Match(source="10.244.1.0/24"), rules=of(namespaces=["shop"])
    ),
    "failing endpoints": eject,
    "a short host": lambda: eject(more={"host": "cart"}),
}
REFUSED: dict[str, Callable[[], FoldSpec]] = {
    "it only denies": lambda: cilium(ingress=[{"fromEntities": ["all"]}]),
    "without enableDefaultDeny": lambda: cilium(enableDefaultDeny={"ingress": True}),
    "denies nothing": lambda: cilium(ingressDeny=[]),
    "would cut 203.0.112.0/23": lambda: cilium(ingressDeny=[{"fromCIDR": ["203.0.112.0/23"]}]),
    "names peers by": lambda: cilium(ingressDeny=[{"fromEntities": ["world"]}]),
    "and toPorts; nothing else": lambda: cilium(ingressDeny=[{"fromCIDRSet": FROM, "icmps": []}]),
    "without any is everybody": lambda: cilium(PEER, ingressDeny=[{"fromEndpoints": [{}]}]),
    "is also pod shop/reports-0": lambda: cilium(
        Match(source="10.244.1.8"), ingressDeny=[{"fromEndpoints": [{"matchLabels": {"app": "reports"}}]}]
    ),
    "is no pod that runs": lambda: cilium(PEER, ingressDeny=[{"fromEndpoints": [{"matchLabels": {"app": "none"}}]}]),
    "a label of Cilium's own": lambda: cilium(
        endpointSelector={"matchLabels": {"k8s:io.cilium.k8s.policy.serviceaccount": "cart"}}
    ),
    "io.kubernetes.pod.namespace is a label of Cilium's own": lambda: cilium(
        PEER, ingressDeny=[{"fromEndpoints": [{"matchExpressions": [ELSEWHERE]}]}]
    ),
    "'shop/pods?x=' is no name": lambda: mesh(rules=of(namespaces=["shop/pods?x="])),
    "'shop?' is no name": lambda: mesh(rules=of(principals=["cluster.local/ns/shop?/sa/reports"])),
    "none of Kubernetes": lambda: cilium(endpointSelector={"matchLabels": {"reserved:host": ""}}),
    "denies others too; name it in toPorts": lambda: cilium(WEB, ingressDeny=[{"fromCIDRSet": FROM, **ports("80")}]),
    "knows no source ports": lambda: cilium(Match(source="203.0.113.0/24", source_port=53)),
    "namespace kube-system is protected": lambda: cilium(space="kube-system"),
    "action DENY": lambda: mesh(action="ALLOW"),
    "without any it is for everybody": lambda: mesh(selector={"matchLabels": {}}),
    "is for the whole mesh": lambda: mesh(space="istio-system"),
    "give it rules": lambda: mesh(rules=[]),
    "has from, and to with ports": lambda: mesh(rules=[{}]),
    "a source is named by": lambda: mesh(rules=of(notNamespaces=["shop"])),
    "would cut 198.51.100.7": lambda: mesh(OUTSIDE, rules=of(ipBlocks=["198.51.100.7"])),
    "write it in full": lambda: mesh(rules=of(principals=["*"])),
    "also pod shop/cart-0": lambda: mesh(rules=of(namespaces=["shop"])),
    "denies others too; name it in to.ports": lambda: mesh(Match(source="10.244.1.9", destination_port=80)),
    "is not 1 to 50": lambda: eject(maxEjectionPercent=51),
    "of 2 to 1000": lambda: eject(consecutive5xxErrors=1),
    "is not 1s to 300s": lambda: eject(interval="10m"),
    "nothing that a fold sets": lambda: eject(failOpen=True),
    "nothing else": lambda: eject(more={"subsets": []}),
    "is not for cart.shop.svc.cluster.local": lambda: eject(more={"host": "*.local"}),
}
