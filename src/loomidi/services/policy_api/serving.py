"""The policy API as a service: its table of routes, its life from the first listening to the last answer.

Called by `standing_alone`. In: a desk, settings, an event that says when to end. Out: it serves until then, ends the
change that is under way, and ends; reasons for not being ready, samples for /metrics. Beside it, `settle` takes back
what a killed process had begun, and gives OPA again what it forgot.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from loomidi.contracts import LoomidiError
from loomidi.ionic.policies.rego_judging import sweep
from loomidi.kit import logging
from loomidi.kit.waiting import told_within
from loomidi.services.http import serving
from loomidi.services.http.authority import Authority, Gate
from loomidi.services.http.problems import Answer
from loomidi.services.http.routing import Application, Call, Route, application
from loomidi.services.policy_api import documents
from loomidi.services.policy_api.desks import Desk
from loomidi.services.policy_api.handling import Handlers
from loomidi.services.policy_api.settings import PREFIX, PolicySettings
from loomidi.services.shared.probes import Sample

_log = logging.logger("services.policy")
_TOLD = {
    "requests": "Requests by path and outcome",
    "changes": "Changes of policies by outcome",
    "decisions": "Events of decision logs by what became of them",
}


class PolicyApi:
    """One run of the service."""

    def __init__(self, desk: Desk, settings: PolicySettings) -> None:
        """Raises UsageError for a door that would stand open, InputError for files that cannot be used."""
        self.settings, self._desk = settings, desk
        lesser = {Authority.READER: settings.read_token_file, Authority.SENDER: settings.log_token_file}
        self._gate = Gate(settings.door, {one: path for one, path in lesser.items() if path is not None})
        self._counts: Counter[tuple[str, str]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._handlers = Handlers(desk, settings, self._count)
        self._unsettled = "what was broken off is not looked at yet"
        self.port = 0  # that is listened on; 0: not yet, or no longer

    def routes(self) -> tuple[Route, ...]:
        """Every path and who may call it."""
        to = self._handlers
        return (
            Route("POST", "/policy/deploy", Authority.RULER, to.deploy),
            Route("POST", "/policy/test", Authority.RULER, to.test),
            Route("GET", "/policy/status/{policy_name}", Authority.READER, to.status),
            Route("GET", "/policy", Authority.READER, to.policies),
            Route("GET", "/policy/{policy_name}/versions", Authority.READER, to.versions),
            Route("GET", "/policy/{policy_name}/versions/{version}", Authority.READER, to.version),
            Route("GET", "/policy/{policy_name}/diff", Authority.READER, to.diff),
            Route("POST", "/policy/{policy_name}/rollback", Authority.RULER, to.rollback),
            Route("POST", "/logs", Authority.SENDER, to.logs),
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

    async def settle(self, told: asyncio.Event) -> None:
        """Take back what was broken off and sweep what was left behind; then tend to what is in force."""
        pause_s = 0.0
        while not await told_within(told, pause_s):
            try:
                done = await self._handlers.settle()
                if self._unsettled and self._desk.opa is not None:
                    await asyncio.to_thread(sweep, self._desk.opa)
                self._count("changes", "taken back", done)
                await self._handlers.tend()
                self._unsettled, pause_s = "", self.settings.tend_s
            except LoomidiError as error:
                self._unsettled, pause_s = f"engines and store may differ: {error}", self.settings.settle_s
                _log.warning("engines cannot be tended to", problem=str(error))

    def ready(self) -> Sequence[str]:
        """Why it is not; empty when it is."""
        reasons = [] if self.port else ["not listening"]
        return reasons + ([self._unsettled] if self._unsettled else [])

    def samples(self) -> Iterator[Sample]:
        """For /metrics."""
        for (what, which), value in sorted(self._counts.items()):
            yield Sample(f"loomidi_policy_{what}_total", "counter", _TOLD[what], value, {"outcome": which})
        for path, micros in self._seconds.items():
            spent = "Seconds from a request's headers to its answer, summed"
            yield Sample("loomidi_policy_request_seconds_total", "counter", spent, micros / 1e6, {"path": path})
        memory = "Octets of bodies in progress"
        yield Sample("loomidi_policy_body_octets", "gauge", memory, self._handlers.budget.taken)
        yield Sample("loomidi_policy_changes_waiting", "gauge", "Changes in progress", self._handlers.waiting)
        yield Sample("loomidi_policy_settled", "gauge", "1: nothing is broken off", int(not self._unsettled))

    def _count(self, what: str, which: str, count: int) -> None:
        self._counts[what, which] += count

    def _told(self, path: str, answer: Answer, call: Call, seconds: float) -> None:
        self._count("requests", f"{path} {answer.reason or 'accepted'}", 1)
        self._seconds[path] += round(seconds * 1e6)
        _log.debug("request", path=path, status=answer.status, reason=answer.reason, seconds=seconds)
