"""Step `delete`: one object, or the pods of a workload (`pods: true`, which their owner makes again).

An object is remembered and made again by the undo; a pod without an owner is not. In an undo, what is not there is
fine, and nothing is remembered.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import InputError
from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.targets import path_of

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage


def perform(stage: "Stage", arguments: Mapping[str, Any]) -> None:
    """Delete; what comes back by itself is not remembered."""
    entity = EntityRef.of(arguments["entity"])
    params = {"gracePeriodSeconds": str(int(arguments["grace_s"]))} if "grace_s" in arguments else {}
    if arguments.get("pods") or entity.kind == "Pod":
        _delete_pods(stage, entity, params)
        return
    before = stage.lookup.get(entity)
    if before is None:
        if stage.undoing:
            return
        raise InputError(f"{entity} is not there")
    if not stage.undoing:  # an undo is final
        stage.remember(do="recreate", path=path_of(entity), object=before)
    stage.lab.api.delete(path_of(entity), **params)


def _delete_pods(stage: "Stage", entity: EntityRef, params: Mapping[str, str]) -> None:
    pods = stage.lookup.pods(entity)
    if not pods and not stage.undoing:
        raise InputError(f"{entity} has no pods to delete")
    for pod in pods:
        metadata = pod["metadata"]
        stage.lab.api.delete(path_of(EntityRef("Pod", metadata["namespace"], metadata["name"])), **params)
