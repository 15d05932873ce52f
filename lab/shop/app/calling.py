"""Calls to the other services: trace context, deadline, timeout, bounded retries with jitter, retry budget, breaker.

Services call `Caller.call` and get an Answer or a CallError with its kind; whether that is fatal for the page is theirs
to say. Only calls that may be repeated are repeated.
"""

import asyncio
import contextvars
import errno
import json
import random
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from loomidi_lab.shop.app import metrics, resilience, tracing
from loomidi_lab.shop.app.settings import Calls

deadline: contextvars.ContextVar[float] = contextvars.ContextVar("shop_deadline", default=0.0)  # monotonic s; 0: none
_RETRY_STATUS = (429, 502, 503, 504)
_BACKOFF_S, _BACKOFF_MOST_S = 0.025, 0.25
_LOOKUP_S = 1.0


class CallError(Exception):
    """An upstream did not give a usable answer. `kind` is the label of the metrics, `status` its code or 0."""

    def __init__(self, upstream: str, kind: str, status: int = 0, detail: str = "") -> None:
        super().__init__(f"{upstream}: {kind}{f' {status}' if status else ''}{f' ({detail})' if detail else ''}")
        self.upstream = upstream
        self.kind = kind
        self.status = status


@dataclass(frozen=True)
class Answer:
    """What an upstream said."""

    status: int
    data: Any  # the JSON document


@dataclass(frozen=True)
class Call:
    """One call, before it is sent."""

    upstream: str
    method: str
    path: str
    params: dict[str, str] | None = None
    body: Any = None
    headers: dict[str, str] | None = None
    repeatable: bool | None = None  # None: as the method says


class Names:
    """Name look-ups that end: a resolver that does not answer is a DNS fault, not a slow upstream."""

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[dict[str, Any]]:
        """IPv4 addresses of a name, as aiohttp wants them."""
        loop = asyncio.get_running_loop()
        ask = loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=socket.AF_INET)
        try:
            found = await asyncio.wait_for(ask, _LOOKUP_S)
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer to the name look-up") from None
        return [
            {"hostname": host, "host": entry[4][0], "port": port, "family": entry[0], "proto": entry[2], "flags": 0}
            for entry in found
        ]

    async def close(self) -> None:
        """Nothing is held."""


def kind_of(error: BaseException) -> str:
    """The label of a failed attempt."""
    if isinstance(error, asyncio.TimeoutError):
        return "timeout"
    if isinstance(error, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError, ssl.SSLError)):
        return "tls"
    cause = getattr(error, "os_error", None) or error
    if isinstance(cause, socket.gaierror):
        return "dns"
    number = getattr(cause, "errno", None)
    if number in (errno.EMFILE, errno.ENFILE):
        return "emfile"
    if isinstance(cause, ConnectionRefusedError) or number == errno.ECONNREFUSED:
        return "refused"
    if isinstance(cause, (aiohttp.ServerDisconnectedError, ConnectionError, aiohttp.ClientPayloadError)):
        return "reset"
    return "other"


class Caller:
    """One session with kept connections, and a breaker and a budget for each upstream."""

    def __init__(self, settings: Calls, tracer: tracing.Tracer) -> None:
        self._settings = settings
        self._tracer = tracer
        self._chance = random.Random()
        self._budgets = {name: resilience.RetryBudget(settings.budget_ratio) for name in settings.urls}
        self._breakers = {
            name: resilience.Breaker(settings.breaker_failures, settings.breaker_open_s) for name in settings.urls
        }
        self._session: Any = None

    async def start(self) -> None:
        """Make the session; needs the running loop."""
        context = ssl.create_default_context(cafile=self._settings.ca_file or None)
        connector = aiohttp.TCPConnector(
            resolver=Names(),
            use_dns_cache=self._settings.name_ttl_s > 0,
            ttl_dns_cache=self._settings.name_ttl_s,
            family=socket.AF_INET,
            ssl=context,
            limit=200,
            keepalive_timeout=15.0,
        )
        timeout = aiohttp.ClientTimeout(total=None)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())

    async def close(self) -> None:
        """Close the kept connections."""
        if self._session is not None:
            await self._session.close()

    async def get(self, upstream: str, path: str, **params: str) -> Any:
        """The document at `path`. Raises CallError, also for 404."""
        return (await self.call(Call(upstream, "GET", path, params or None))).data

    async def call(self, call: Call) -> Answer:
        """Send a call, again where that is allowed and useful. Raises CallError."""
        budget = self._budgets[call.upstream]
        may_repeat = call.method in ("GET", "PUT", "DELETE") if call.repeatable is None else call.repeatable
        budget.called()
        attempt = 0
        while True:
            try:
                return await self._attempt(call)
            except CallError as error:
                attempt += 1
                worth = error.kind not in ("breaker", "deadline", "tls") and error.status in (0, *_RETRY_STATUS)
                if not (may_repeat and worth and attempt < self._settings.attempts):
                    raise
                pause_s = resilience.backoff_s(attempt, _BACKOFF_S, _BACKOFF_MOST_S, self._chance)
                if not self._may_retry(call.upstream, budget, pause_s):
                    raise
                await asyncio.sleep(pause_s)

    def _may_retry(self, upstream: str, budget: resilience.RetryBudget, pause_s: float) -> bool:
        left_s = self._left_s()
        outcome = "no_time" if left_s <= pause_s else "sent" if budget.spend() else "no_budget"
        metrics.retries.labels(upstream, outcome).inc()
        return outcome == "sent"

    def _left_s(self) -> float:
        until = deadline.get()
        return until - time.monotonic() if until else self._settings.deadline_s

    async def _attempt(self, call: Call) -> Answer:
        breaker = self._breakers[call.upstream]
        left_s = self._left_s()
        if left_s <= 0.001:
            metrics.upstream_errors.labels(call.upstream, "deadline").inc()
            raise CallError(call.upstream, "deadline")
        if not breaker.allows(time.monotonic()):
            metrics.upstream_errors.labels(call.upstream, "breaker").inc()
            raise CallError(call.upstream, "breaker")
        started = time.monotonic()
        try:
            answer = await self._send(call, min(left_s, self._settings.timeout_s))
            breaker.succeeded()
            return answer
        except CallError as error:
            if error.status and error.status < 500:
                breaker.succeeded()  # an upstream that says no is well
            else:
                breaker.failed(time.monotonic())
                metrics.upstream_errors.labels(call.upstream, error.kind).inc()
            raise
        except asyncio.CancelledError:
            breaker.gave_up()
            raise
        finally:
            metrics.breaker_state.labels(call.upstream).set(breaker.state)
            metrics.upstream_seconds.labels(call.upstream).observe(time.monotonic() - started)

    async def _send(self, call: Call, timeout_s: float) -> Answer:
        url = self._settings.urls[call.upstream] + call.path
        with self._tracer.span(f"{call.method} {call.upstream}", tracing.CLIENT) as span:
            headers = {
                "traceparent": span.traceparent(),
                resilience.HEADER: str(int(timeout_s * 1000)),
                **(call.headers or {}),
            }
            data = None
            if call.body is not None:
                data = call.body if isinstance(call.body, bytes) else json.dumps(call.body).encode()
                headers["content-type"] = "application/json"
            span.attributes.update({"http.request.method": call.method, "peer.service": call.upstream, "url.full": url})
            try:
                async with asyncio.timeout(timeout_s):
                    send = self._session.request(call.method, url, params=call.params, data=data, headers=headers)
                    response = await send
                    status, raw = int(response.status), await response.read()  # read to the end: kept for the next one
            except (TimeoutError, aiohttp.ClientError, OSError, ssl.SSLError) as error:
                raise CallError(call.upstream, kind_of(error), 0, str(error)[:120]) from error
            span.attributes["http.response.status_code"] = status
            metrics.upstream_requests.labels(call.upstream, str(status)).inc()
            if status >= 400:
                raise CallError(call.upstream, "status", status, raw[:120].decode("utf-8", "replace"))
            return Answer(status, json.loads(raw) if raw else None)
