"""Step `patch`: change an object; the undo puts its own fields, labels and annotations back as they were."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import InputError
from loomidi_lab.staging.journals import restoring
from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.targets import path_of

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage


def perform(stage: "Stage", arguments: Mapping[str, Any]) -> None:
    """Remember the object as it is, then patch it (`kind`: strategic, merge or json)."""
    entity = EntityRef.of(arguments["entity"])
    before = stage.lookup.get(entity)
    if before is None:
        raise InputError(f"{entity} is not there to be changed")
    stage.remember(**restoring(path_of(entity), before))
    stage.lab.api.patch(path_of(entity), arguments["body"], kind=arguments.get("kind", "strategic"))
    if "settle_s" in arguments:
        stage.pause(float(arguments["settle_s"]))
