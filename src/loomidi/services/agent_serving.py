"""The node agent as a process of its own: bus, publisher with its spool, agent, probes.

Called by `loomidi serve agent`. In: the configuration. Out: it runs until a signal. A bus that is away when the agent
starts does not keep it from metering: flows go to the spool until the bus answers.
"""

import asyncio
import signal
from collections.abc import Callable, Sequence

from loomidi.contracts.errors import UsageError
from loomidi.contracts.streams import Ack, Envelope
from loomidi.loom.bus import BusSettings, Publisher, TendedBus, open_bus
from loomidi.services.agent import COMPONENT, Agent, capture_of
from loomidi.services.counting import Counter
from loomidi.services.http.authority import Door
from loomidi.services.probes import Probes
from loomidi.services.run_settings import RunSettings


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
    """Until SIGINT or SIGTERM. Raises UsageError without links, and what keeps the agent from metering."""
    if not settings.agent.links:
        raise UsageError("nothing to meter; name at least one link, such as eth0 or 'veth*'")
    ending, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ending.set)
    state = settings.node.state.expanduser() / "agent"
    bus = LateBus(settings.bus)
    producer = Counter(settings.node.name, COMPONENT, 0).producer
    publisher = Publisher(
        bus,  # of a bus only `publish` is asked
        producer=producer,
        spool=settings.node.state.expanduser() / "spool" / COMPONENT,
        settings=settings.publisher,
    )
    try:
        chosen = settings.agent
        agent = Agent(publisher, lambda known: capture_of(chosen, known), settings.node.name, state, chosen)
        await _run(agent, probes, ending, say)
    finally:
        await publisher.close()
        await bus.close()


async def _run(agent: Agent, probes: Door | None, ending: asyncio.Event, say: Callable[[str], object]) -> None:
    async with asyncio.TaskGroup() as group:
        if probes is not None:
            watched = Probes(ready=agent.ready, samples=agent.samples)
            group.create_task(watched.serve(probes, ending, listening=lambda port: say(f"probes on port {port}")))
        told = group.create_task(_tell(agent, ending, say))
        try:
            await agent.run(ending)
        finally:
            ending.set()
            told.cancel()


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
