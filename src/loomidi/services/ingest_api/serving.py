"""The ingestion API as a service: its table of routes, its life from the first listening to the last answer.

Called by `loomidi serve ingest` and by the pipeline, which hands in its bus. In: a bus, settings, an event that says
when to end. Out: it serves until then, answers what is in progress, and ends; counters for the loss balance, reasons
for not being ready, samples for /metrics.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from loomidi.contracts.streams import Bus
from loomidi.kit import logging
from loomidi.services.http import serving
from loomidi.services.http.authority import Authority, Gate
from loomidi.services.http.problems import Answer
from loomidi.services.http.routing import Application, Call, Route, application
from loomidi.services.ingest_api import documents
from loomidi.services.ingest_api.counting import Counts
from loomidi.services.ingest_api.handling import Handlers
from loomidi.services.ingest_api.settings import PREFIX, IngestSettings
from loomidi.services.shared.probes import Sample

_log = logging.logger("services.ingest")
_ASK_S = 2.0  # between two questions to the bus whether it is there


class IngestApi:
    """One run of the service. `epoch`: ns, of this run; larger than that of the last one."""

    def __init__(self, bus: Bus, settings: IngestSettings, *, node: str, epoch: int | None = None) -> None:
        """Raises UsageError for a door that would stand open, InputError for files that cannot be used."""
        self.settings, self._bus = settings, bus
        self.counts = Counts(node, time.time_ns() if epoch is None else epoch)
        self._gate = Gate(settings.door)
        self._handlers = Handlers(bus, self.counts, settings)
        self._reachable = True
        self.port = 0  # that is listened on; 0: not yet, or no longer

    def routes(self) -> tuple[Route, ...]:
        """Every path and who may call it."""
        to = self._handlers
        return (
            Route("POST", "/data/network-flow", Authority.SENDER, to.network_flow),
            Route("POST", "/data/system-metrics", Authority.SENDER, to.system_metrics),
            Route("POST", "/data/events", Authority.SENDER, to.events),
            Route("POST", "/v1/metrics", Authority.SENDER, to.otlp_metrics),
            Route("GET", "/openapi.json", Authority.ANYONE, documents.as_json),
            Route("GET", "/openapi.yaml", Authority.ANYONE, documents.as_yaml),
        )

    def application(self) -> Application:
        """As ASGI, for tests and for other servers."""
        return application(PREFIX, self.routes(), self._gate, self._told)

    async def run(self, told: asyncio.Event, *, listening: Callable[[int], object] = lambda _port: None) -> None:
        """Serve until `told` is set; then finish what is in progress. Raises Conflict when the port is taken."""
        asking = asyncio.create_task(self._ask(), name="ingest asks the bus")

        def up(port: int) -> None:
            self.port = port
            listening(port)

        try:
            await serving.serve(self.application(), self.settings.door, told, listening=up)
        finally:
            self.port = 0
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await asyncio.to_thread(self._handlers.close)

    async def _ask(self) -> None:
        while True:
            try:
                self._reachable = await self._bus.reachable()
            except Exception as error:  # noqa: BLE001 - whatever it is: the bus is not there
                _log.debug("bus could not be asked", problem=str(error))
                self._reachable = False
            await asyncio.sleep(_ASK_S)

    def ready(self) -> Sequence[str]:
        """Why it is not; empty when it is."""
        reasons = [] if self.port else ["not listening"]
        return reasons if self._reachable else [*reasons, "the bus does not answer"]

    def counters(self, now_ns: int) -> pa.RecordBatch:
        """In the schema `COUNTERS`, for the loss balance."""
        return self.counts.batch(now_ns)

    def samples(self) -> Iterator[Sample]:
        """For /metrics."""
        yield from self.counts.exposed()
        memory = "Octets of bodies in progress"
        yield Sample("loomidi_ingest_body_octets", "gauge", memory, self._handlers.budget.taken)
        yield Sample("loomidi_ingest_requests_in_progress", "gauge", "Bodies in progress", self._handlers.in_progress)
        yield Sample("loomidi_ingest_bus_reachable", "gauge", "1: the bus answers", int(self._reachable))

    def _told(self, path: str, answer: Answer, call: Call, seconds: float) -> None:
        self.counts.request(path, answer.reason or "accepted", call.received_octets, seconds)
        _log.debug(
            "request",
            path=path,
            status=answer.status,
            reason=answer.reason,
            octets=call.received_octets,
            seconds=seconds,
        )
