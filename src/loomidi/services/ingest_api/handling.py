"""The handlers of the ingestion API: a request's body in, its answer out, once the bus holds what was in it.

Called by `serving` through the table of routes. Each handler: 1. media type, parameters, key; 2. the body within its
limits; 3. rows of it, in a thread where it is large; 4. refuse, or publish and answer. Counts everything, also what it
refuses. Leaves parsing, packing and the bus to the files beside it.
"""

import asyncio
import dataclasses
import functools
import re
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from loomidi.contracts.streams import Bus, Stream
from loomidi.services.http.limits import BodyLimits, Budget, whole_body
from loomidi.services.http.problems import Answer, Problem
from loomidi.services.http.routing import Call
from loomidi.services.ingest_api import answering, measuring, metering, relaying, scanning, sniffing, telling
from loomidi.services.ingest_api.answering import Refusals, Taken
from loomidi.services.ingest_api.committing import Held, Outlet, Packed
from loomidi.services.ingest_api.counting import Counts
from loomidi.services.ingest_api.grouping import KIND, MetricGroup
from loomidi.services.ingest_api.remembering import Keys
from loomidi.services.ingest_api.settings import IngestSettings

T = TypeVar("T")
OCTETS, JSON = "application/octet-stream", "application/json"
LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl")
_CHUNK_ROWS = 8192  # of a large JSON body at a time
_NAME = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")
_LINK = "posted"  # of flows whose sender names none


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """How a body is to be taken."""

    key: int | None  # number of the Idempotency-Key
    lenient: bool  # good rows although others are bad


class Handlers:
    """One run of the service."""

    def __init__(self, bus: Bus, counts: Counts, settings: IngestSettings) -> None:
        self._counts, self._settings = counts, settings
        self.outlet = Outlet(bus, counts, settings)
        self._group = MetricGroup(self.outlet, counts, settings.group_rows)
        self._keys = Keys(settings.keys)
        self.budget = Budget(settings.limits.memory_octets)
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="ingest")
        self.in_progress = 0

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=True)

    async def network_flow(self, call: Call) -> Answer:
        """POST /data/network-flow."""
        _check_media_type(call, (OCTETS,))
        given = call.parameters(("exporter", "link"))
        for name, value in given.items():
            if not _NAME.fullmatch(value):
                raise Problem("malformed", f"{name} must be 1 to 128 letters, digits and . _ : / @ -, such as node-1")
        account = metering.Account(given.get("exporter", self._counts.node), given.get("link", _LINK))
        handle = functools.partial(self._flows, account)
        return await self._answer(call, "/data/network-flow", self._settings.limits, handle)

    async def system_metrics(self, call: Call) -> Answer:
        """POST /data/system-metrics."""
        _check_media_type(call, (JSON, *LINES))
        call.parameters(())
        handle = functools.partial(self._metrics, call.media_type in LINES)
        return await self._answer(call, "/data/system-metrics", self._settings.limits, handle)

    async def events(self, call: Call) -> Answer:
        """POST /data/events."""
        _check_media_type(call, (JSON, *LINES))
        call.parameters(())
        return await self._answer(call, "/data/events", self._whole_limits, self._events)

    async def otlp_metrics(self, call: Call) -> Answer:
        """POST /v1/metrics, OTLP/HTTP: its own answer, and always lenient, as it says."""
        _check_media_type(call, (relaying.PROTOBUF, JSON))
        handle = functools.partial(self._otlp, call.media_type)
        return await self._answer(call, "/v1/metrics", self._whole_limits, handle)

    @property
    def _whole_limits(self) -> BodyLimits:
        """Of bodies that lie in memory as objects."""
        return dataclasses.replace(self._settings.limits, body_octets=self._settings.event_octets)

    async def _answer(
        self,
        call: Call,
        route: str,
        limits: BodyLimits,
        handle: Callable[[bytes, Asked], Awaitable[Answer]],
    ) -> Answer:
        """Within the limits, and once for each key."""
        lenient = _is_lenient(call.header("prefer"))
        place = f"{route}?{call.query.decode('latin-1')} {lenient}"
        self.in_progress += 1
        try:
            async with whole_body(call.receive, call.headers, limits, self.budget, call.took) as body:
                if not body:
                    raise Problem("unusable", "the body is empty: there is nothing to take")
                run = functools.partial(_swapped, handle, body, lenient)
                return await self._keys.once(place, call.header("idempotency-key"), body, run)
        finally:
            self.in_progress -= 1

    async def _in_thread(self, work: Callable[..., T], *given: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, functools.partial(work, *given))

    async def _flows(self, account: metering.Account, body: bytes, asked: Asked) -> Answer:
        kind, keyed = sniffing.kind_of(body), asked.key is not None
        with Packed(self._settings.spooled_octets) as packed:
            try:
                await self._in_thread(self._pack_flows, body, kind, account, packed, asked.key)
                self._check_flows(kind, account, asked.lenient)
            except Problem:
                self._count_capture(kind, keyed, {"received": account.received, "refused": account.received})
                self._count_rows(Stream.FLOWS, kind, received=account.flows, refused=account.flows)
                raise
            self._count_capture(kind, keyed, {"received": account.received, **account.packets})
            accounted = account.packets.get("accounted", 0)
            self._counts.add("export", ("", kind), "packets", {"exported": accounted}, keyed=keyed)
            self._counts.add("export", ("", kind), "flows", {"exported": packed.rows}, keyed=keyed)
            held = await self.outlet.publish(Stream.FLOWS, packed.flights(), packed.rows, keyed=keyed, ahead=True)
        self._count_rows(Stream.FLOWS, kind, received=packed.rows, accepted=packed.rows)
        refusals = Refusals()
        if account.problem:
            refusals.first.append({"index": None, "reason": "damaged", "cause": account.problem})
        taken = _taken(held, Stream.FLOWS, kind, packed.rows)
        return answering.accepted(taken, refusals, lenient=asked.lenient, packets=account.packets)

    def _pack_flows(
        self, body: bytes, kind: sniffing.Kind, account: metering.Account, packed: Packed, key: int | None
    ) -> None:
        for batch in metering.flows_of(body, kind, account, self._settings.meter, time.time_ns()):
            packed.add(self.outlet.drafts(batch, Stream.FLOWS, key, len(packed)))

    def _check_flows(self, kind: sniffing.Kind, account: metering.Account, lenient: bool) -> None:
        """Raises Problem for a body of which nothing, or not all, can be taken."""
        packets: dict[str, Any] = {"packets": account.packets} if account.packets else {}
        if not account.flows:
            found = ", ".join(f"{count} {reason}" for reason, count in account.packets.items()) or "no packet"
            why = f" ({account.problem})" if account.problem else ""
            detail = f"the body, taken as {kind}, has no flow in it: {found}{why}; send {sniffing.TAKEN}"
            raise Problem("unusable", detail, **packets)
        if account.problem and not lenient:
            detail = (
                f"the capture is damaged: {account.problem}; nothing was taken: mend it, or send "
                "`Prefer: handling=lenient` to have what can be read taken"
            )
            raise Problem("refused-rows", detail, **packets)

    async def _metrics(self, lines: bool, body: bytes, asked: Asked) -> Answer:
        if len(body) <= self._settings.inline_octets:
            rows = scanning.all_values(body, lines=lines)
            if not rows:
                raise Problem("unusable", "the body has no row in it: send at least one object")
            return await self._group.submit(rows, key=asked.key, lenient=asked.lenient)
        refusals = Refusals()
        with Packed(self._settings.spooled_octets) as packed:
            await self._in_thread(self._pack_metrics, body, lines, packed, refusals, asked.key)
            return await self._publish(KIND, Stream.METRICS, packed, refusals, asked)

    def _pack_metrics(self, body: bytes, lines: bool, packed: Packed, refusals: Refusals, key: int | None) -> None:
        at, received = 0, time.time_ns()
        for rows in scanning.some_values(body, lines=lines, most=_CHUNK_ROWS):
            made = measuring.built(rows, received)
            refusals.add(made.refused, measuring.CAUSES, -at)
            packed.add(self.outlet.drafts(made.batch, Stream.METRICS, key, len(packed)))
            at += len(rows)

    async def _events(self, body: bytes, asked: Asked) -> Answer:
        found = await self._in_thread(telling.told, body, time.time_ns())
        refusals = _by_cause(found.refused)
        with Packed(self._settings.spooled_octets) as packed:
            packed.add(self.outlet.drafts(found.batch, Stream.EVENTS, asked.key))
            return await self._publish(found.kind, Stream.EVENTS, packed, refusals, asked)

    async def _otlp(self, media_type: str, body: bytes, asked: Asked) -> Answer:
        batch, refused = await self._in_thread(relaying.metrics_of, body, media_type, time.time_ns())
        refusals = _by_cause(refused)
        with Packed(self._settings.spooled_octets) as packed:
            packed.add(self.outlet.drafts(batch, Stream.METRICS, asked.key))
            if packed.rows:
                await self._publish("otlp", Stream.METRICS, packed, refusals, dataclasses.replace(asked, lenient=True))
            else:
                self._count_refusals(Stream.METRICS, "otlp", refusals, {})
        return relaying.answer(media_type, refusals)

    async def _publish(self, kind: str, stream: str, packed: Packed, refusals: Refusals, asked: Asked) -> Answer:
        """What is good, if the sender wants that; else nothing."""
        if not packed.rows and not refusals.rows:
            raise Problem("unusable", "the body has no row in it: send at least one object")
        if not packed.rows or (refusals.rows and not asked.lenient):
            self._count_refusals(stream, kind, refusals, {"refused_with_body": packed.rows})
            raise answering.refused(refusals, packed.rows)
        held = await self.outlet.publish(stream, packed.flights(), packed.rows, keyed=asked.key is not None)
        self._count_refusals(stream, kind, refusals, {"accepted": packed.rows})
        return answering.accepted(_taken(held, stream, kind, packed.rows), refusals, lenient=asked.lenient)

    def _count_refusals(self, stream: str, kind: str, refusals: Refusals, names: dict[str, int]) -> None:
        reasons = {f"refused_{reason}": count for reason, count in refusals.reasons.items()}
        received = refusals.rows + sum(names.values())
        self._counts.add("receive", (stream, kind), "rows", {"received": received, **reasons, **names})

    def _count_rows(self, stream: str, kind: str, **names: int) -> None:
        self._counts.add("receive", (stream, kind), "rows", names)

    def _count_capture(self, kind: str, keyed: bool, packets: dict[str, int]) -> None:
        self._counts.add("capture", ("", kind), "packets", packets, keyed=keyed)


async def _swapped(
    handle: Callable[[bytes, Asked], Awaitable[Answer]], body: bytes, lenient: bool, key: int | None
) -> Answer:
    return await handle(body, Asked(key, lenient))


def _check_media_type(call: Call, taken: tuple[str, ...]) -> None:
    if call.media_type not in taken:
        told = f"{call.media_type[:80]!r} is not taken" if call.media_type else "there is no Content-Type"
        raise Problem("media-type", f"{told}: send {' or '.join(taken)}", headers={"Accept-Post": ", ".join(taken)})


def _is_lenient(prefer: str) -> bool:
    """Of RFC 7240; preferences that we do not know are left alone, as it says."""
    wanted = [part.replace(" ", "").replace('"', "").lower() for part in re.split(r"[,;]", prefer)]
    return "handling=lenient" in wanted


def _taken(held: list[Held], stream: str, kind: str, rows: int) -> Taken:
    return Taken(f"{held[0].id}#0", stream, kind, rows, all(one.duplicate for one in held))


def _by_cause(refused: dict[str, int]) -> Refusals:
    """Of parsers that count by cause and do not tell which."""
    refusals = Refusals()
    for cause, count in refused.items():
        reason = re.sub(r"[^a-z0-9]+", "_", cause.lower()).strip("_")[:60]
        refusals.rows += count
        refusals.reasons[reason] += count
        refusals.first.append({"index": None, "reason": reason, "cause": cause, "rows": count})
    refusals.first = refusals.first[: answering.MOST_TOLD]
    return refusals
