"""Istio: an AuthorizationPolicy that denies a peer at the pods' proxies, a DestinationRule that ejects endpoints.

Called by `networks`. In: a scene, a fold, what it denies. Out: the objects, or NotActing. The proxies enforce both, so
a deny for pods without one is refused: it would hold nobody. What another DestinationRule says of the same host is left
to it: two for one host do not add up, and a merged one would be fought over by whoever keeps it.
"""

import re
from collections.abc import Mapping
from typing import Any

from loomidi.contracts import FoldSpec
from loomidi.ionic.act.kube.api import Object
from loomidi.ionic.act.kube.denials import Denial, pods_of, pods_within_match, sayable, within_match
from loomidi.ionic.act.kube.scenes import Scene
from loomidi.ionic.decide.places import place
from loomidi.ionic.errors import NotActing

DENY_GROUP, DENY_PLURAL, DENY_KIND = "security.istio.io/v1", "authorizationpolicies", "AuthorizationPolicy"
RULE_GROUP, RULE_PLURAL, RULE_KIND = "networking.istio.io/v1", "destinationrules", "DestinationRule"
_PRINCIPAL = re.compile(r"(?P<domain>[^/*]+)/ns/(?P<space>[^/*]+)/sa/(?P<account>[^/*]+)")
_BLOCKS = ("ipBlocks", "remoteIpBlocks")
_TCP = 6
MOST_EJECTED = 50  # percent of the endpoints
LEAST_READY = 2  # endpoints: a proxy ejects the last one too, whatever the percentage
_COUNTS = ("consecutive5xxErrors", "consecutiveGatewayErrors", "consecutiveLocalOriginFailures")
_SPANS_S = {"interval": (1.0, 300.0), "baseEjectionTime": (1.0, 900.0)}
_OTHERS = {"maxEjectionPercent", "minHealthPercent", "splitExternalLocalOriginErrors"}
_FEWEST, _MOST = 2, 1000  # errors in a row: one alone happens to everybody
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def denies(scene: Scene) -> bool:
    """Whether the cluster has Istio's AuthorizationPolicy."""
    return DENY_PLURAL in scene.api.offers(DENY_GROUP)


def ejects(scene: Scene) -> bool:
    """Whether the cluster has Istio's DestinationRule."""
    return RULE_PLURAL in scene.api.offers(RULE_GROUP)


def written(denied: Denial) -> Object:
    """The AuthorizationPolicy that says it. Raises NotActing where none would."""
    if denied.direction != "ingress":
        raise NotActing(f"an {DENY_KIND} judges what comes in; leave means out, or choose another")
    if denied.protocol not in (0, _TCP):
        raise NotActing(f"a mesh carries TCP, not protocol {denied.protocol}; leave means out, or choose another")
    rule: Object = {"from": [{"source": {"ipBlocks": [denied.source]}}]}
    if denied.port:
        rule["to"] = [{"operation": {"ports": [str(denied.port)]}}]
    spec = {"selector": dict(denied.selector), "action": "DENY", "rules": [rule]}
    return {"apiVersion": DENY_GROUP, "kind": DENY_KIND, "metadata": denied.named, "spec": spec}


def judged(scene: Scene, fold: FoldSpec, policy: Mapping[str, Any], chosen: list[Object]) -> None:
    """Raises NotActing unless it denies at proxies that are there, and nobody whom the fold's match does not name."""
    spec = policy.get("spec") or {}
    if set(spec) != {"selector", "action", "rules"} or spec["action"] != "DENY":
        raise NotActing(f"an {DENY_KIND} of a fold has selector, action DENY and rules; nothing else")
    if list(spec["selector"]) != ["matchLabels"] or not spec["selector"]["matchLabels"]:
        raise NotActing(f"an {DENY_KIND} of a fold chooses its pods by matchLabels; without any it is for everybody")
    if policy["metadata"].get("namespace") == scene.settings.mesh_namespace:
        raise NotActing(f"in {scene.settings.mesh_namespace} an {DENY_KIND} is for the whole mesh; name another one")
    if not any(map(in_mesh, chosen)):
        raise NotActing("none of the pods that it chooses is in a mesh, so nothing would enforce it; leave means out")
    sayable(fold.match, chosen, f"the {DENY_KIND}")
    if not spec["rules"]:
        raise NotActing(f"the {DENY_KIND} denies nothing; give it rules")
    for rule in spec["rules"]:
        _rule_judged(scene, fold, rule)


def in_mesh(pod: Mapping[str, Any]) -> bool:
    """Whether it has a proxy of its own, or a ztunnel takes what is sent to it."""
    spec = pod["spec"]
    names = {one["name"] for one in [*spec["containers"], *(spec.get("initContainers") or ())]}
    notes = pod["metadata"].get("annotations") or {}
    return "istio-proxy" in names or notes.get("ambient.istio.io/redirection") == "enabled"


def ejecting(scene: Scene, fold: FoldSpec) -> None:
    """Steps, in this order. Raises NotActing at the first that does not hold:

    1 the service is there and may be touched   2 the rule is for it, and ejects within bounds   3 enough is left
    4 no other rule speaks of the host
    """
    # 1 the service
    there, rule = place(fold.target), fold.manifest
    namespace, what = there.namespace, f"service {there.namespace}/{there.name}"
    if there.kind != "service" or there.address or not there.name:
        raise NotActing(f"{fold.target} names no service; give service/NAMESPACE/NAME")
    service = scene.free(f"/api/v1/namespaces/{namespace}/services/{there.name}", what, namespace)
    chosen = service["spec"].get("selector")
    if not chosen or service["spec"].get("clusterIP") == "None":
        raise NotActing(f"{what} has no endpoints that a proxy balances over (no selector, or headless)")
    # 2 the rule
    host = _host(there.name, namespace, scene)
    spec, of = rule.get("spec") or {}, rule["metadata"].get("namespace", "default")
    if of != namespace or _host(str(spec.get("host", "")), of, scene) != host:
        raise NotActing(f"the {RULE_KIND} is not for {host} in namespace {namespace}; set its namespace and spec.host")
    _within_bounds(spec)
    # 3 enough is left
    labels = ",".join(f"{key}={text}" for key, text in chosen.items())
    pods = scene.api.items(f"/api/v1/namespaces/{namespace}/pods", labels)
    if (ready := sum(map(_ready, pods))) < LEAST_READY:
        raise NotActing(f"{what} has {ready} ready pods, and one has to be left; add replicas first")
    # 4 other rules
    _alone(scene, host)


def _rule_judged(scene: Scene, fold: FoldSpec, rule: Mapping[str, Any]) -> None:
    sources = [one.get("source") or {} for one in rule.get("from") or ()]
    operations = [one.get("operation") or {} for one in rule.get("to") or ()]
    if set(rule) - {"from", "to"} or not sources or any(set(one) != {"ports"} for one in operations):
        raise NotActing(f"a rule of the {DENY_KIND} has from, and to with ports; nothing else")
    for source in sources:
        if set(source) - {"principals", "namespaces", *_BLOCKS} or not all(source.values()) or not source:
            raise NotActing(f"a source is named by principals, namespaces, {' or '.join(_BLOCKS)}; nothing else")
        _source_judged(scene, fold, source)
    port = fold.match.destination_port
    if port and (not operations or any(set(one["ports"]) != {str(port)} for one in operations)):
        raise NotActing(f"the match names port {port} and the {DENY_KIND} denies others too; name it in to.ports")


def _source_judged(scene: Scene, fold: FoldSpec, source: Mapping[str, Any]) -> None:
    """Its parts must all hold of a caller, so one that the match holds is enough: addresses, else who has the name."""
    if blocks := [one for key in _BLOCKS for one in source.get(key) or ()]:
        within_match(fold.match, blocks, f"the {DENY_KIND}")
        return
    for principal in source.get("principals") or ():
        found = _PRINCIPAL.fullmatch(principal)
        if found is None:
            raise NotActing(f"principal {principal} is not DOMAIN/ns/NAMESPACE/sa/ACCOUNT; write it in full")
        pods = pods_of(scene, found["space"])
        own = [pod for pod in pods if pod["spec"].get("serviceAccountName", "default") == found["account"]]
        pods_within_match(scene, fold.match, own, f"principal {principal}")
    for namespace in source.get("namespaces") or () if "principals" not in source else ():
        pods_within_match(scene, fold.match, pods_of(scene, namespace), f"namespace {namespace}")


def _within_bounds(spec: Mapping[str, Any]) -> None:
    """Raises NotActing for a rule that does more than eject, or ejects more than half."""
    policy = spec.get("trafficPolicy") or {}
    if set(spec) - {"host", "trafficPolicy", "exportTo"} or set(policy) != {"outlierDetection"}:
        raise NotActing(f"a {RULE_KIND} of a fold has host and trafficPolicy.outlierDetection; nothing else")
    detection = policy["outlierDetection"] or {}
    if unknown := sorted(set(detection) - {*_COUNTS, *_SPANS_S, *_OTHERS}):
        raise NotActing(f"outlierDetection.{unknown[0]} is nothing that a fold sets; remove it")
    if not 1 <= (most := _whole(detection.get("maxEjectionPercent"))) <= MOST_EJECTED:
        raise NotActing(f"maxEjectionPercent {most} is not 1 to {MOST_EJECTED}; half of the endpoints stay at least")
    counts = {name: _whole(detection[name]) for name in _COUNTS if name in detection}
    wrong = [name for name, count in counts.items() if not _FEWEST <= count <= _MOST]
    if wrong or not counts:
        raise NotActing(f"outlierDetection takes {', '.join(wrong or _COUNTS)} of {_FEWEST} to {_MOST}")
    for name, (least_s, most_s) in _SPANS_S.items():
        if name in detection and not least_s <= _seconds(str(detection[name])) <= most_s:
            raise NotActing(f"outlierDetection.{name} {detection[name]} is not {least_s:g}s to {most_s:g}s")


def _alone(scene: Scene, host: str) -> None:
    """Raises NotActing when another rule speaks of the host, by its name or by a wildcard."""
    for other in scene.api.items(f"/apis/{RULE_GROUP}/{RULE_PLURAL}"):
        namespace, name = other["metadata"]["namespace"], other["metadata"]["name"]
        said = _host(str(other["spec"].get("host", "")), namespace, scene)
        if said == host or (said.startswith("*") and host.endswith(said[1:])):
            raise NotActing(
                f"{RULE_KIND} {namespace}/{name} speaks of {host} already, and two do not add up; add"
                " outlierDetection there, or release the plan that made it"
            )


def _host(name: str, namespace: str, scene: Scene) -> str:
    """In full, as Istio reads it in a namespace."""
    domain = scene.settings.cluster_domain
    if name.startswith("*") or name.endswith(f".svc.{domain}") or not name:
        return name
    parts = name.split(".")
    ends = {1: f".{namespace}.svc.{domain}", 2: f".svc.{domain}"} | ({3: f".{domain}"} if parts[-1] == "svc" else {})
    return name + ends.get(len(parts), "")


def _ready(pod: Mapping[str, Any]) -> bool:
    told = pod.get("status", {}).get("conditions") or ()
    return "deletionTimestamp" not in pod["metadata"] and any(
        one["type"] == "Ready" and one["status"] == "True" for one in told
    )


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _seconds(text: str) -> float:
    """Such as 30s; below 0 for what is no time."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    return float(found[1]) * _UNITS[found[2]] if found else -1.0
