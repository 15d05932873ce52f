"""CORDON: a node that takes no new pods; those that are there stay.

Called by the table in `kinds`. In: a scene and a fold that names `node/NAME`. Out: one edit. The last node that takes
pods is never closed.
"""

from loomidi.contracts import FoldSpec
from loomidi.ionic.act.kube.changes import Change
from loomidi.ionic.act.kube.edits import Edit
from loomidi.ionic.act.kube.fields import Field
from loomidi.ionic.act.kube.scenes import Scene
from loomidi.ionic.errors import NotActing

NODES = "/api/v1/nodes"


def cordon(scene: Scene, fold: FoldSpec) -> list[Change]:
    """The node's `unschedulable`."""
    kind, _, name = fold.target.partition("/")
    if kind != "node" or not name:
        raise NotActing(f"{fold.target} names no node; give node/NAME")
    path = f"{NODES}/{name}"
    node = scene.free(path, f"node {name}")
    before = node["spec"].get("unschedulable")
    if before:
        raise NotActing(f"node {name} is closed already")
    others = [one for one in scene.api.items(NODES) if one["metadata"]["name"] != name]
    if not any(not one["spec"].get("unschedulable") for one in others):
        raise NotActing(f"node {name} is the last one that takes pods; open another first")
    return [Edit(path, node["metadata"]["uid"], (Field(("spec", "unschedulable"), before, True),))]
