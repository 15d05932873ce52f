"""RECONFIGURE_NETWORK: the NetworkPolicy that the fold carries, made as it was approved.

Called by the table in `kinds`. In: a scene and a fold by `drop`. Out: one new object. Policies add up, so one that
lets anything through beside a stricter one would open it: that is refused. Rates are left to the shield.
"""

from collections.abc import Mapping
from typing import Any

from loomidi.contracts import FoldSpec
from loomidi.ionic.act.kube.api import Object
from loomidi.ionic.act.kube.changes import Change
from loomidi.ionic.act.kube.creates import Create
from loomidi.ionic.act.kube.isolating import POLICIES
from loomidi.ionic.act.kube.scenes import Scene
from loomidi.ionic.act.kube.selectors import matches, query
from loomidi.ionic.errors import NotActing


def reconfigure(scene: Scene, fold: FoldSpec) -> list[Change]:
    """Steps, in this order:

    1 it is a NetworkPolicy that can say what the fold says   2 its namespace and name are free to use
    3 no pod that it chooses is protected, or opened by it   4 the API takes it (a dry run)
    """
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
    return [Create(POLICIES.format(namespace), policy)]


def _opens_nothing(scene: Scene, policy: Mapping[str, Any], namespace: str, chosen: list[Object]) -> None:
    """Raises NotActing when a pod has a policy already in a direction in which this one lets something through."""
    opened = {direction for direction in ("Ingress", "Egress") if policy["spec"].get(direction.lower())}
    for other in scene.api.items(POLICIES.format(namespace)):
        selector, spoken = other["spec"].get("podSelector") or {}, set(other["spec"].get("policyTypes") or ["Ingress"])
        met = [pod for pod in chosen if matches(selector, pod["metadata"].get("labels") or {})]
        if met and spoken & opened:
            pod, name = met[0]["metadata"]["name"], other["metadata"]["name"]
            raise NotActing(f"policies add up: beside {namespace}/{name} this one would open pod {pod}; use the shield")
