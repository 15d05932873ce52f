"""Symptom `output`: what the act's own commands have printed (the tool's own word that it worked)."""

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loomidi_lab.staging.symptoms import Measured

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage


@dataclasses.dataclass(frozen=True, slots=True)
class Output:
    """See `make`."""

    pattern: str
    at_least: float
    wanted: str
    final: bool = False

    def prepare(self, stage: "Stage") -> None:
        """Nothing to learn beforehand."""

    def measure(self, stage: "Stage") -> Measured:
        """Count how often it stands there; a group of digits in the pattern is taken as the number itself."""
        found = re.findall(self.pattern, stage.outputs, re.MULTILINE)
        if found and re.compile(self.pattern).groups == 1 and all(str(one).isdigit() for one in found):
            value = float(found[-1])
        else:
            value = float(len(found))
        return Measured(value, value >= self.at_least)


def make(arguments: Mapping[str, Any]) -> Output:
    """From the scenario's mapping."""
    at_least = float(arguments.get("at_least", 1))
    return Output(arguments["matches"], at_least, f"{arguments['matches']} >= {at_least:g}")
