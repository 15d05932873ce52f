"""Runners carry the window operators: `local` in this process, `flink` as a job of Apache Flink.

Called by `services.pipeline`. In: a bus. Out: windows on the bus. Both give the same rows: a test.
"""

from loomidi.loom.runners.local import LocalRunner
from loomidi.loom.runners.machines import WindowMachine
from loomidi.loom.runners.settings import RunnerSettings

__all__ = ["LocalRunner", "RunnerSettings", "WindowMachine"]
