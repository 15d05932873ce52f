"""Scenarios: loaded, drawn by a seed, run on a lab, and checked to have really happened.

The commands, the recorder and the test fixtures import from here; nothing in `loomidi` does.
"""

import importlib
from typing import TYPE_CHECKING, Any

from loomidi_lab.staging.drawing import draw
from loomidi_lab.staging.loading import BadScenario, load, names
from loomidi_lab.staging.records import Drawn, EntityRef, Occurrence, Scenario, SymptomResult

if TYPE_CHECKING:
    from loomidi_lab.staging.observing import Observer
    from loomidi_lab.staging.running import run

__all__ = [
    "BadScenario",
    "Drawn",
    "EntityRef",
    "Observer",
    "Occurrence",
    "Scenario",
    "SymptomResult",
    "draw",
    "load",
    "names",
    "run",
]
_HOMES = {"Observer": "observing", "run": "running"}  # these load Arrow; listing scenarios need not wait for it


def __getattr__(name: str) -> Any:
    """Import the home of a public name. Raises AttributeError for others."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
