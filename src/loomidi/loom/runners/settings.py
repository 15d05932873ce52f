"""Settings of the runners.

Made by services from the configuration, read by `local` and `flink`. In: folders, seconds, counts. Out: frozen records.
"""

import dataclasses
from pathlib import Path

from loomidi.contracts.errors import UsageError
from loomidi.loom.windows import WindowSettings


@dataclasses.dataclass(frozen=True, slots=True)
class RunnerSettings:
    """How windows are run beside the bus."""

    folder: Path
    # Snapshots and the journal: on a local disk; with a state of 50 MB it holds about 100 MB.
    windows: WindowSettings = dataclasses.field(default_factory=WindowSettings)
    # Which windows, and their bounds.
    name: str = "windows"
    # Of the durable consumers on the bus: one for each runner that is to see everything.
    checkpoint_s: float = 15.0
    # Between snapshots: what is read again after a crash. A snapshot costs about 0.1 s of CPU per 50 MB.
    fetch: int = 64
    # Messages asked for at a time, of 64 to 256 KiB.
    waiting: int = 4
    # Answers to such questions that may wait until the operators have time; then the bus keeps the rest.
    tick_s: float = 0.5
    # How often it is looked whether windows can close while nothing comes.
    patience_s: float = 30.0
    # Longest pause between tries while the bus is away.

    def __post_init__(self) -> None:
        """Raises UsageError for values that make no sense."""
        if not self.name or not 0 < self.checkpoint_s <= 3600 or not 0 < self.tick_s <= 60:
            raise UsageError("runner: needs a name, a checkpoint every 0 to 3600 s and a tick of 0 to 60 s")
        if not 1 <= self.fetch <= 1024 or not 1 <= self.waiting <= 1024 or self.patience_s <= 0:
            raise UsageError("runner: fetch and waiting are 1 to 1024, patience is above 0")
