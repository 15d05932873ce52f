"""Step `apply`: manifests of a file or written in place, marked so that leftovers are found; undone by deleting.

What was there before is put back as it was. `kept: true` leaves the objects. A namespace that is not there is made, and
stays: others may use it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from loomidi.contracts.errors import InputError
from loomidi_lab.staging.drawing import fill
from loomidi_lab.staging.journals import restoring
from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.targets import path_of

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage

_WITH_TEMPLATES = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job")


def perform(stage: "Stage", arguments: Mapping[str, Any]) -> None:
    """Apply all objects, in the order given."""
    objects = [*arguments.get("manifests", [])]
    if "file" in arguments:
        values = {**stage.drawn.parameters, "seed": stage.drawn.seed, "duration_s": stage.drawn.duration_s}
        text = stage.payload(arguments["file"]).read_text(encoding="utf-8")
        objects += [stage.lookup.fill(fill(one, values)) for one in yaml.safe_load_all(text) if one]
    put(stage, objects, kept=bool(arguments.get("kept")))


def put(stage: "Stage", objects: Sequence[Mapping[str, Any]], *, kept: bool = False) -> None:
    """Mark, remember how to undo, apply."""
    marked = [_marked(stage, one) for one in objects]
    for namespace in {one["metadata"].get("namespace", "") for one in marked} - {""}:
        ensure_namespace(stage, namespace)
    for one in marked if not kept else []:
        stage.remember(**_inverse(stage, one))
    stage.lab.apply(marked)


def ensure_namespace(stage: "Stage", namespace: str) -> None:
    """Make a namespace with its default service account, unless it is there."""
    if stage.lookup.get(EntityRef("Namespace", "", namespace)):
        return
    stage.lab.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}])
    account = EntityRef("ServiceAccount", namespace, "default")
    stage.until(lambda: stage.lookup.get(account) is not None, 20.0, f"the default service account of {namespace}")


def _marked(stage: "Stage", one: Mapping[str, Any]) -> dict[str, Any]:
    if "kind" not in one or "name" not in one.get("metadata", {}):
        raise InputError("a manifest lacks `kind` or `metadata.name`")
    made = dict(one)
    metadata = dict(one["metadata"])
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **stage.marks}
    made["metadata"] = metadata
    if one["kind"] in _WITH_TEMPLATES:
        spec = dict(one["spec"])
        template = dict(spec["template"])
        below = dict(template.get("metadata") or {})
        below["annotations"] = {**(below.get("annotations") or {}), **stage.marks}
        made["spec"] = {**spec, "template": {**template, "metadata": below}}
    return made


def _inverse(stage: "Stage", one: Mapping[str, Any]) -> dict[str, Any]:
    metadata = one["metadata"]
    entity = EntityRef(one["kind"], metadata.get("namespace", ""), metadata["name"])
    before = stage.lookup.get(entity)
    path = path_of(entity)
    ours = before and before["metadata"].get("annotations", {}).items() >= stage.marks.items()
    return restoring(path, before) if before and not ours else {"do": "delete", "path": path}
