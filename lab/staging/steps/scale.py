"""Step `scale`: another number of replicas, waited for when `wait_s` is given; the undo puts the old number back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import InputError
from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.targets import path_of

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage


def perform(stage: "Stage", arguments: Mapping[str, Any]) -> None:
    """Through the scale subresource's merge, so that nothing else of the workload changes."""
    entity, replicas = EntityRef.of(arguments["entity"]), int(arguments["replicas"])
    before = stage.lookup.get(entity)
    if before is None:
        raise InputError(f"{entity} is not there to be scaled")
    stage.remember(do="scale", path=path_of(entity), replicas=before["spec"].get("replicas", 1))
    stage.lab.api.patch(path_of(entity), {"spec": {"replicas": replicas}}, kind="merge")

    def reached() -> bool:
        status = (stage.lookup.get(entity) or {}).get("status", {})
        return int(status.get("readyReplicas", 0)) == replicas and int(status.get("replicas", 0)) == replicas

    if "wait_s" in arguments:
        stage.until(reached, float(arguments["wait_s"]), f"{entity} having {replicas} ready pods")
