"""Each kind that has a way back: the stage it needs, the fold, and what somebody else may change in between."""

import dataclasses
from collections.abc import Callable
from typing import Any

from loomidi.contracts import FoldKind, FoldSpec, Match, Mode, Plan
from loomidi.ionic.decide import manifests
from loomidi.ionic.documents import rule_id
from tests.integration.kube.rooms import Room, wait
from tests.unit.ionic.making import a_plan

DEPLOYMENT = "/apis/apps/v1/namespaces/{}/deployments/web"
POD = "/api/v1/namespaces/{}/pods/web-0"


@dataclasses.dataclass(frozen=True)
class Case:
    """`fold` makes it from a stage that is set; `meddle` changes what the fold is about to change."""

    stage: Callable[[Room], Any]
    fold: Callable[[Room], FoldSpec]
    meddle: Callable[[Room], Any]


def of(kind: FoldKind, action: str, target: str, **more: Any) -> FoldSpec:
    return FoldSpec(kind, target, action, undo="in the receipt", because="finding-0123456789abcdef", **more)


def isolate(room: Room) -> FoldSpec:
    return of(FoldKind.ISOLATE_POD, "isolate", f"pod/{room.namespace}/web-0")


def scale(room: Room) -> FoldSpec:
    return of(FoldKind.SCALE_OUT, "scale", f"workload/{room.namespace}/web", replicas=2)


def block(room: Room) -> FoldSpec:
    policy = manifests.network_policy("loomidi-drop", "ingress", ["203.0.113.7"], {})
    policy["metadata"]["namespace"] = room.namespace
    match = Match(source="203.0.113.7")
    return of(FoldKind.RECONFIGURE_NETWORK, "drop", "host/203.0.113.7", match=match, manifest=policy)


def restart(room: Room) -> FoldSpec:
    return of(FoldKind.RESTART, "restart", f"workload/{room.namespace}/web")


def roll_back(room: Room) -> FoldSpec:
    return of(FoldKind.ROLLBACK, "rollback", f"workload/{room.namespace}/web")


def cordon(room: Room) -> FoldSpec:
    return of(FoldKind.CORDON, "cordon", f"node/{room.nodes[0]}")


def resize(room: Room) -> FoldSpec:
    resources = {"requests": {"cpu": "0.25"}, "limits": {"cpu": "1000m"}}
    manifest = {"spec": {"containers": [{"name": "main", "resources": resources}]}}
    return of(FoldKind.RESIZE, "resize", f"pod/{room.namespace}/web-0", manifest=manifest)


def evict(room: Room) -> FoldSpec:
    return of(FoldKind.EVICT, "evict", f"pod/{room.namespace}/{room.pods(app='web')[0]['metadata']['name']}")


def terminate(room: Room) -> FoldSpec:
    return dataclasses.replace(evict(room), kind=FoldKind.TERMINATE, action="terminate")


def served_pod(room: Room) -> None:
    room.pod("web-0", app="web", tier="front", team="shop")
    room.pod("web-1", app="web", tier="front", team="shop")
    room.service("web", app="web", tier="front")


def deployed(room: Room) -> None:
    room.workload("Deployment", "web")


def stateful(room: Room) -> None:
    room.workload("StatefulSet", "web")


def scaled(room: Room) -> None:
    deployed(room)
    room.scaler("web", 2, 5)


def rolled(room: Room) -> None:
    deployed(room)
    template = {"spec": {"containers": [{"name": "main", "image": "none.invalid/two"}]}}
    room.merge(DEPLOYMENT, {"spec": {"template": template}, "metadata": {"annotations": {"note": "bad release"}}})
    sets = f"/apis/apps/v1/namespaces/{room.namespace}/replicasets"
    wait(lambda: len(room.look.items(sets)) == 2, "two revisions")


def two_nodes(room: Room) -> None:
    room.node("a")
    room.node("b")


def labelled(room: Room) -> None:
    room.merge(POD, {"metadata": {"labels": {"tier": "back"}}})


def imaged(room: Room) -> None:
    template = {"spec": {"containers": [{"name": "main", "image": "none.invalid/three"}]}}
    room.merge(DEPLOYMENT, {"spec": {"template": template}})


def restarted(room: Room) -> None:
    notes = {"kubectl.kubernetes.io/restartedAt": "2020-01-01T00:00:00Z"}
    room.merge(DEPLOYMENT, {"spec": {"template": {"metadata": {"annotations": notes}}}})


def taken(room: Room) -> None:
    room.post("/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies", dict(block(room).manifest))


def resized(room: Room) -> None:
    resources = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "500m"}}
    spec = {"containers": [{"name": "main", "image": "none.invalid/none", "resources": resources}]}
    room.merge(POD + "/resize", {"spec": spec})


HPA = "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers/web"
CASES: dict[str, Case] = {
    "ISOLATE_POD": Case(served_pod, isolate, labelled),
    "SCALE_OUT a Deployment": Case(deployed, scale, lambda room: room.merge(DEPLOYMENT, {"spec": {"replicas": 3}})),
    "SCALE_OUT a StatefulSet": Case(
        stateful,
        scale,
        lambda room: room.merge("/apis/apps/v1/namespaces/{}/statefulsets/web", {"spec": {"replicas": 3}}),
    ),
    "SCALE_OUT an autoscaler": Case(scaled, scale, lambda room: room.merge(HPA, {"spec": {"minReplicas": 3}})),
    "RECONFIGURE_NETWORK": Case(lambda room: room.pod("web-0", app="web"), block, taken),
    "RESTART": Case(deployed, restart, restarted),
    "ROLLBACK": Case(rolled, roll_back, imaged),
    "CORDON": Case(
        two_nodes,
        cordon,
        lambda room: room.merge(f"/api/v1/nodes/{room.nodes[0]}", {"spec": {"unschedulable": True}}),
    ),
    "RESIZE": Case(
        lambda room: room.pod("web-0", app="web"),
        resize,
        resized,
    ),
}


def plan_of(fold: FoldSpec, mode: Mode = Mode.GUARDED) -> Plan:
    return a_plan(fold=fold, mode=mode)


def stored(room: Room, plan: Plan) -> dict[str, Any]:
    """The inverse as the engine stores it, before the first write."""
    return dict(room.driver.inverse(plan.fold)) | {"rule_id": rule_id(plan.id)}
