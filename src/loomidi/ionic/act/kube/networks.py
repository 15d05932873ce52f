"""RECONFIGURE_NETWORK: by what a source is denied or slowed down, and the objects that say it.

Called by the table in `kinds`. In: a scene and a fold by `drop`, `rate` or `eject`. Out: an order for the agent of each
node (of the one node that is the target), and one new object. Which object that is the fold says, by its `means` or by
what it carries; else a deny is Cilium's where Cilium runs, and a NetworkPolicy elsewhere. A rate is the agents' alone,
an ejection Istio's. Policies add up, so a NetworkPolicy that lets anything through beside a stricter one is refused.
"""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from types import MappingProxyType
from typing import Any

from loomidi.contracts import FoldSpec
from loomidi.ionic.act.kube import ciliums, meshes
from loomidi.ionic.act.kube.api import Object
from loomidi.ionic.act.kube.changes import Change
from loomidi.ionic.act.kube.creates import Create
from loomidi.ionic.act.kube.cuts import Cut, deny_source
from loomidi.ionic.act.kube.denials import denial
from loomidi.ionic.act.kube.isolating import POLICIES
from loomidi.ionic.act.kube.scenes import Scene
from loomidi.ionic.act.kube.selectors import matches, query
from loomidi.ionic.decide.places import address, place
from loomidi.ionic.errors import NotActing

AGENT, POLICY, CILIUM, ISTIO = "agent", "networkpolicy", "cilium", "istio"
_KINDS: Mapping[str, tuple[str, str]] = MappingProxyType(  # means -> version and kind of the object that denies
    {
        POLICY: ("networking.k8s.io/v1", "NetworkPolicy"),
        CILIUM: (ciliums.GROUP, ciliums.KIND),
        ISTIO: (meshes.DENY_GROUP, meshes.DENY_KIND),
    }
)
_COLLECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "NetworkPolicy": POLICIES,
        ciliums.KIND: ciliums.POLICIES,
        meshes.DENY_KIND: f"/apis/{meshes.DENY_GROUP}/namespaces/{{}}/{meshes.DENY_PLURAL}",
        meshes.RULE_KIND: f"/apis/{meshes.RULE_GROUP}/namespaces/{{}}/{meshes.RULE_PLURAL}",
    }
)


def reconfigure(scene: Scene, fold: FoldSpec) -> list[Change]:
    """Steps, in this order:

    0 what the nodes' agents can do, at once   1 the object that says the rest, and that the cluster has it
    2 its namespace and name are free to use   3 no pod that it chooses is protected, or opened, or cut by too much
    4 the API takes it (a dry run)
    """
    # 0 the agents
    cuts = _denied(scene, fold) if fold.means in ("", AGENT) else []
    if fold.means == AGENT and not cuts:
        raise NotActing("means agent: no agents are here, or the match says more than a source; leave means out")
    if cuts and (fold.action == "rate" or fold.means == AGENT or not fold.manifest):
        return [*cuts]
    # 1 the object
    written = _written(scene, fold)
    # 2 namespace and name
    namespace, name = written["metadata"].get("namespace", "default"), written["metadata"]["name"]
    scene.spare_namespace(namespace)
    path = _COLLECTIONS[written["kind"]].format(namespace)
    if scene.api.get(f"{path}/{name}") is not None:
        raise NotActing(f"{written['kind']} {namespace}/{name} is there already; release the plan that made it")
    # 3 the pods
    _judged(scene, fold, written, namespace)
    # 4 the API takes it
    stored = scene.api.create(path, written, dry_run=True)
    if written["kind"] != "NetworkPolicy" and stored.get("spec") != written["spec"]:
        raise NotActing(
            f"the API would store another {written['kind']} than was judged: its definition is of a version"
            " that lacks a field (enableDefaultDeny takes Cilium 1.16); update it, or use another means"
        )
    return [*cuts, Create(path, written)]


def told(fold: FoldSpec, changes: Sequence[Change]) -> str:
    """By what it is carried out, and who chose that, in words."""
    made = [one for one in changes if isinstance(one, Create)]
    words = [f"the agents of {len(cuts)} nodes"] if (cuts := [one for one in changes if isinstance(one, Cut)]) else []
    for one in made:
        metadata, kind = one.body["metadata"], one.body["kind"]
        words.append(f"{kind} {metadata.get('namespace', 'default')}/{metadata['name']} ({_why(fold, kind)})")
    return f"by {' and '.join(words)}" if words else ""


def _why(fold: FoldSpec, kind: str) -> str:
    if fold.means:
        return f"means {fold.means} was asked for"
    if kind != "NetworkPolicy":
        return "the fold carries it" if fold.manifest.get("kind") == kind else "Cilium runs here"
    return "Cilium does not run here" if denial(fold) else "it says more than one denied source"


def _written(scene: Scene, fold: FoldSpec) -> Object:
    """The object of the means that the fold asks for, or that is chosen. Raises NotActing when the cluster lacks it."""
    manifest = dict(fold.manifest)
    given = (manifest.get("apiVersion"), manifest.get("kind"))
    if fold.action == "eject":
        _there(ISTIO, meshes.ejects(scene), meshes.RULE_KIND)
        if given != (meshes.RULE_GROUP, meshes.RULE_KIND):
            raise NotActing(f"the fold carries no {meshes.RULE_KIND} of {meshes.RULE_GROUP}; give one as its manifest")
        return manifest
    if fold.action != "drop":
        raise NotActing(f"a NetworkPolicy cannot {fold.action}: it would block what it should let through in part")
    carried = next((means for means, kind in _KINDS.items() if kind == given), "")
    if not carried:
        raise NotActing("the fold carries no NetworkPolicy of networking.k8s.io/v1; give one as its manifest")
    if carried != POLICY and fold.means not in ("", carried):
        raise NotActing(f"means {fold.means} was asked for, and the fold carries a {given[1]}; change one of them")
    means = fold.means or (carried if carried != POLICY else "")
    _there(CILIUM, means != CILIUM or ciliums.runs(scene), ciliums.KIND)
    _there(ISTIO, means != ISTIO or meshes.denies(scene), meshes.DENY_KIND)
    denied = denial(fold) if carried == POLICY else None
    if means in (CILIUM, ISTIO) and carried == POLICY:
        if denied is None:
            raise NotActing(
                f"its NetworkPolicy is more than one denied source; give a {_KINDS[means][1]} as the manifest"
            )
        return ciliums.written(scene, denied) if means == CILIUM else meshes.written(denied)
    chosen_by_us = not means and denied is not None and ciliums.runs(scene)
    return ciliums.written(scene, denied) if chosen_by_us and denied else manifest


def _there(means: str, found: bool, kind: str) -> None:
    if not found:
        lacking = "no node runs Cilium, or it" if means == CILIUM else "the cluster"
        raise NotActing(
            f"means {means}: {lacking} has no {kind}; install it, or leave means out and carry another object"
        )


def _judged(scene: Scene, fold: FoldSpec, written: Object, namespace: str) -> None:
    """Raises NotActing when a pod that it chooses is protected, or it does more than the fold's match says."""
    kind, spec = written["kind"], written.get("spec") or {}
    if kind == meshes.RULE_KIND:
        meshes.ejecting(scene, fold)
        return
    if kind == ciliums.KIND:
        chosen_by = ciliums.selector(spec)
    else:
        chosen_by = query(spec.get("podSelector" if kind == "NetworkPolicy" else "selector") or {})
    chosen = scene.api.items(f"/api/v1/namespaces/{namespace}/pods", chosen_by)
    for pod in chosen:
        scene.unprotected(pod, f"pod {namespace}/{pod['metadata']['name']}")
    if kind == "NetworkPolicy":
        _opens_nothing(scene, written, namespace, chosen)
    elif kind == ciliums.KIND:
        ciliums.judged(scene, fold, written, chosen)
    else:
        meshes.judged(scene, fold, written, chosen)


def _denied(scene: Scene, fold: FoldSpec) -> list[Cut]:
    """Orders for what an agent can say exactly: a source, and nothing else. Raises NotActing for a node's address."""
    match = fold.match
    exact = address(match.source) and not (
        match.destination or match.source_port or match.destination_port or match.protocol
    )
    if scene.agents is None or not exact or fold.action not in ("drop", "rate"):
        return []
    if fold.action == "rate" and fold.rate_pps < 1:
        raise NotActing("a rate of 0 packets per second is a drop; say drop")
    network = ip_network(address(match.source))
    nodes = scene.api.items("/api/v1/nodes")
    for node in nodes:
        for one in node.get("status", {}).get("addresses") or ():
            if one["type"] != "Hostname" and _within(one["address"], network):
                raise NotActing(f"{match.source} holds node {node['metadata']['name']}, which is protected; narrow it")
    there = place(fold.target)
    chosen = [one for one in nodes if there.kind != "node" or one["metadata"]["name"] == there.name]
    return deny_source(scene.agents, chosen, fold, scene.at_ns)


def _within(text: str, network: IPv4Network | IPv6Network) -> bool:
    try:
        return ip_address(text) in network
    except ValueError:  # a name
        return False


def _opens_nothing(scene: Scene, policy: Mapping[str, Any], namespace: str, chosen: list[Object]) -> None:
    """Raises NotActing when a pod has a policy already in a direction in which this one lets something through."""
    opened = {direction for direction in ("Ingress", "Egress") if policy["spec"].get(direction.lower())}
    for other in scene.api.items(POLICIES.format(namespace)):
        selector, spoken = other["spec"].get("podSelector") or {}, set(other["spec"].get("policyTypes") or ["Ingress"])
        met = [pod for pod in chosen if matches(selector, pod["metadata"].get("labels") or {})]
        if met and spoken & opened:
            pod, name = met[0]["metadata"]["name"], other["metadata"]["name"]
            raise NotActing(f"policies add up: beside {namespace}/{name} this one would open pod {pod}; use the shield")
