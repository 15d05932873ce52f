"""RECONFIGURE_NETWORK: a source denied or slowed down by the nodes' agents, and the NetworkPolicy of the fold.

Called by the table in `kinds`. In: a scene and a fold by `drop` or `rate`. Out: an order for the agent of each node (of
the one node that is the target), and one new object for what a policy can say. Policies add up, so one that lets
anything through beside a stricter one would open it: that is refused. A rate is the agents' alone.
"""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from loomidi.contracts import FoldSpec
from loomidi.ionic.act.kube.api import Object
from loomidi.ionic.act.kube.changes import Change
from loomidi.ionic.act.kube.creates import Create
from loomidi.ionic.act.kube.cuts import Cut, deny_source
from loomidi.ionic.act.kube.isolating import POLICIES
from loomidi.ionic.act.kube.scenes import Scene
from loomidi.ionic.act.kube.selectors import matches, query
from loomidi.ionic.decide.places import address, place
from loomidi.ionic.errors import NotActing


def reconfigure(scene: Scene, fold: FoldSpec) -> list[Change]:
    """Steps, in this order:

    0 what the nodes' agents can do, at once   1 it is a NetworkPolicy that can say what the fold says
    2 its namespace and name are free to use   3 no pod that it chooses is protected, or opened by it
    4 the API takes it (a dry run)
    """
    # 0 the agents
    denied = _denied(scene, fold)
    if denied and (fold.action == "rate" or not fold.manifest):
        return [*denied]
    # 1 what it is
    if fold.action != "drop":
        raise NotActing(f"a NetworkPolicy cannot {fold.action}: it would block what it should let through in part")
    policy = dict(fold.manifest)
    if (policy.get("apiVersion"), policy.get("kind")) != ("networking.k8s.io/v1", "NetworkPolicy"):
        raise NotActing("the fold carries no NetworkPolicy of networking.k8s.io/v1; give one as its manifest")
    # 2 namespace and name
    namespace, name = policy["metadata"].get("namespace", "default"), policy["metadata"]["name"]
    scene.spare_namespace(namespace)
    if scene.api.get(f"{POLICIES.format(namespace)}/{name}") is not None:
        raise NotActing(f"NetworkPolicy {namespace}/{name} is there already; release the plan that made it")
    # 3 the pods
    chosen = scene.api.items(f"/api/v1/namespaces/{namespace}/pods", query(policy["spec"].get("podSelector") or {}))
    for pod in chosen:
        scene.unprotected(pod, f"pod {namespace}/{pod['metadata']['name']}")
    _opens_nothing(scene, policy, namespace, chosen)
    # 4 the API takes it
    scene.api.create(POLICIES.format(namespace), policy, dry_run=True)
    return [*denied, Create(POLICIES.format(namespace), policy)]


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
