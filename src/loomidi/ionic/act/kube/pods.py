"""EVICT, TERMINATE and RESIZE: what is done to one pod.

Called by the table in `kinds`. In: a scene and a fold that names a pod. Out: its removal, for which there is no way
back, or an edit of its resources by the `resize` subresource, which the node carries out without a restart.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from loomidi.contracts import FoldSpec
from loomidi.ionic.act.kube.changes import Change
from loomidi.ionic.act.kube.edits import Edit
from loomidi.ionic.act.kube.fields import At, Draft, Field, value
from loomidi.ionic.act.kube.removals import Removal
from loomidi.ionic.act.kube.scenes import Scene, controller
from loomidi.ionic.errors import ClusterRejects, NotActing


def evict(scene: Scene, fold: FoldSpec) -> list[Change]:
    """The pod ends, and its owner makes another, on a node that the scheduler chooses."""
    path, pod = scene.pod(fold)
    if (owner := controller(pod)) is None or owner["kind"] == "DaemonSet":
        raise NotActing(f"{path}: nobody would make it anew elsewhere; use TERMINATE, or ISOLATE_POD")
    scene.spare_budgets(pod)
    return [Removal(path, pod["metadata"]["uid"], "evict")]


def terminate(scene: Scene, fold: FoldSpec) -> list[Change]:
    """The pod ends; deletion asks no PodDisruptionBudget, so we do."""
    path, pod = scene.pod(fold)
    scene.spare_budgets(pod)
    return [Removal(path, pod["metadata"]["uid"], "delete")]


def resize(scene: Scene, fold: FoldSpec) -> list[Change]:
    """Requests and limits of containers as the manifest says; the API says in a dry run how it writes them."""
    path, pod = scene.pod(fold)
    draft = Draft(pod)
    wanted = dict(_wanted(pod, fold.manifest))
    for at, quantity in wanted.items():
        if value(pod, at) is None:  # the API lets a resource be added, but not taken away again
            raise NotActing(f"{path} has no {'.'.join(map(str, at[3:]))} yet; adding it has no way back")
        draft.put(at, quantity)
    if not draft.operations:
        raise NotActing(f"{path} has these resources already")
    version = pod["metadata"]["resourceVersion"]
    try:
        after = scene.api.patch(f"{path}/resize", draft.operations, version, dry_run=True)
    except ClusterRejects as error:
        raise NotActing(str(error)) from error
    fields = (Field(at, value(pod, at), value(after, at)) for at in wanted)
    changed = tuple(one for one in fields if one.before != one.after)
    return [Edit(path, pod["metadata"]["uid"], changed, "resize")]


def _wanted(pod: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[tuple[At, str]]:
    """Each requested quantity with its place in the pod."""
    places = {one["name"]: at for at, one in enumerate(pod["spec"]["containers"])}
    named = manifest.get("spec", {}).get("containers") or []
    if not named:
        raise NotActing("the fold names no containers; give spec.containers[].{name, resources} as its manifest")
    for one in named:
        if one.get("name") not in places:
            raise NotActing(f"the pod has no container {one.get('name')}; it has {', '.join(places)}")
        for part in ("requests", "limits"):
            for resource, quantity in (one.get("resources", {}).get(part) or {}).items():
                yield ("spec", "containers", places[one["name"]], "resources", part, resource), str(quantity)
