"""Windows by a job of Apache Flink, as a part of the pipeline: submitted, watched, submitted again from its checkpoint.

Called by `pipeline` where `windows.runner` is flink. In: a Kafka bus. Out: windows on its topics, as the local runner
gives them. The epoch of the job's ids is kept beside its checkpoints, so that a restored job gives the same ids. Leaves
the job to `loom.runners.flink`.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from loomidi.contracts.errors import Retryable, UsageError
from loomidi.kit.waiting import told_within
from loomidi.loom.runners.flink import FlinkSettings, Submitted, submit
from loomidi.services.shared.plant import Plant
from loomidi.services.shared.probes import Sample

_LOOK_S = 0.5
_KAFKA = "kafka://"


class FlinkWindowing:
    """One pipeline's."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._submitted = 0
        plant.sampled["windows"] = self.samples

    async def run(self, told: asyncio.Event) -> None:
        """Until told. Raises UsageError on another bus than Kafka, EnvironmentLacks without Flink's tools."""
        bus = await self._plant.bus()
        for stream in ("flows", "metrics"):
            await bus.lineage(stream)  # the topics are there before the job looks for them
        job = await asyncio.to_thread(submit, self._settings())
        self._submitted += 1
        try:
            while not told.is_set() and job.process.poll() is None:
                await told_within(told, _LOOK_S)
            if not told.is_set():
                raise Retryable(f"the Flink job ended by itself: {_last(job)}")
            await asyncio.to_thread(job.stop)
        finally:
            await asyncio.to_thread(job.close)

    def _settings(self) -> FlinkSettings:
        settings, group = self._plant.settings, self._plant.settings.windows
        if not settings.bus.url.startswith(_KAFKA):
            raise UsageError("windows.runner = flink needs bus.url = kafka://HOST:PORT; the local runner takes any bus")
        folder = self._plant.state("flink").absolute()
        return FlinkSettings(
            windows=group.settings(),
            bootstrap=settings.bus.url.removeprefix(_KAFKA),
            prefix=settings.bus.prefix,
            master=group.flink_master,
            checkpoint_s=group.checkpoint_s,
            checkpoints=(folder / "checkpoints").as_uri(),
            restore=_newest(folder / "checkpoints"),
            epoch=_epoch(folder / "epoch"),
        )

    def samples(self) -> Iterator[Sample]:
        """For /metrics."""
        yield Sample("loomidi_flink_submissions_total", "counter", "Jobs submitted", self._submitted)


def _newest(checkpoints: Path) -> str:
    """The newest complete checkpoint; empty: there is none."""
    found = sorted(checkpoints.glob("*/chk-*/_metadata"), key=lambda path: path.stat().st_mtime)
    return found[-1].parent.as_uri() if found else ""


def _epoch(file: Path) -> int:
    """Of the ids, the same for as long as the checkpoints are."""
    if not file.is_file():
        file.write_text(str(time.time_ns()))
    return int(file.read_text())


def _last(job: Submitted) -> str:
    lines = job.log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"
