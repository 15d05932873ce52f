"""Runners carry the window operators: `local` in this process, `flink` as a job of Apache Flink.

Called by `services.pipeline`. In: a bus. Out: windows on the bus. Both give the same rows: a test. Names are bound on
first use: Flink's environment has neither a bus's client libraries nor a logger.
"""

import importlib
from typing import Any

_HOMES = {"LocalRunner": "local", "RunnerSettings": "settings", "WindowMachine": "machines"}
__all__ = ["LocalRunner", "RunnerSettings", "WindowMachine"]


def __getattr__(name: str) -> Any:
    """Import the home of a public name. Raises AttributeError for others."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
