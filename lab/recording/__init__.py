"""Recordings of the lab: plans, the recorder, checks, and reading them back.

The commands, tests, training and benchmarks import from here. `load(DIR)` gives a `Recording`; making one needs a lab
that is up and loads its modules only then.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loomidi_lab.recording.comparing import compare
    from loomidi_lab.recording.loading import Recording, load
    from loomidi_lab.recording.planning import Plan, Schedule, load_plan, plan_names, schedule
    from loomidi_lab.recording.recorder import record
    from loomidi_lab.recording.summing import summary_table
    from loomidi_lab.recording.verifying import verify

_HOMES = {
    "Plan": "planning",
    "Recording": "loading",
    "Schedule": "planning",
    "compare": "comparing",
    "load": "loading",
    "load_plan": "planning",
    "plan_names": "planning",
    "record": "recorder",
    "schedule": "planning",
    "summary_table": "summing",
    "verify": "verifying",
}
__all__ = [
    "Plan",
    "Recording",
    "Schedule",
    "compare",
    "load",
    "load_plan",
    "plan_names",
    "record",
    "schedule",
    "summary_table",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import the home of a public name. Raises AttributeError for others."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
