"""What a scenario can do: one file a kind of step.

Called by `running` with a step as written (`{kind: arguments}`, parameters filled in). A step blocks until it is done,
unless it is told to go on in the background; it calls `stage.remember` before each effect that outlives it.
"""

import importlib
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from loomidi.contracts.errors import LoomidiError

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage

_HOMES = {
    "apply": "apply",
    "delete": "delete",
    "exec": "execute",
    "outside": "outside",
    "patch": "patch",
    "pod": "pod",
    "python": "hook",
    "scale": "scale",
    "wait": "wait",
}
KINDS = tuple(_HOMES)
LEAD_S = {"exec": 3.0, "outside": 0.5}
"""How long before its effect a step of that kind is called at least, to wait on the spot: starting it takes a while."""
EARLIEST_S = 12.0
"""How long before at most: what waits holds a connection to the API."""


class Step(Protocol):
    """One kind of step."""

    def __call__(self, stage: "Stage", arguments: Mapping[str, Any]) -> None:
        """Do it. Raises LoomidiError, which makes the run void."""


def perform_all(stage: "Stage", several: Sequence[Mapping[str, Any]]) -> None:
    """One after the other; pods in a row are made together, since starting one takes seconds of waiting."""
    for kind, group in itertools.groupby(several, key=lambda step: next(iter(step))):
        if kind == "pod":
            importlib.import_module(f"{__name__}.pod").perform_all(
                stage, [stage.lookup.fill(step["pod"]) for step in group]
            )
            continue
        for step in group:
            perform(stage, step)


def perform(stage: "Stage", step: Mapping[str, Any]) -> None:
    """Do one step; what goes wrong is told with the step's kind."""
    (kind, arguments), *_ = step.items()
    chosen: Step = importlib.import_module(f"{__name__}.{_HOMES[kind]}").perform
    try:
        chosen(stage, stage.lookup.fill(arguments))
    except LoomidiError as error:
        error.args = (f"step `{kind}`: {error}",)
        raise
