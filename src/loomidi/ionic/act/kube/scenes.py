"""What a kind of fold looks at before it says what it would change, and what it must never touch.

Called by each kind's module. In: the API, settings, a fold. Out: live objects that may be touched, or NotActing with
the reason. The protected sets are looked at here and nowhere else; they win over every approval.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from loomidi.contracts import FoldSpec
from loomidi.ionic.act.kube.agents import Agents
from loomidi.ionic.act.kube.api import KubeApi, Object
from loomidi.ionic.act.kube.fields import PLAN, mark
from loomidi.ionic.act.kube.selectors import matches
from loomidi.ionic.decide.places import place
from loomidi.ionic.errors import NotActing


@dataclasses.dataclass(frozen=True, slots=True)
class KubeSettings:
    """How far the driver may go in a cluster."""

    protected_namespaces: tuple[str, ...] = ("kube-node-lease", "kube-public", "kube-system", "loomidi-system")
    # What the cluster runs on, and what we run in: never touched, whoever approves.
    protected_labels: tuple[str, ...] = ("loomidi.io/protected", "node-role.kubernetes.io/control-plane")
    # On an object or on its namespace, with any value but `false`: never touched either.
    most_added: int = 10
    # Replicas that one plan may add; what needs more needs a person.
    mesh_namespace: str = "istio-system"
    # Istio's root namespace: a policy there is for the whole mesh.
    cluster_domain: str = "cluster.local"
    # How a mesh completes the names of Services.


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """Where a kind finds what it needs."""

    api: KubeApi
    settings: KubeSettings
    at_ns: int  # epoch; when the inverse was computed
    agents: Agents | None = None  # of the nodes, where there are any

    def pod(self, fold: FoldSpec) -> tuple[str, Object]:
        """Path and object of the pod that the fold is about."""
        namespace, name = pod_name(fold)
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        pod = self.free(path, f"pod {namespace}/{name}", namespace)
        known = pod["metadata"].get("annotations", {})
        if "kubernetes.io/config.mirror" in known or str(pod["spec"].get("priorityClassName")).startswith("system-"):
            raise NotActing(f"pod {namespace}/{name} is part of the system (static, or of a system priority class)")
        if "deletionTimestamp" in pod["metadata"]:
            raise NotActing(f"pod {namespace}/{name} is ending already")
        return path, pod

    def free(self, path: str, what: str, namespace: str = "") -> Object:
        """The object, when it is there, not protected and held by no plan."""
        if namespace:
            self.spare_namespace(namespace)
        obj = self.api.get(path)
        if obj is None:
            raise NotActing(f"{what} is not there; name one that is")
        self.spare(obj, what)
        return obj

    def spare_namespace(self, namespace: str) -> None:
        """Raises NotActing for a protected namespace."""
        if namespace in self.settings.protected_namespaces:
            raise NotActing(f"namespace {namespace} is protected; nothing in it is touched")
        live = self.api.get(f"/api/v1/namespaces/{namespace}")
        if live is None:
            raise NotActing(f"namespace {namespace} is not there; name one that is")
        self.unprotected(live, f"namespace {namespace}")

    def spare(self, obj: Mapping[str, Any], what: str) -> None:
        """Raises NotActing when the object is protected, or held by a plan."""
        self.unprotected(obj, what)
        if mark(obj):
            raise NotActing(f"{what} is held by {mark(obj)}; release that first (annotation {PLAN})")

    def unprotected(self, obj: Mapping[str, Any], what: str) -> None:
        """Raises NotActing when the object carries a protected label."""
        labels = obj["metadata"].get("labels") or {}
        for label in self.settings.protected_labels:
            if labels.get(label, "false") != "false":
                raise NotActing(f"{what} carries the protected label {label}; it is not touched")

    def spare_budgets(self, pod: Mapping[str, Any]) -> None:
        """Raises NotActing when taking the pod away would break a PodDisruptionBudget."""
        namespace, labels = pod["metadata"]["namespace"], pod["metadata"].get("labels") or {}
        for budget in self.api.items(f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"):
            chosen = budget["spec"].get("selector")
            allowed = budget.get("status", {}).get("disruptionsAllowed", 0)
            if chosen is not None and matches(chosen, labels) and allowed < 1:
                name = budget["metadata"]["name"]
                raise NotActing(f"PodDisruptionBudget {namespace}/{name} allows no disruption now; add replicas first")


def pod_name(fold: FoldSpec) -> tuple[str, str]:
    """Namespace and name of the pod: of the target, else as the manifest notes it."""
    there = place(fold.target)
    if there.kind == "pod" and there.name and not there.address:
        return there.namespace, there.name
    metadata = fold.manifest.get("metadata", {})
    name = metadata.get("annotations", {}).get("loomidi.io/pod", "")
    if not name:
        raise NotActing(f"{fold.target} names no pod; give pod/NAMESPACE/NAME")
    return str(metadata.get("namespace", "default")), str(name)


def controller(obj: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The owner that makes another when this one goes."""
    owners = obj["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)
