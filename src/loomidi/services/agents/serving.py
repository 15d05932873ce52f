"""The node agent as a process of its own: what it meters, with bus and spool; the orders that it takes; probes.

Called by `loomidi serve agent`. In: the configuration. Out: it runs until a signal. A bus that is away when the agent
starts does not keep it from metering: flows go to the spool until the bus answers. Orders need no bus at all.
"""

import asyncio
import contextlib
import dataclasses
import signal
from collections.abc import Awaitable, Callable, Iterable, Sequence

from loomidi.contracts.errors import UsageError
from loomidi.contracts.streams import Ack, Envelope
from loomidi.loom.bus import BusSettings, Publisher, TendedBus, open_bus
from loomidi.services.agents.agent import COMPONENT, Agent, capture_of
from loomidi.services.http.authority import Door
from loomidi.services.settings.run import RunSettings
from loomidi.services.shared.counting import Counter
from loomidi.services.shared.probes import Probes, Sample


class LateBus:
    """A bus that is opened by the first publish that finds it: until then every publish raises Retryable."""

    name = "late"

    def __init__(self, settings: BusSettings) -> None:
        self._settings = settings
        self._bus: TendedBus | None = None
        self._opening = asyncio.Lock()

    async def publish(self, envelopes: Sequence[Envelope]) -> list[Ack]:
        """As `Bus.publish`."""
        async with self._opening:
            if self._bus is None:
                self._bus = await open_bus(self._settings)
        acks: list[Ack] = await self._bus.publish(envelopes)
        return acks

    async def close(self) -> None:
        """Let go of it, if it was ever there."""
        if self._bus is not None:
            await self._bus.close()


async def serve(settings: RunSettings, probes: Door | None, say: Callable[[str], object]) -> None:
    """Until SIGINT or SIGTERM. Raises UsageError with nothing to do, and what keeps the agent from doing it."""
    if not settings.agent.links and settings.cuts.key is None:
        raise UsageError(
            "nothing to meter; name at least one link, such as eth0 or 'veth*', or take orders (--orders-key)"
        )
    ending, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ending.set)
    async with contextlib.AsyncExitStack() as stack:
        parts: list[Part] = []
        if settings.cuts.key is not None:
            parts.append(_cutting(settings, say))
        if settings.agent.links:
            parts.append(_metering(settings, stack, say))
        await _run(parts, probes, ending, say)


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One job of the agent."""

    run: Callable[[asyncio.Event], Awaitable[None]]
    ready: Callable[[], Sequence[str]]
    samples: Callable[[], Iterable[Sample]]


def _metering(settings: RunSettings, stack: contextlib.AsyncExitStack, say: Callable[[str], object]) -> Part:
    """Flows to the bus; bus and publisher are closed with the stack."""
    state, chosen = settings.node.state.expanduser() / "agent", settings.agent
    bus = LateBus(settings.bus)
    publisher = Publisher(
        bus,  # of a bus only `publish` is asked
        producer=Counter(settings.node.name, COMPONENT, 0).producer,
        spool=settings.node.state.expanduser() / "spool" / COMPONENT,
        settings=settings.publisher,
    )
    stack.push_async_callback(bus.close)
    stack.push_async_callback(publisher.close)
    agent = Agent(publisher, lambda known: capture_of(chosen, known), settings.node.name, state, chosen)

    async def run(ending: asyncio.Event) -> None:
        told = asyncio.create_task(_tell(agent, ending, say))
        try:
            await agent.run(ending)
        finally:
            told.cancel()

    return Part(run, agent.ready, agent.samples)


def _cutting(settings: RunSettings, say: Callable[[str], object]) -> Part:
    """Orders of the operator."""
    from loomidi.services.agents.cutting_api import CuttingApi

    api = CuttingApi(settings.node.name, settings.node.state.expanduser() / "cuts", settings.cuts)

    async def run(ending: asyncio.Event) -> None:
        await api.run(ending, listening=lambda port: say(f"orders on port {port}"))

    return Part(run, api.ready, api.samples)


async def _run(parts: Sequence[Part], probes: Door | None, ending: asyncio.Event, say: Callable[[str], object]) -> None:
    """All parts; the end of one, however it came, is the end of all."""

    async def to_the_end(part: Part) -> None:
        try:
            await part.run(ending)
        finally:
            ending.set()

    watched = Probes(
        ready=lambda: [reason for part in parts for reason in part.ready()],
        samples=lambda: [sample for part in parts for sample in part.samples()],
    )
    try:
        async with asyncio.TaskGroup() as group:
            if probes is not None:
                group.create_task(watched.serve(probes, ending, listening=lambda port: say(f"probes on port {port}")))
            for part in parts:
                group.create_task(to_the_end(part))
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from several  # one line says what to do about the first; the others followed


async def _tell(agent: Agent, ending: asyncio.Event, say: Callable[[str], object]) -> None:
    """The rung once links are captured; problems as they come."""
    told: set[str] = set()
    while not ending.is_set():
        lines = [*agent.problems(), *([agent.describe()] if not agent.waits else [])]
        for line in lines:
            if line not in told:
                told.add(line)
                say(line)
        await asyncio.sleep(0.2)
