"""ISOLATE_POD: a pod that talks to nobody, and that no Service leads to, while everything else of it stays.

Called by the table in `kinds`. In: a scene and a fold. Out: first its packets cut on its own link by the node's agent,
at once and whatever the network plugin does; then a deny-all NetworkPolicy for the quarantine label, and the pod's
labels: that one on, and those off by which Services and opening policies choose it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from loomidi.contracts import FoldSpec
from loomidi.ionic.act.kube.changes import Change
from loomidi.ionic.act.kube.creates import Create
from loomidi.ionic.act.kube.cuts import cut_pod
from loomidi.ionic.act.kube.edits import Edit
from loomidi.ionic.act.kube.fields import Field
from loomidi.ionic.act.kube.scenes import Scene, controller
from loomidi.ionic.act.kube.selectors import matches, needed
from loomidi.ionic.decide.manifests import MANAGER, QUARANTINE
from loomidi.ionic.errors import NotActing

POLICIES = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies"
_OWNERS = {"ReplicaSet": "replicasets", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}
Choosers = list[tuple[str, Mapping[str, Any]]]  # what chooses pods, in words, and its selector


def isolate(scene: Scene, fold: FoldSpec) -> list[Change]:
    """Steps, in this order:

    1 the pod may be touched, is the one that is meant, and can be spared   2 the policy denies all, to it alone
    3 the labels that have to go are found, and going without them suffices   4 the cut comes first
    """
    # 1 the pod
    path, pod = scene.pod(fold)
    _meant(pod, fold)
    scene.spare_budgets(pod)
    # 2 the policy
    namespace, labels = pod["metadata"]["namespace"], dict(pod["metadata"].get("labels") or {})
    policy = _policy(fold, pod)
    marked = policy["spec"]["podSelector"]["matchLabels"][QUARANTINE]
    _fresh(scene, namespace, policy, marked)
    # 3 the labels
    choosers = _choosers(scene, namespace)
    gone = _removed(_choosing(choosers, labels), _owned_by(scene, pod))
    after = {key: text for key, text in labels.items() if key not in gone} | {QUARANTINE: marked}
    _detached(_choosing(choosers, after))
    fields = [Field(("metadata", "labels", key), labels[key], None) for key in sorted(gone)]
    fields.append(Field(("metadata", "labels", QUARANTINE), None, marked))
    # 4 the cut first
    cuts = cut_pod(scene.agents, pod, fold, scene.at_ns)
    return [*cuts, Create(POLICIES.format(namespace), policy), Edit(path, pod["metadata"]["uid"], tuple(fields))]


def _meant(pod: Mapping[str, Any], fold: FoldSpec) -> None:
    name = f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
    noted = fold.manifest.get("metadata", {}).get("annotations", {}).get("loomidi.io/pod-uid", "")
    if noted and noted != pod["metadata"]["uid"]:
        raise NotActing(f"{name} is another one than the finding was about (uid {noted}); decide again")
    if pod["spec"].get("hostNetwork"):
        raise NotActing(f"{name} uses its node's network, which no NetworkPolicy cuts; use the shield, or EVICT")
    if QUARANTINE in (pod["metadata"].get("labels") or {}):
        raise NotActing(f"{name} is in quarantine already")


def _policy(fold: FoldSpec, pod: Mapping[str, Any]) -> dict[str, Any]:
    """The fold's manifest when it has one, else one for the pod's uid."""
    uid, namespace = pod["metadata"]["uid"], pod["metadata"]["namespace"]
    if not fold.manifest:
        spec = {"podSelector": {"matchLabels": {QUARANTINE: uid}}, "policyTypes": ["Ingress", "Egress"]}
        named = {"name": f"loomidi-isolate-{uid}", "namespace": namespace, "labels": dict(MANAGER)}
        return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": named, "spec": spec}
    policy = dict(fold.manifest)
    spec = policy.get("spec", {})
    chosen = spec.get("podSelector", {})
    sound = (
        policy.get("kind") == "NetworkPolicy"
        and policy["metadata"].get("namespace") == namespace
        and list(chosen) == ["matchLabels"]
        and list(chosen["matchLabels"]) == [QUARANTINE]
        and set(spec.get("policyTypes", ())) == {"Ingress", "Egress"}
        and not spec.get("ingress")
        and not spec.get("egress")
    )
    if not sound:
        raise NotActing(f"the manifest is no deny-all NetworkPolicy of {namespace} for label {QUARANTINE} alone")
    return policy


def _fresh(scene: Scene, namespace: str, policy: Mapping[str, Any], marked: str) -> None:
    """Neither the policy's name nor its mark is in use."""
    name = policy["metadata"]["name"]
    if scene.api.get(f"{POLICIES.format(namespace)}/{name}") is not None:
        raise NotActing(f"NetworkPolicy {namespace}/{name} is there already; release the plan that made it")
    others = scene.api.items(f"/api/v1/namespaces/{namespace}/pods", f"{QUARANTINE}={marked}")
    if names := ", ".join(one["metadata"]["name"] for one in others):
        raise NotActing(f"label {QUARANTINE}={marked} is on {names} already; use another mark")


def _choosers(scene: Scene, namespace: str) -> Choosers:
    """Services that lead to pods, and policies that let something through to or from pods."""
    found: Choosers = []
    for service in scene.api.items(f"/api/v1/namespaces/{namespace}/services"):
        if chosen := service["spec"].get("selector"):
            found.append((f"Service {namespace}/{service['metadata']['name']}", {"matchLabels": chosen}))
    for policy in scene.api.items(POLICIES.format(namespace)):
        if policy["spec"].get("ingress") or policy["spec"].get("egress"):
            name = f"NetworkPolicy {namespace}/{policy['metadata']['name']}"
            found.append((name, policy["spec"].get("podSelector") or {}))
    return found


def _choosing(choosers: Choosers, labels: Mapping[str, str]) -> Choosers:
    """Those that choose a pod with these labels."""
    return [(name, chosen) for name, chosen in choosers if matches(chosen, labels)]


def _removed(choosers: Choosers, owned: set[str]) -> set[str]:
    """One label for each that chooses the pod; rather one by which its owner does not know it."""
    gone: set[str] = set()
    for _, chosen in choosers:
        keys = needed(chosen)
        if keys and not keys & gone:
            gone.add(min(keys, key=lambda key: (key in owned, key)))
    return gone


def _detached(still: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    if names := ", ".join(name for name, _ in still):
        raise NotActing(f"no label that could go detaches the pod from {names}; cut it off by the shield")


def _owned_by(scene: Scene, pod: Mapping[str, Any]) -> set[str]:
    """Labels by which its controller knows it: without one of them it makes another pod."""
    owner = controller(pod)
    if owner is None or owner["kind"] not in _OWNERS:
        return set()
    place = f"/apis/apps/v1/namespaces/{pod['metadata']['namespace']}/{_OWNERS[owner['kind']]}/{owner['name']}"
    live = scene.api.get(place)
    return needed(live["spec"]["selector"]) if live is not None else set()
