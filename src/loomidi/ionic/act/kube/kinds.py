"""The table of kinds: for each, what it does, the rights that it needs, an example, and its inverse in words.

Called by the driver (which kind does what) and by `tools.rbac` (the ClusterRole is generated from here). A kind that
is not in the table cannot be done.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from loomidi.contracts import FoldKind, FoldSpec
from loomidi.ionic.act.kube.changes import Change
from loomidi.ionic.act.kube.isolating import isolate
from loomidi.ionic.act.kube.networks import reconfigure, told
from loomidi.ionic.act.kube.nodes import cordon
from loomidi.ionic.act.kube.pods import evict, resize, terminate
from loomidi.ionic.act.kube.scenes import Scene
from loomidi.ionic.act.kube.workloads import restart, roll_back, scale_out


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One RBAC rule and why it is asked for."""

    group: str  # API group; '' is the core
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """What the driver can do."""

    draw: Callable[[Scene, FoldSpec], list[Change]]  # live state -> changes; raises NotActing with the reason
    action: str  # FoldSpec.action that goes with it
    reversible: bool
    inverse: str  # in words
    example: Mapping[str, Any]  # fields of a FoldSpec
    rules: tuple[Rule, ...]
    told: Callable[[FoldSpec, Sequence[Change]], str] | None = None  # by what it is done, where there is a choice


EVERY_KIND = (Rule("", ("namespaces",), ("get",), "whether the namespace is protected"),)
_BUDGETS = Rule("policy", ("poddisruptionbudgets",), ("list",), "none is broken")
_POD = Rule("", ("pods",), ("get", "patch"), "read the pod and put our mark on it")
_OWN = ("get", "list", "create", "patch", "delete")  # of objects that we make
_WORKLOADS = ("deployments", "statefulsets")

KINDS: Mapping[FoldKind, Kind] = {
    FoldKind.ISOLATE_POD: Kind(
        isolate,
        "isolate",
        True,
        "the labels that were removed are put back, the quarantine label and the policy go, the node lets packets by",
        {"target": "pod/shop/cart-0"},
        (
            Rule(
                "", ("pods",), ("get", "list", "patch"), "read the pod, change its labels, find who else has the mark"
            ),
            Rule("", ("services",), ("list",), "which Services lead to the pod"),
            Rule(
                "networking.k8s.io",
                ("networkpolicies",),
                ("get", "list", "create", "patch", "delete"),
                "the deny-all policy; which other policies open the pod",
            ),
            Rule("apps", ("replicasets", "statefulsets", "daemonsets"), ("get",), "by which labels its owner knows it"),
            _BUDGETS,
        ),
    ),
    FoldKind.SCALE_OUT: Kind(
        scale_out,
        "scale",
        True,
        "the number of replicas (or the autoscaler's least number) that was there before is put back",
        {"target": "workload/shop/cart", "replicas": 2},
        (
            Rule("apps", _WORKLOADS, ("get", "patch"), "find the workload and put our mark on it"),
            Rule("apps", tuple(f"{name}/scale" for name in _WORKLOADS), ("get", "patch"), "its number of replicas"),
            Rule(
                "autoscaling",
                ("horizontalpodautoscalers",),
                ("get", "list", "patch"),
                "whether an autoscaler rules it; its least number",
            ),
        ),
    ),
    FoldKind.RECONFIGURE_NETWORK: Kind(
        reconfigure,
        "drop",
        True,
        "the policy or rule is deleted, the nodes' entries are removed",
        {"target": "host/203.0.113.7", "match": {"source": "203.0.113.7"}, "manifest": {"kind": "NetworkPolicy"}},
        (
            Rule("", ("pods",), ("list",), "which pods it chooses"),
            Rule("", ("nodes",), ("list",), "where the agents are that deny a source on the nodes"),
            Rule(
                "networking.k8s.io",
                ("networkpolicies",),
                ("get", "list", "create", "patch", "delete"),
                "the policy; which others are there",
            ),
            Rule("cilium.io", ("ciliumnodes",), ("list",), "whether Cilium runs, and which addresses are its own"),
            Rule("cilium.io", ("ciliumnetworkpolicies",), _OWN, "a deny that opens nothing"),
            Rule("security.istio.io", ("authorizationpolicies",), _OWN, "a deny by the proxies of a mesh"),
            Rule(
                "networking.istio.io", ("destinationrules",), _OWN, "failing endpoints ejected; which other rules are"
            ),
            Rule("", ("services",), ("get",), "whose endpoints are ejected"),
        ),
        told,
    ),
    FoldKind.RESTART: Kind(
        restart,
        "restart",
        True,
        "the restart annotation is put back as it was, which rolls the pods once more",
        {"target": "workload/shop/cart"},
        (Rule("apps", (*_WORKLOADS, "daemonsets"), ("get", "patch"), "the annotation in the pod template"),),
    ),
    FoldKind.ROLLBACK: Kind(
        roll_back,
        "rollback",
        True,
        "the pod template that was there before is put back",
        {"target": "workload/shop/cart"},
        (
            Rule("apps", ("deployments",), ("get", "patch"), "the pod template"),
            Rule("apps", ("replicasets",), ("list",), "the template of the revision before"),
        ),
    ),
    FoldKind.CORDON: Kind(
        cordon,
        "cordon",
        True,
        "the node takes pods again",
        {"target": "node/worker-1"},
        (Rule("", ("nodes",), ("get", "list", "patch"), "close the node, never the last one"),),
    ),
    FoldKind.RESIZE: Kind(
        resize,
        "resize",
        True,
        "the resources that were there before are put back",
        {
            "target": "pod/shop/cart-0",
            "manifest": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "cart-0", "namespace": "shop"},
                "spec": {"containers": [{"name": "cart", "resources": {"limits": {"cpu": "1"}}}]},
            },
        },
        (_POD, Rule("", ("pods/resize",), ("patch",), "requests and limits without a restart")),
    ),
    FoldKind.EVICT: Kind(
        evict,
        "evict",
        False,
        "none: an evicted pod does not come back, its owner makes another",
        {"target": "pod/shop/cart-0"},
        (_POD, Rule("", ("pods/eviction",), ("create",), "the eviction"), _BUDGETS),
    ),
    FoldKind.TERMINATE: Kind(
        terminate,
        "terminate",
        False,
        "none: a deleted pod does not come back, its owner (if any) makes another",
        {"target": "pod/shop/cart-0"},
        (_POD, Rule("", ("pods",), ("delete",), "the deletion"), _BUDGETS),
    ),
}
