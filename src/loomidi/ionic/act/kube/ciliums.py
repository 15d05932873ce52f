"""CiliumNetworkPolicy: a deny that lets nothing through and leaves everybody else as they are.

Called by `networks`. In: a scene, a fold, what it denies. Out: the object, or NotActing. A NetworkPolicy denies one
address only by allowing all others, and Cilium takes `ipBlock` to mean addresses outside the cluster, so that one would
cut off the pods of other namespaces; `ingressDeny` and `egressDeny` with `enableDefaultDeny: false` say what is meant.
"""

from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any

from loomidi.contracts import FoldSpec
from loomidi.ionic.act.kube.api import Object
from loomidi.ionic.act.kube.denials import PORT_NAMES, Denial, pods_of, pods_within_match, sayable, within_match
from loomidi.ionic.act.kube.scenes import Scene
from loomidi.ionic.act.kube.selectors import query
from loomidi.ionic.errors import NotActing

GROUP, PLURAL, KIND = "cilium.io/v2", "ciliumnetworkpolicies", "CiliumNetworkPolicy"
POLICIES = f"/apis/{GROUP}/namespaces/{{}}/{PLURAL}"
_SIDES = {"ingressDeny": "from", "egressDeny": "to"}
_SPACE = "io.kubernetes.pod.namespace"  # Cilium's label for where a pod is
_OPENS_NOTHING = {"ingress": False, "egress": False}


def runs(scene: Scene) -> bool:
    """Whether the cluster has the resource, and a node on which Cilium enforces it."""
    return PLURAL in scene.api.offers(GROUP) and next(_nodes(scene), None) is not None


def outside(scene: Scene, source: str) -> bool:
    """Whether the CIDR is none of Cilium's own: it knows pods and nodes by what they are, never by their address."""
    network = ip_network(source)
    for node in _nodes(scene):
        spec = node.get("spec") or {}
        pods = [ip_network(one, strict=False) for one in (spec.get("ipam") or {}).get("podCIDRs") or ()]
        own = [ip_network(one["ip"]) for one in spec.get("addresses") or ()]
        if any(one.version == network.version and one.overlaps(network) for one in [*pods, *own]):
            return False
    return True


def written(scene: Scene, denied: Denial) -> Object:
    """The policy that says it. Raises NotActing where no policy of Cilium would."""
    if not outside(scene, denied.source):
        raise NotActing(
            f"{denied.source} is inside the cluster, where Cilium looks at labels, not at addresses: isolate the pod,"
            f" or give a {KIND} with {_SIDES[f'{denied.direction}Deny']}Endpoints as the manifest"
        )
    if denied.protocol and (denied.protocol not in PORT_NAMES or not denied.port):
        raise NotActing(f"protocol {denied.protocol} without a port is nothing that is denied here; leave it out")
    peer: Object = {f"{_SIDES[f'{denied.direction}Deny']}CIDRSet": [{"cidr": denied.source}]}
    if denied.port:
        port = {"port": str(denied.port), "protocol": PORT_NAMES.get(denied.protocol, "ANY")}
        peer["toPorts"] = [{"ports": [port]}]
    spec = {
        "endpointSelector": dict(denied.selector),
        "enableDefaultDeny": dict(_OPENS_NOTHING),
        f"{denied.direction}Deny": [peer],
    }
    return {"apiVersion": GROUP, "kind": KIND, "metadata": denied.named, "spec": spec}


def judged(scene: Scene, fold: FoldSpec, policy: Mapping[str, Any], chosen: list[Object]) -> None:
    """Raises NotActing unless it only denies, and nobody whom the fold's match does not name."""
    spec = policy.get("spec") or {}
    rules = [(side, rule) for key, side in _SIDES.items() for rule in spec.get(key) or ()]
    known = {"endpointSelector", "enableDefaultDeny", "description", *_SIDES}
    if set(spec) - known or "endpointSelector" not in spec or "specs" in policy:
        raise NotActing(f"a {KIND} of a fold has endpointSelector, {' and '.join(_SIDES)}; it only denies")
    if spec.get("enableDefaultDeny") != _OPENS_NOTHING:
        raise NotActing("without enableDefaultDeny: {ingress: false, egress: false} it would deny everybody else too")
    if not rules:
        raise NotActing(f"the {KIND} denies nothing; give it an ingressDeny or egressDeny")
    sayable(fold.match, chosen, f"the {KIND}")
    namespace = str(policy["metadata"].get("namespace", "default"))
    for side, rule in rules:
        _rule_judged(scene, fold, namespace, side, rule)


def selector(spec: Mapping[str, Any]) -> str:
    """The pods that it is for, as the API takes it. Raises NotActing for labels that only Cilium sees on a pod."""
    return _query(_plain(spec.get("endpointSelector") or {}))


def _rule_judged(scene: Scene, fold: FoldSpec, namespace: str, side: str, rule: Mapping[str, Any]) -> None:
    peers = {f"{side}CIDR", f"{side}CIDRSet", f"{side}Endpoints"}
    if set(rule) - peers - {"toPorts"} or not any(rule.get(one) for one in peers):
        raise NotActing(f"a deny of a fold names peers by {', '.join(sorted(peers))}, and toPorts; nothing else")
    cidrs = [*(rule.get(f"{side}CIDR") or ()), *(one.get("cidr", "") for one in rule.get(f"{side}CIDRSet") or ())]
    within_match(fold.match, cidrs, f"the {KIND}")
    if inside := [one for one in cidrs if not outside(scene, one)]:
        raise NotActing(f"{inside[0]} is inside the cluster, where Cilium looks at labels; use {side}Endpoints")
    for peer in rule.get(f"{side}Endpoints") or ():
        plain = _plain(peer)
        space = plain["matchLabels"].pop(_SPACE, namespace)
        if not (chosen := _query(plain)):
            raise NotActing(f"a deny of a fold names pods by their labels; {side}Endpoints without any is everybody")
        pods = pods_of(scene, space, chosen)
        pods_within_match(scene, fold.match, pods, f"{side}Endpoints {chosen} in {space}")
    _ports_judged(fold, rule)


def _ports_judged(fold: FoldSpec, rule: Mapping[str, Any]) -> None:
    """No more ports than the match names."""
    port, protocol = fold.match.destination_port, fold.match.protocol
    ports = [one for group in rule.get("toPorts") or () for one in group.get("ports") or ()]
    if any(set(group) - {"ports"} for group in rule.get("toPorts") or ()):
        raise NotActing("toPorts of a deny has ports alone")
    said = {(one.get("port", ""), one.get("protocol", "ANY")) for one in ports}
    if port and (not said or any(one != str(port) for one, _ in said)):
        raise NotActing(f"the match names port {port} and the {KIND} denies others too; name it in toPorts")
    if protocol and (not said or any(one != PORT_NAMES.get(protocol) for _, one in said)):
        raise NotActing(f"the match names protocol {protocol} and the {KIND} denies others too; name it in toPorts")


def _nodes(scene: Scene) -> Iterator[Object]:
    there = "ciliumnodes" in scene.api.offers(GROUP)
    return scene.api.each(f"/apis/{GROUP}/ciliumnodes") if there else iter(())


def _query(plain: Mapping[str, Any]) -> str:
    """As the API takes it: what it would not find on a pod, Cilium would, in other namespaces too."""
    keys = [*plain["matchLabels"], *(term["key"] for term in plain["matchExpressions"])]
    if hidden := [key for key in keys if key.startswith(("io.kubernetes.", "io.cilium."))]:
        raise NotActing(f"{hidden[0]} is a label of Cilium's own, so which pods it chooses is not known; use theirs")
    return query(plain)


def _plain(chosen: Mapping[str, Any]) -> Object:
    """A selector without the words for where labels come from."""
    terms = [term | {"key": _bare(term["key"])} for term in chosen.get("matchExpressions") or ()]
    return {"matchLabels": dict(_bared(chosen.get("matchLabels") or {})), "matchExpressions": terms}


def _bared(labels: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((_bare(key), text) for key, text in labels.items())


def _bare(key: str) -> str:
    source, colon, name = key.partition(":")
    if colon and source not in ("k8s", "any"):
        raise NotActing(f"label {key} is none of Kubernetes; name pods by k8s: labels")
    return name if colon else key
