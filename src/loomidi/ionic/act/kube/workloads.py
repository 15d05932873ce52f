"""SCALE_OUT, RESTART and ROLLBACK: what is changed on a workload, so that its controller does the rest.

Called by the table in `kinds`. In: a scene and a fold that names a workload by `workload/NAMESPACE/NAME` or by its
manifest. Out: one edit. Making and ending pods is left to the cluster's controllers.
"""

import copy
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from loomidi.contracts import FoldSpec
from loomidi.ionic.act.kube.api import Object
from loomidi.ionic.act.kube.changes import Change
from loomidi.ionic.act.kube.edits import Edit
from loomidi.ionic.act.kube.fields import Field, value
from loomidi.ionic.act.kube.scenes import Scene
from loomidi.ionic.act.kube.selectors import query
from loomidi.ionic.decide.places import place
from loomidi.ionic.errors import NotActing

APPS = "/apis/apps/v1/namespaces/{}/{}"
SCALERS = "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers"
RESTARTED = "kubectl.kubernetes.io/restartedAt"  # as `kubectl rollout restart` does, so that tools show it
_PLURALS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}
_REVISION = "deployment.kubernetes.io/revision"
_HASH = "pod-template-hash"


def scale_out(scene: Scene, fold: FoldSpec) -> list[Change]:
    """More replicas; where a HorizontalPodAutoscaler rules, its least number is raised instead."""
    if not 1 <= fold.replicas <= scene.settings.most_added:
        raise NotActing(f"{fold.replicas} added replicas; 1 to {scene.settings.most_added} may be added at once")
    kind, path, live = _workload(scene, fold, ("Deployment", "StatefulSet"))
    scale = scene.api.get(f"{path}/scale")
    if scale is None:
        raise NotActing(f"{path} has no scale; name a Deployment or StatefulSet")
    before = value(scale, ("spec", "replicas"))
    if (scaler := _scaler(scene, live, kind)) is not None:
        return [_raised(scene, scaler, (before or 0) + fold.replicas)]
    wanted = Field(("spec", "replicas"), before, (before or 0) + fold.replicas)
    return [Edit(path, live["metadata"]["uid"], (wanted,), "scale")]


def restart(scene: Scene, fold: FoldSpec) -> list[Change]:
    """A new annotation in the pod template: the controller replaces the pods at the pace of its strategy."""
    _, path, live = _workload(scene, fold, tuple(_PLURALS))
    _rolling(live)
    at = ("spec", "template", "metadata", "annotations", RESTARTED)
    now = dt.datetime.fromtimestamp(scene.at_ns // 10**9, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [Edit(path, live["metadata"]["uid"], (Field(at, value(live, at), now),))]


def roll_back(scene: Scene, fold: FoldSpec) -> list[Change]:
    """The pod template of the ReplicaSet before the present one."""
    _, path, live = _workload(scene, fold, ("Deployment",))
    _rolling(live)
    namespace = live["metadata"]["namespace"]
    ours = [
        one
        for one in scene.api.items(APPS.format(namespace, "replicasets"), query(live["spec"]["selector"]))
        if any(owner["uid"] == live["metadata"]["uid"] for owner in one["metadata"].get("ownerReferences") or [])
    ]
    before = _previous(ours, live["spec"]["template"])
    if before is None:
        raise NotActing(f"{path} has no earlier ReplicaSet to go back to")
    wanted = Field(("spec", "template"), live["spec"]["template"], before)
    return [Edit(path, live["metadata"]["uid"], (wanted,))]


def _workload(scene: Scene, fold: FoldSpec, kinds: Sequence[str]) -> tuple[str, str, Object]:
    """Kind, path and object, the first of `kinds` that has the name."""
    namespace, name = _named(fold)
    scene.spare_namespace(namespace)
    for kind in kinds:
        path = f"{APPS.format(namespace, _PLURALS[kind])}/{name}"
        if (live := scene.api.get(path)) is not None:
            scene.spare(live, f"{kind} {namespace}/{name}")
            return kind, path, live
    raise NotActing(f"there is no {' or '.join(kinds)} {namespace}/{name}; name one that is there")


def _named(fold: FoldSpec) -> tuple[str, str]:
    """Namespace and name; for a fold about a service, its manifest names the workload behind it."""
    there, metadata = place(fold.target), fold.manifest.get("metadata", {})
    if there.kind == "workload" and there.name and not there.address:
        return there.namespace, there.name
    if metadata.get("name"):
        return str(metadata.get("namespace", "default")), str(metadata["name"])
    raise NotActing(f"{fold.target} names no workload; give workload/NAMESPACE/NAME")


def _scaler(scene: Scene, live: Mapping[str, Any], kind: str) -> Object | None:
    """The HorizontalPodAutoscaler that rules the workload."""
    named = (kind, live["metadata"]["name"])
    for scaler in scene.api.items(SCALERS.format(live["metadata"]["namespace"])):
        aim = scaler["spec"]["scaleTargetRef"]
        if (aim["kind"], aim["name"]) == named:
            return scaler
    return None


def _raised(scene: Scene, scaler: Object, wanted: int) -> Change:
    namespace, name = scaler["metadata"]["namespace"], scaler["metadata"]["name"]
    what = f"HorizontalPodAutoscaler {namespace}/{name}"
    path = f"{SCALERS.format(namespace)}/{name}"
    scene.spare(scaler, what)
    least, most = scaler["spec"].get("minReplicas", 1), scaler["spec"]["maxReplicas"]
    if (raised := min(wanted, most)) <= least:
        raise NotActing(f"{what} cannot go higher: minReplicas {least}, maxReplicas {most}; raise maxReplicas first")
    field = Field(("spec", "minReplicas"), scaler["spec"].get("minReplicas"), raised)
    return Edit(path, scaler["metadata"]["uid"], (field,))


def _rolling(live: Mapping[str, Any]) -> None:
    """Raises NotActing where a new template would change nothing."""
    name, spec = live["metadata"]["name"], live["spec"]
    if spec.get("paused"):
        raise NotActing(f"{name} is paused, so it would not roll; run `kubectl rollout resume`")
    if spec.get("updateStrategy", {}).get("type") == "OnDelete":
        raise NotActing(f"{name} replaces pods only when they are deleted (OnDelete); use TERMINATE")


def _previous(sets: Sequence[Mapping[str, Any]], present: Mapping[str, Any]) -> Object | None:
    """The template of the highest revision that is not the present one."""
    templates = [_bare(one) for one in sorted(sets, key=_revision, reverse=True)]
    return next((template for template in templates if template != present), None)


def _revision(replicas: Mapping[str, Any]) -> int:
    text = (replicas["metadata"].get("annotations") or {}).get(_REVISION, "0")
    return int(text) if text.isdigit() else 0


def _bare(replicas: Mapping[str, Any]) -> Object:
    """A ReplicaSet's template as its Deployment has it, without the hash."""
    template: Object = copy.deepcopy(replicas["spec"]["template"])
    template["metadata"].get("labels", {}).pop(_HASH, None)
    return template
