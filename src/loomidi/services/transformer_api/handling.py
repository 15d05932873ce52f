"""The handlers of the transformer API: a request in, its answer out.

Called by `serving` through the table of routes. Each handler that leaves something behind: 1. media type, parameters,
key; 2. the body within its limits; 3. in a thread, one after the other: an answer that was given under this key, else
the work; 4. what it leaves behind and its answer are kept together; 5. the answer, or an error as a problem.
"""

import asyncio
import contextlib
import functools
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from loomidi.contracts import LoomidiError, Severity
from loomidi.services.http.limits import Budget, whole_body
from loomidi.services.http.problems import Answer, Problem
from loomidi.services.http.routing import Call
from loomidi.services.transformer_api import answering, asking, telling
from loomidi.services.transformer_api.analyzing import analyze
from loomidi.services.transformer_api.desks import Desk
from loomidi.services.transformer_api.fields import IDENTITY
from loomidi.services.transformer_api.initiating import BEGUN
from loomidi.services.transformer_api.proposing import ALLOWED, DENIED
from loomidi.services.transformer_api.settings import TransformerSettings
from loomidi.services.transformer_api.shelves import Decision, Key, Known

JSON = "application/json"
REPLAYED = ("Idempotent-Replayed", "true")
ORIGINS = ("loop", "analysis")
STATES = (ALLOWED, DENIED, *BEGUN)
FAULTS = ("worked", "kept")  # points at which a crash test ends the process
_OF_ONE = 100  # decisions that are told with their finding
Kept = tuple[dict[str, Any], Sequence[Known], Sequence[Decision]]  # answer, and what is left behind


class Handlers:
    """One run of the service."""

    def __init__(
        self,
        desk: Desk,
        settings: TransformerSettings,
        count: Callable[[str, str, int], None],
        fault: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """`count`: what, which of it, how many more; `fault`: for crash tests."""
        self._desk, self._settings, self._count, self._fault = desk, settings, count, fault
        self.budget = Budget(settings.limits.memory_octets)
        self._works = ThreadPoolExecutor(1, thread_name_prefix="transformer-work")
        self._reads = ThreadPoolExecutor(2, thread_name_prefix="transformer-read")
        self.waiting = 0

    def close(self) -> None:
        """Let go of the threads; work that is under way is ended first."""
        self._works.shutdown(wait=True)
        self._reads.shutdown(wait=True)

    async def analyze(self, call: Call) -> Answer:
        """POST /analyze/anomaly."""
        async with self._body(call) as body:
            return await self._once(call, "/analyze/anomaly", body, self._analyze)

    async def propose(self, call: Call) -> Answer:
        """POST /action/propose-fold."""
        async with self._body(call) as body:
            return await self._once(call, "/action/propose-fold", body, self._propose)

    async def initiate(self, call: Call) -> Answer:
        """POST /action/initiate."""
        async with self._body(call) as body:
            return await self._once(call, "/action/initiate", body, self._initiate)

    async def findings(self, call: Call) -> Answer:
        """GET /findings."""
        return await self._read(self._findings, call.parameters(("limit", "cursor", "pattern", "severity", "origin")))

    async def finding(self, call: Call) -> Answer:
        """GET /findings/{finding_id}."""
        call.parameters(())
        return await self._read(self._finding, call.path["finding_id"])

    async def decisions(self, call: Call) -> Answer:
        """GET /decisions."""
        return await self._read(self._decisions, call.parameters(("limit", "cursor", "anomaly_id", "state")))

    async def decision(self, call: Call) -> Answer:
        """GET /decisions/{plan_id}."""
        call.parameters(())
        return await self._read(self._decision, call.path["plan_id"])

    @contextlib.asynccontextmanager
    async def _body(self, call: Call) -> AsyncIterator[bytes]:
        """The whole body, its memory set aside until the work is done. Raises Problem."""
        if call.media_type != JSON:
            raised = f"{call.media_type[:80]!r} is not taken" if call.media_type else "there is no Content-Type"
            raise Problem("media-type", f"{raised}: send {JSON}", headers={"Accept-Post": JSON})
        call.parameters(())
        async with whole_body(call.receive, call.headers, self._settings.limits, self.budget, call.took) as body:
            yield body

    async def _once(self, call: Call, route: str, body: bytes, work: Callable[[bytes, str], Kept]) -> Answer:
        """One after the other, each once for each key."""
        author = _author(call)
        key = Key(author, route, asking.key(call), hashlib.sha256(body).hexdigest())
        if self.waiting >= self._settings.waiting:
            detail = "too many requests wait for each other: send it again later"
            raise answering.problem("busy", detail, retry_after_s=self._settings.retry_after_s)
        self.waiting += 1
        try:
            return await self._in_thread(self._works, self._kept, key, body, work)
        finally:
            self.waiting -= 1

    def _kept(self, key: Key, body: bytes, work: Callable[[bytes, str], Kept]) -> Answer:
        known = self._desk.shelf.answered(key)
        if known is not None:
            if known[0] != key.digest:
                raise answering.reused()
            self._count("keys", "replayed", 1)
            return answering.found(json.loads(known[1]), REPLAYED)
        document, found, decided = work(body, key.author)
        self._fault("worked")
        self._desk.shelf.keep(json.dumps(document), key, found, decided)
        self._fault("kept")
        if key.key:
            self._count("keys", "kept", 1)
        return answering.found(document)

    async def _read(self, work: Callable[..., Answer], *given: Any) -> Answer:
        return await self._in_thread(self._reads, work, *given)

    async def _in_thread(self, pool: ThreadPoolExecutor, work: Callable[..., Answer], *given: Any) -> Answer:
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, functools.partial(work, *given))
        except LoomidiError as error:
            raise answering.of_error(error, self._settings.retry_after_s) from error

    def _analyze(self, body: bytes, _author: str) -> Kept:
        asked, reference = asking.analysis(body), self._desk.learning.reference
        if reference is None:
            raise answering.no_reference(self._desk.learning.why)
        if asked.snapshot is None and not reference.judges_vectors:
            raise answering.no_reference("it knows too few windows to judge a metrics vector alone")
        done = analyze(asked, reference, self._settings, self._desk.clock.now_ns())
        self._count("analyses", done.document["detected_pattern"], 1)
        return done.document, [done.known] if done.known is not None else [], []

    def _propose(self, body: bytes, author: str) -> Kept:
        wish = asking.wish(body)
        known = self._desk.shelf.finding(wish.anomaly_id)
        if known is None:
            raise answering.unknown("anomaly", "/findings")
        done = self._desk.proposing.propose(known, wish, author)
        for one in done.decisions:
            self._count("plans", one.state, 1)
        return done.document, [], done.decisions

    def _initiate(self, body: bytes, author: str) -> Kept:
        asked = asking.begin(body)
        decision = self._desk.shelf.decision(asked.plan_id)
        if decision is None:
            raise answering.unknown("plan", "/decisions")
        done = self._desk.initiating.begin(decision, asked, author)
        self._count("plans", done.decision.state if done.decision is not decision else "begun before", 1)
        return done.document, [], [done.decision]

    def _findings(self, given: Mapping[str, str]) -> Answer:
        page = asking.page(given)
        severity = asking.choice(given, "severity", tuple(Severity))
        origin = asking.choice(given, "origin", ORIGINS)
        found = self._desk.shelf.findings(
            page, pattern=asking.identity(given, "pattern"), severity=severity, origin=origin
        )
        following = f"{found[-1].at_ns}.{found[-1].finding.id}" if len(found) == page.limit else None
        return answering.found({"findings": [telling.finding(one) for one in found], "next": following})

    def _finding(self, identity: str) -> Answer:
        known = self._desk.shelf.finding(identity) if IDENTITY.fullmatch(identity) else None
        if known is None:
            raise answering.unknown("finding", "/findings")
        decisions = self._desk.shelf.decisions(asking.Page(_OF_ONE, None), finding=identity)
        return answering.found(telling.whole_finding(known, decisions, self._desk.cluster))

    def _decisions(self, given: Mapping[str, str]) -> Answer:
        page, state = asking.page(given), asking.choice(given, "state", STATES)
        found = self._desk.shelf.decisions(page, finding=asking.identity(given, "anomaly_id"), state=state)
        following = f"{found[-1].at_ns}.{found[-1].id}" if len(found) == page.limit else None
        return answering.found({"decisions": [telling.decision(one) for one in found], "next": following})

    def _decision(self, identity: str) -> Answer:
        found = self._desk.shelf.decision(identity) if IDENTITY.fullmatch(identity) else None
        if found is None:
            raise answering.unknown("plan", "/decisions")
        return answering.found(telling.whole_decision(found, self._desk.cluster))


def _author(call: Call) -> str:
    """The fingerprint of the token; whoever comes without one is of this machine or has shown a certificate."""
    token = call.header("authorization").partition(" ")[2].strip()
    return f"token {hashlib.sha256(token.encode()).hexdigest()[:12]}" if token else "local"
