"""Symptom `command`: what a command in a pod (or a namespace of the lab) prints, or how it ends."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loomidi_lab.staging.comparing import Comparison
from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.steps.outside import netns_of
from loomidi_lab.staging.symptoms import Measured

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage

_TIMEOUT_S = 15.0
_MOST_SHOWN = 120


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """See `make`."""

    arguments: Mapping[str, Any]
    comparison: Comparison
    wanted: str
    final: bool

    def prepare(self, stage: "Stage") -> None:
        """Nothing to learn beforehand."""

    def measure(self, stage: "Stage") -> Measured:
        """Run it and look at its words (or its exit code, when `code` is given)."""
        arguments = stage.lookup.fill(self.arguments)
        timeout_s = float(arguments.get("timeout_s", _TIMEOUT_S))
        argv = ["sh", "-c", arguments["script"]]
        if "in" in arguments:
            entity = EntityRef.of(arguments["in"])
            container = arguments.get("container", "")
            pod = stage.lookup.a_pod(entity)
            done = stage.lab.exec(entity.namespace, pod, *argv, container=container, timeout_s=timeout_s, check=False)
        else:
            done = stage.lab.run(netns_of(stage, arguments), *argv, timeout_s=timeout_s, check=False)
        if "code" in arguments:
            return Measured(float(done.returncode), done.returncode == arguments["code"])
        said = (done.stdout + done.stderr).strip()
        return Measured(said[-_MOST_SHOWN:], self.comparison.holds(said))


def make(arguments: Mapping[str, Any]) -> Command:
    """From the scenario's mapping."""
    comparison = Comparison.of(arguments)
    wanted = f"exit code {arguments['code']}" if "code" in arguments else f"output {comparison}"
    return Command(arguments, comparison, wanted, comparison.final)
