"""Step `wait`: some seconds, or until something is ready, gone, or has a value at a path."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loomidi_lab.staging.comparing import Comparison
from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.targets import at_path, is_ready

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage

_TIMEOUT_S = 60.0


def perform(stage: "Stage", arguments: Mapping[str, Any]) -> None:
    """Wait for all that is named, one after the other. Raises Retryable when it does not come in time."""
    timeout_s = float(arguments.get("timeout_s", _TIMEOUT_S))
    if "seconds" in arguments:
        stage.pause(float(arguments["seconds"]))
    if "ready" in arguments:
        entity = EntityRef.of(arguments["ready"])
        stage.until(lambda: all_ready(stage, entity), timeout_s, f"{entity} being ready")
    if "gone" in arguments:
        leaving = EntityRef.of(arguments["gone"])
        stage.until(lambda: stage.lookup.get(leaving) is None, timeout_s, f"{leaving} being gone")
    if "entity" in arguments:
        _value(stage, arguments, timeout_s)


def all_ready(stage: "Stage", entity: EntityRef) -> bool:
    """A node's Ready condition, or as many ready pods as the workload wants (at least one)."""
    if entity.kind == "Node":
        found = at_path(stage.lookup.get(entity) or {}, "status.conditions[type=Ready].status")
        return found == ["True"]
    owner = stage.lookup.get(entity) or {}
    wanted = int(owner.get("spec", {}).get("replicas", 1) or 1) if entity.kind in ("Deployment", "StatefulSet") else 1
    return sum(is_ready(pod) for pod in stage.lookup.pods(entity)) >= wanted


def _value(stage: "Stage", arguments: Mapping[str, Any], timeout_s: float) -> None:
    entity = EntityRef.of(arguments["entity"])
    comparison = Comparison.of(arguments)

    def holds() -> bool:
        found = stage.lookup.pods(entity) if arguments.get("pods") else [stage.lookup.get(entity) or {}]
        return any(comparison.holds(value) for one in found for value in at_path(one, arguments["path"]))

    stage.until(holds, timeout_s, f"{arguments['path']} of {entity} {comparison}")
