"""The slow lane, wired in one function: sources, bus, lake, and what keeps and counts them.

Called by `loomidi run`. In: settings, which parts. Out: it runs until a signal. `_parts` reads like the diagram: what
is listed first is started first and ended last, so that the bus outlives who publishes on it and the committers take
what the last publisher said. Each part's work is left to the file that it names.
"""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from loomidi.contracts.errors import Retryable, UsageError
from loomidi.contracts.streams import Stream
from loomidi.kit.waiting import told_within
from loomidi.loom.lake import streams
from loomidi.services.agents.agent import COMPONENT as AGENT
from loomidi.services.agents.agent import Agent, capture_of
from loomidi.services.events.telling import Events
from loomidi.services.ingest_api.serving import IngestApi
from loomidi.services.parts.answering import answering
from loomidi.services.parts.committing import Committing
from loomidi.services.parts.feeding import sources
from loomidi.services.parts.upkeep import Upkeep
from loomidi.services.parts.windowing import Windowing
from loomidi.services.parts.windowing_flink import FlinkWindowing
from loomidi.services.settings.run import Runner, RunSettings
from loomidi.services.shared.naming_part import Names
from loomidi.services.shared.plant import Plant
from loomidi.services.shared.probes import Probes, Sample
from loomidi.services.shared.supervising import Part, Supervisor

PARTS = {
    "bus": "holds the bus; starts our own server where none is named",
    "probes": "health, readiness and metrics on a port of their own",
    "commit": "one committer for each stream: bus to lake; commit:STREAM for one of them",
    "windows": "flows and HTTP metrics in windows, per edge and per entity",
    "fold": "proposes a Fold in the cluster for what is found, where one is configured; looks for failures there",
    "detect": "the live detectors on the flows of the bus, where they are on",
    "anomalies": "learns what windows of edges usually look like, tells what does not, with the likely cause",
    "events": "tells findings to others as OCSF or STIX, where a sink is configured",
    "upkeep": "trims the bus, compacts and sweeps the lake",
    "ingest": "the ingestion API",
    "sources": "the Kubernetes watch, log files, Prometheus targets, where they are configured",
    "agent": "flows of this node's links, where links are configured",
}
_COUNT = "count"  # in every process: counters into the lake, for `loomidi balance`
_THREADS = 16
_ASK_S = 2.0  # between two questions to the bus whether it is there
Listening = Callable[[str, int], object]  # a part's name and its port


async def run(settings: RunSettings, *, only: Sequence[str] = (), listening: Listening) -> None:
    """Run the parts (all, or these) until SIGINT or SIGTERM, then end them in order.

    Raises UsageError for a part that is not there, and whatever a part failed with for good.
    """
    _check(only)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, "loomidi"))
    if only and "bus" not in only:  # one process holds the bus; whoever else did would take it along when it ends
        settings = dataclasses.replace(settings, bus=dataclasses.replace(settings.bus, join=True))
    plant = Plant(settings, component="-".join(("pipeline", *sorted(only))).replace(":", "."))
    chosen = {*(only or PARTS), _COUNT, *(["commit:names"] if {"commit:flows", "windows"} & {*only} else [])}
    supervisor = Supervisor([part for part in _parts(plant, listening) if {part.name, _kind(part.name)} & chosen])
    plant.sampled["parts"] = lambda: _states(supervisor)
    plant.ready = lambda: supervisor.ready
    try:
        await supervisor.run_until_signal()
    finally:
        await plant.close()


def _parts(plant: Plant, listening: Listening) -> Iterator[Part]:
    """Every part, in the order of their start."""
    yield Part("bus", lambda told: _hold(plant, told))  # 1 the bus, before who needs it
    yield Part("probes", lambda told: _probe(plant, told, listening))  # 2 readiness is told from the first moment
    names = Names(plant)
    if names.wanted:
        yield Part("commit:names", names.run)  # 3 who owned an address when
    for stream in streams():  # 4 bus -> lake, flows by name
        committing = Committing(plant, stream, names=names if names.wanted and stream == Stream.FLOWS else None)
        plant.committing.append(committing)
        yield Part(f"commit:{stream}", committing.run)
    if plant.settings.windows.sizes_s:
        flink = plant.settings.windows.runner is Runner.FLINK
        windowing = FlinkWindowing(plant) if flink else Windowing(plant, names)
        yield Part("windows", windowing.run)  # 5 flows -> windows -> bus
    yield from answering(plant)  # 6 flows, windows and the cluster -> findings -> bus, Folds
    if plant.settings.events.sinks:
        yield Part("events", Events(plant).run)  # 7 findings -> queue on disk -> sinks
    yield Part("upkeep", Upkeep(plant).run)  # 8 bus and lake stay small
    yield Part(_COUNT, lambda told: _count(plant, told))  # 9 counters -> bus -> lake; ends after who counts
    yield Part("ingest", lambda told: _ingest(plant, told, listening))  # 10 HTTP -> bus
    yield from sources(plant)  # 11 clusters, logs, targets -> bus
    if plant.settings.agent.links:
        yield Part("agent", lambda told: _meter(plant, told), lambda: plant.why("agent"))  # 12 packets -> flows -> bus


def _check(only: Sequence[str]) -> None:
    known = {*PARTS, *(f"commit:{stream}" for stream in streams())}
    unknown = [name for name in only if name not in known]
    if unknown:
        raise UsageError(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}, and commit:STREAM")


def _kind(name: str) -> str:
    return name.partition(":")[0]


async def _hold(plant: Plant, told: asyncio.Event) -> None:
    bus = await plant.bus()
    while not await told_within(told, _ASK_S):
        if not await bus.reachable():
            await bus.recover()
            raise Retryable("the bus does not answer")


async def _probe(plant: Plant, told: asyncio.Event, listening: Listening) -> None:
    probes = Probes(ready=plant.ready, samples=plant.samples)
    await probes.serve(plant.settings.probes, told, listening=lambda port: listening("probes", port))


async def _ingest(plant: Plant, told: asyncio.Event, listening: Listening) -> None:
    """One epoch for each start: the ids of a part that is started again must not be those of its former life."""
    api = IngestApi(await plant.bus(), plant.settings.ingest, node=plant.settings.node.name)
    plant.counted[f"ingest {api.counts.epoch}"] = api.counters
    plant.sampled["ingest"] = api.samples
    await api.run(told, listening=lambda port: listening("ingest", port))


async def _meter(plant: Plant, told: asyncio.Event) -> None:
    chosen, publisher = plant.settings.agent, await plant.publisher(AGENT)
    plant.counted.pop(AGENT, None)  # it tells its counters itself, of the moment of its flows
    agent = Agent(
        publisher, lambda known: capture_of(chosen, known), plant.settings.node.name, plant.state("agent"), chosen
    )
    plant.sampled["agent"], plant.reasons["agent"] = agent.samples, agent.ready
    await agent.run(told)


async def _count(plant: Plant, told: asyncio.Event) -> None:
    """What every part has counted, as rows of the lake; the last time when all who count have ended."""
    publisher = await plant.publisher(plant.component)
    ending = False
    while not ending:
        ending = await told_within(told, plant.settings.count.every_s)
        now = time.time_ns()
        for counted in list(plant.counted.values()):
            publisher.offer(Stream.COUNTERS, counted(now))
    await publisher.flush()


def _states(supervisor: Supervisor) -> Iterator[Sample]:
    for part in supervisor.parts:
        labels = {"part": part.name}
        yield Sample("loomidi_part_running", "gauge", "1: the part runs", int(part.state == "running"), labels)
        yield Sample("loomidi_part_restarts_total", "counter", "Starts after the first", part.restarts, labels)
