"""From findings to Folds, as parts of the pipeline: detectors on the bus, the model, a cluster's failures, proposals.

Called by `pipeline`. In: the groups `detect`, `anomalies` and `fold`. Out: the parts that they ask for. What they find
goes into the stream `findings`; what rules find goes, where a cluster is named, to one `Folding`: rules decide, the
model ranks and says why. Leaves each piece to the file that it names.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from loomidi.contracts import Finding, Retryable
from loomidi.contracts.streams import Stream
from loomidi.insight.report import ProposedFold
from loomidi.ionic.decide import Decider, DeciderSettings
from loomidi.kit.clock import SystemClock
from loomidi.kit.waiting import told_within
from loomidi.loom.bus import Publisher
from loomidi.loom.sources.clusters import access
from loomidi.services.anomalies.part import Anomalies
from loomidi.services.anomalies.reasoning import Reasons
from loomidi.services.folds.folding import Folding, LookBack, Planner
from loomidi.services.folds.looking_back import LookBackSettings, look_back
from loomidi.services.folds.planning import decider_over, explained, planned
from loomidi.services.folds.ranking import Bandit
from loomidi.services.parts.detecting import Detecting
from loomidi.services.parts.diagnosing import Diagnosing
from loomidi.services.settings.hows import How
from loomidi.services.shared.findings import finding_row
from loomidi.services.shared.plant import Plant
from loomidi.services.shared.probes import Sample
from loomidi.services.shared.supervising import Part
from loomidi.services.sightings import OVER, Sighting
from loomidi.services.watching import WatchSettings

_REQUEST_S = 10.0  # until a request is given up
_POLL_S = 0.5
_COMPONENT = "fold"


def answering(plant: Plant) -> Iterator[Part]:
    """Who proposes first, so that who finds is heard from the start."""
    reasons = Reasons()
    chosen, answers = plant.settings.fold, Answers(plant, reasons)
    size_s = plant.settings.anomalies.size(plant.settings.windows.sizes_s)
    if chosen.kubeconfig:
        yield Part("fold", answers.run)
    if plant.settings.detect.on:
        yield Part("detect", Detecting(plant, _watch(plant), answers.sighted).run)
    if plant.settings.anomalies.on and size_s:
        yield Part("anomalies", Anomalies(plant, size_s, reasons).run)


class Answers:
    """The way into the cluster; without one, findings are only told."""

    def __init__(self, plant: Plant, reasons: Reasons) -> None:
        self._plant, self._settings, self._reasons = plant, plant.settings.fold, reasons
        self._folding: Folding | None = None

    def sighted(self, seen: Sighting) -> None:
        """From the detectors' thread."""
        if self._folding is not None:
            self._folding.offer(seen.named.finding, seen.folds, seen.named.where)

    async def run(self, told: asyncio.Event) -> None:
        """Until told. Raises EnvironmentLacks when the cluster cannot be reached as configured."""
        named = self._settings.kubeconfig
        cluster = access(None if named == "auto" else Path(named).expanduser(), os.environ)
        publisher, stop = await self._plant.publisher(_COMPONENT), threading.Event()
        with cluster.blocking(_REQUEST_S) as proposing, cluster.blocking(_REQUEST_S) as looking:
            back, plan, bandit = self._looking_back(), self._planner(), self._bandit()
            folding = self._folding = Folding(proposing, self._settings, look_back=back, plan=plan, bandit=bandit)
            self._plant.sampled[_COMPONENT] = folding.samples
            workers: list[Callable[[threading.Event], None]] = [folding.run]
            if self._settings.failures:
                told_of = _Told(folding, publisher, self._reasons)
                diagnosing = Diagnosing(looking, told_of, self._settings)
                self._plant.sampled["diagnose"] = lambda: _kubelets(diagnosing)
                workers.append(diagnosing.run)
            await _all(workers, stop, told)

    def _decider(self) -> Decider:
        """No graph is at hand, so a radius is the worst that a fold may have."""
        settings = DeciderSettings(self._settings.mode, approval_s=self._settings.valid_s)
        return decider_over(None, self._settings.protected, SystemClock(), settings)

    def _bandit(self) -> Bandit | None:
        """What it learned lies in the state folder."""
        if self._settings.ranking is not How.BANDIT:
            return None
        decider = self._decider()
        allows = lambda plan: all(one.allow is True for one in decider.judge(plan))  # noqa: E731
        return Bandit(self._plant.state("choices"), allows, time.time_ns())

    def _planner(self) -> Planner:
        """For a storm."""
        decider = self._decider()
        return lambda finding, where: planned(finding, decider, where)

    def _looking_back(self) -> LookBack | None:
        """The lake that the pipeline fills, asked for each Fold before it is posted."""
        settings, lake = self._settings, self._plant.lake
        if not settings.replay_s:
            return None
        far = LookBackSettings(last_s=settings.replay_s)
        return lambda fold: look_back(lake, fold, settings.protected, far)


class _Told:
    """What becomes of a failure: a row with its likely cause, and perhaps a Fold."""

    def __init__(self, folding: Folding, publisher: Publisher, reasons: Reasons) -> None:
        self._folding, self._publisher, self._reasons = folding, publisher, reasons

    def __call__(self, finding: Finding, state: str, folds: Sequence[ProposedFold]) -> None:
        finding = explained(self._reasons.told(finding), folds)
        self._publisher.offer(Stream.FINDINGS, finding_row(finding, state, folds, time.time_ns()))
        if state != OVER:
            self._folding.offer(finding, folds)


async def _all(
    workers: Sequence[Callable[[threading.Event], None]], stop: threading.Event, told: asyncio.Event
) -> None:
    """Each on a thread; the first that ends before it was told to ends them all. Raises what it failed with."""
    tasks = [asyncio.create_task(asyncio.to_thread(worker, stop)) for worker in workers]
    try:
        while not await told_within(told, _POLL_S):
            if any(task.done() for task in tasks):
                raise Retryable("a worker has ended, it is begun again")
    finally:
        stop.set()
        await asyncio.gather(*tasks)


def _watch(plant: Plant) -> WatchSettings:
    chosen, detect = plant.settings.fold, plant.settings.detect
    return WatchSettings(
        protected=chosen.protected,
        judge_s=detect.judge_s,
        again_s=detect.again_s,
        summary_s=0.0,
        mode=chosen.mode,
        valid_s=chosen.valid_s,
    )


def _kubelets(diagnosing: Diagnosing) -> Iterator[Sample]:
    for what, value in sorted(diagnosing.throttling.counts.items()):
        about = "Questions to kubelets for CPU throttling, by the answer"
        yield Sample("loomidi_diagnose_kubelets_total", "counter", about, value, {"answer": what})
