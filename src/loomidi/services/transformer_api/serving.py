"""The transformer API as a service: its table of routes, its life from the first listening to the last answer.

Called by `standing_alone`. In: a desk, settings, an event that says when to end. Out: it serves until then, ends the
work that is under way, and ends; reasons for not being ready, samples for /metrics.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from loomidi.kit import logging
from loomidi.services.http import serving
from loomidi.services.http.authority import Authority, Gate
from loomidi.services.http.problems import Answer
from loomidi.services.http.routing import Application, Call, Route, application
from loomidi.services.shared.probes import Sample
from loomidi.services.transformer_api import documents
from loomidi.services.transformer_api.desks import Desk
from loomidi.services.transformer_api.handling import Handlers
from loomidi.services.transformer_api.settings import PREFIX, TransformerSettings

_log = logging.logger("services.transformer")
_TOLD = {
    "requests": "Requests by path and outcome",
    "analyses": "Snapshots that were judged, by what they are called",
    "plans": "Plans by what became of them",
    "keys": "Idempotency keys that were kept, and answers given again",
    "findings": "Findings of the pipeline that were read, and those that were news",
    "learning": "Tries to learn the reference, by outcome",
    "forgotten": "What was let go because the store is bounded",
}


class TransformerApi:
    """One run of the service."""

    def __init__(
        self, desk: Desk, settings: TransformerSettings, fault: Callable[[str], None] = lambda _name: None
    ) -> None:
        """Raises UsageError for a door that would stand open, InputError for files that cannot be used."""
        self.settings, self._desk = settings, desk
        lesser = {Authority.READER: settings.read_token_file, Authority.SENDER: settings.analyze_token_file}
        self._gate = Gate(settings.door, {one: path for one, path in lesser.items() if path is not None})
        self._counts: Counter[tuple[str, str]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._handlers = Handlers(desk, settings, self._count, fault)
        self.port = 0  # that is listened on; 0: not yet, or no longer

    def routes(self) -> tuple[Route, ...]:
        """Every path and who may call it."""
        to = self._handlers
        return (
            Route("POST", "/analyze/anomaly", Authority.SENDER, to.analyze),
            Route("POST", "/action/propose-fold", Authority.RULER, to.propose),
            Route("POST", "/action/initiate", Authority.RULER, to.initiate),
            Route("GET", "/findings", Authority.READER, to.findings),
            Route("GET", "/findings/{finding_id}", Authority.READER, to.finding),
            Route("GET", "/decisions", Authority.READER, to.decisions),
            Route("GET", "/decisions/{plan_id}", Authority.READER, to.decision),
            Route("GET", "/openapi.json", Authority.ANYONE, documents.as_json),
            Route("GET", "/openapi.yaml", Authority.ANYONE, documents.as_yaml),
        )

    def application(self) -> Application:
        """As ASGI, for tests and for other servers."""
        return application(PREFIX, self.routes(), self._gate, self._told)

    async def run(self, told: asyncio.Event, *, listening: Callable[[int], object] = lambda _port: None) -> None:
        """Serve until `told` is set; then finish what is in progress. Raises Conflict when the port is taken."""

        def up(port: int) -> None:
            self.port = port
            listening(port)

        try:
            await serving.serve(self.application(), self.settings.door, told, listening=up)
        finally:
            self.port = 0
            await asyncio.to_thread(self._handlers.close)

    def ready(self) -> Sequence[str]:
        """Why it is not; empty when it is. Without a reference it is: findings are told, folds proposed."""
        return [] if self.port else ["not listening"]

    def samples(self) -> Iterator[Sample]:
        """For /metrics."""
        parts = {"findings": self._desk.following.counts, "learning": self._desk.learning.counts}
        parts["forgotten"] = self._desk.shelf.forgotten
        beside = {(what, which): value for what, counts in parts.items() for which, value in counts.items()}
        for (what, which), value in sorted({**self._counts, **beside}.items()):
            yield Sample(f"loomidi_transformer_{what}_total", "counter", _TOLD[what], value, {"outcome": which})
        for path, micros in self._seconds.items():
            spent = "Seconds from a request's headers to its answer, summed"
            yield Sample("loomidi_transformer_request_seconds_total", "counter", spent, micros / 1e6, {"path": path})
        for what, value in self._desk.shelf.counts().items():
            yield Sample("loomidi_transformer_kept", "gauge", "What is kept", value, {"what": what})
        memory = "Octets of bodies in progress"
        yield Sample("loomidi_transformer_body_octets", "gauge", memory, self._handlers.budget.taken)
        yield Sample("loomidi_transformer_waiting", "gauge", "Requests in progress", self._handlers.waiting)
        there = int(self._desk.learning.reference is not None)
        yield Sample("loomidi_transformer_reference", "gauge", "1: snapshots can be judged", there)

    def _count(self, what: str, which: str, count: int) -> None:
        self._counts[what, which] += count

    def _told(self, path: str, answer: Answer, call: Call, seconds: float) -> None:
        self._count("requests", f"{path} {answer.reason or 'accepted'}", 1)
        self._seconds[path] += round(seconds * 1e6)
        _log.debug("request", path=path, status=answer.status, reason=answer.reason, seconds=seconds)
