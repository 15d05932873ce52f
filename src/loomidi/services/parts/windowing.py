"""Windows beside the bus, as a part of the pipeline.

Called by `pipeline`. In: flows and metrics of the bus. Out: windows and late rows on the bus, from where they get into
their tables like any stream. Leaves operators, state and what a crash leaves to `loom.runners`.
"""

import asyncio
from collections.abc import Iterator

from loomidi.loom.runners.local import LocalRunner
from loomidi.loom.runners.settings import RunnerSettings
from loomidi.services.shared.naming_part import Names
from loomidi.services.shared.plant import Plant
from loomidi.services.shared.probes import Sample


class Windowing:
    """One pipeline's."""

    def __init__(self, plant: Plant, names: Names) -> None:
        self._plant, self._names = plant, names
        self._runner: LocalRunner | None = None
        plant.sampled["windows"] = self.samples

    async def run(self, told: asyncio.Event) -> None:
        """Until told; open windows stay open for the next start."""
        group, early = self._plant.settings.windows, self._plant.early
        settings = RunnerSettings(
            folder=self._plant.state("windows"), windows=group.settings(), checkpoint_s=group.checkpoint_s
        )
        if self._names.wanted:
            await self._names.known.wait()
        bus = await self._plant.bus()
        naming = self._names if self._names.wanted else None
        runner = self._runner = await asyncio.to_thread(LocalRunner, bus, settings, naming=naming, early=early)
        ending = asyncio.create_task(self._stop(runner, told))
        try:
            await runner.run()
        finally:
            ending.cancel()
            await asyncio.to_thread(runner.close)

    async def _stop(self, runner: LocalRunner, told: asyncio.Event) -> None:
        await told.wait()
        runner.stop()

    def samples(self) -> Iterator[Sample]:
        """For /metrics."""
        for what, value in (self._runner.figures() if self._runner is not None else {}).items():
            yield Sample(
                "loomidi_windows_total", "gauge", "What the window operators did and hold", value, {"what": what}
            )
