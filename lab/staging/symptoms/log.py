"""Symptom `log`: lines of a workload's pods since the act began that match."""

import dataclasses
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.symptoms import Measured

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage


@dataclasses.dataclass(frozen=True, slots=True)
class Log:
    """See `make`."""

    arguments: Mapping[str, Any]
    at_least: float
    wanted: str
    final: bool = False

    def prepare(self, stage: "Stage") -> None:
        """Nothing to learn beforehand."""

    def measure(self, stage: "Stage") -> Measured:
        """Count the lines that match."""
        entity = EntityRef.of(self.arguments["of"])
        params: dict[str, str] = {"sinceSeconds": str(int((time.time_ns() - stage.start_ns) / 1e9) + 1)}
        if "container" in self.arguments:
            params["container"] = self.arguments["container"]
        if self.arguments.get("previous"):
            params["previous"] = "true"
        lines: list[str] = []
        for pod in stage.lookup.pods(entity):
            path = f"/api/v1/namespaces/{entity.namespace}/pods/{pod['metadata']['name']}/log"
            lines += stage.lab.api.text(path, **params).splitlines()
        value = float(sum(bool(re.search(self.arguments["matches"], line)) for line in lines))
        return Measured(value, value >= self.at_least)


def make(arguments: Mapping[str, Any]) -> Log:
    """From the scenario's mapping."""
    at_least = float(arguments.get("at_least", 1))
    return Log(arguments, at_least, f"lines matching {arguments['matches']} >= {at_least:g}")
