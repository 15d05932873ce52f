"""Bus and lake kept small while they are used: trim, compact, sweep, as a part of the pipeline.

Called by `pipeline`. In: settings. Out: fewer messages, fewer and larger files; the rows stay as they are. One round
after another, each in a thread; what fails is logged and tried in the next round, for nothing here is urgent.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator

from loomidi.contracts.errors import LoomidiError
from loomidi.kit import logging
from loomidi.kit.waiting import told_within
from loomidi.loom.lake import compact, sweep
from loomidi.services.shared.plant import Plant
from loomidi.services.shared.probes import Sample

_log = logging.logger("services.upkeep")


class Upkeep:
    """One pipeline's."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._swept_s = time.monotonic()
        plant.sampled["upkeep"] = self.samples
        self._counts = {"trimmed_batches": 0, "compacted_files": 0, "swept_files": 0, "failed": 0}

    async def run(self, told: asyncio.Event) -> None:
        """Until told."""
        every_s = self._plant.settings.upkeep.every_s
        while every_s and not await told_within(told, every_s):
            await self.round()
        await told.wait()

    async def round(self) -> None:
        """Once."""
        bus = await self._plant.bus()
        with self._minding("trim"):
            self._counts["trimmed_batches"] += await bus.trim()
        for stream in await asyncio.to_thread(self._plant.lake.tables):
            with self._minding(f"compact {stream}"):
                await asyncio.to_thread(self._compact, stream)
        settings = self._plant.settings.upkeep
        if settings.sweep_every_s and time.monotonic() - self._swept_s >= settings.sweep_every_s:
            self._swept_s = time.monotonic()
            await self._sweep()

    def _compact(self, stream: str) -> None:
        for hour in compact(self._plant.lake, stream):
            self._counts["compacted_files"] += hour.files_before - hour.files_after

    async def _sweep(self) -> None:
        for stream in await asyncio.to_thread(self._plant.lake.tables):
            with self._minding(f"sweep {stream}"):
                done = await asyncio.to_thread(sweep, self._plant.lake, stream, remove=True)
                self._counts["swept_files"] += done.removed

    @contextlib.contextmanager
    def _minding(self, what: str) -> Iterator[None]:
        try:
            yield
        except LoomidiError as error:
            self._counts["failed"] += 1
            _log.warning("upkeep is tried again in the next round", what=what, problem=str(error))

    def samples(self) -> Iterator[Sample]:
        """For /metrics."""
        for name, value in self._counts.items():
            yield Sample("loomidi_upkeep_total", "counter", "What upkeep has done", value, {"what": name})
