"""The server side of every service: routes, trace context, metrics, deadlines, load shedding, health, graceful end.

`starting` makes one Server per process from the routes that a service declares. Handlers get the request and return a
response or raise; what a failure means for the caller is decided here, once.
"""

import asyncio
import functools
import json
import random
import ssl
import time
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from loomidi_lab.shop.app import calling, metrics, resilience, tracing
from loomidi_lab.shop.app.logs import log
from loomidi_lab.shop.app.releases import Release
from loomidi_lab.shop.app.settings import Serving
from loomidi_lab.shop.app.stores import PoolExhausted, StoreDown

Handler = Callable[[web.Request], Awaitable[web.Response]]
_SLOW_S = 1.0
_LAST_WORD_S = 0.05  # after the deadline, so that the call that used it up is the one that says so
_UNMETERED = ("/healthz", "/readyz", "/metrics")


@dataclass(frozen=True)
class Route:
    """One line of a service's route table; `label` is its name in metrics and spans."""

    method: str
    path: str
    label: str
    handler: Handler


class Problem(Exception):
    """A request that is answered with an error on purpose."""

    def __init__(self, status: int, kind: str) -> None:
        super().__init__(kind)
        self.status = status
        self.kind = kind


def answer(document: Any, status: int = 200) -> web.Response:
    """A JSON response."""
    return web.Response(body=json.dumps(document).encode(), status=status, content_type="application/json")


def failure(error: Exception) -> tuple[int, str]:
    """Status and kind of the answer to a request that raised this."""
    if isinstance(error, Problem):
        return error.status, error.kind
    if isinstance(error, calling.CallError):
        if error.kind in ("timeout", "deadline"):
            return 504, f"{error.upstream}_{error.kind}"
        if error.status in (404, 409):
            return error.status, "not_found" if error.status == 404 else "conflict"
        unavailable = error.kind in ("breaker", "refused", "dns") or error.status in (429, 503)
        return 503 if unavailable else 502, f"{error.upstream}_{error.kind}"
    if isinstance(error, PoolExhausted):
        return 503, "pool_exhausted"
    if isinstance(error, StoreDown):
        return 503, f"{error.store}_down"
    if isinstance(error, TimeoutError):
        return 504, "deadline"
    return 500, "fault"


class Server:
    """Listens, answers, and says how it is."""

    def __init__(self, settings: Serving, service: str, tracer: tracing.Tracer, deadline_s: float) -> None:
        self._settings = settings
        self._service = service
        self._tracer = tracer
        self._deadline_s = deadline_s
        self._in_flight = 0
        self._born: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()
        self._chance = random.Random()
        self._labels: dict[str, str] = {}
        self._release = Release()
        self._context: ssl.SSLContext | None = None
        self._runner: Any = None
        self.started = False  # every need of the service was met once
        self.draining = False

    async def listen(self, routes: list[Route], release: Release) -> None:
        """Open the ports. The process is alive from here on, and ready when `started` is set."""
        self._release = release
        framed = web.middleware(functools.partial(self._framed))  # a bound method cannot be marked
        app = web.Application(middlewares=[framed], client_max_size=256 * 1024)
        for route in routes:
            app.router.add_route(route.method, route.path, route.handler)
            self._labels[f"{route.method} {route.path}"] = route.label
        app.router.add_get("/healthz", self._alive)
        app.router.add_get("/readyz", self._is_ready)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=30.0, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, None, self._settings.port, reuse_address=True, shutdown_timeout=5.0).start()
        if self._settings.tls_port:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.load_certificate()
            port = self._settings.tls_port
            await web.TCPSite(self._runner, None, port, ssl_context=self._context, reuse_address=True).start()

    def load_certificate(self) -> None:
        """Take the certificate in the folder for all handshakes from now on."""
        if self._context is not None:
            folder = Path(self._settings.tls_folder)
            self._context.load_cert_chain(folder / "tls.crt", folder / "tls.key")

    async def close(self) -> None:
        """Not ready at once; serve until the endpoints are gone; then refuse; then let running requests end."""
        self.draining = True
        await asyncio.sleep(self._settings.drain_s)
        for site in list(self._runner.sites):
            await site.stop()
        until = time.monotonic() + 8.0
        while self._in_flight and time.monotonic() < until:
            await asyncio.sleep(0.02)
        await self._runner.cleanup()

    async def _framed(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in _UNMETERED:
            return await handler(request)
        resource = request.match_info.route.resource
        label = self._labels.get(f"{request.method} {resource.canonical}" if resource else "", "unmatched")
        started = time.monotonic()
        if not self.started or self._in_flight >= self._settings.max_in_flight:
            kind = "overloaded" if self.started else "starting"
            response = answer({"error": kind}, 503)
            metrics.errors.labels(label, kind).inc()
        else:
            self._in_flight += 1
            metrics.in_flight.set(self._in_flight)
            try:
                response = await self._traced(request, handler, label)
            finally:
                self._in_flight -= 1
                metrics.in_flight.set(self._in_flight)
        seconds = time.monotonic() - started
        metrics.requests.labels(label, request.method, str(response.status)).inc()
        metrics.request_seconds.labels(label).observe(seconds)
        self._age(request, response)
        return response

    async def _traced(self, request: web.Request, handler: Handler, label: str) -> web.Response:
        header = request.headers.get(resilience.HEADER, "")
        calling.deadline.set(resilience.deadline_from(header, time.monotonic(), self._deadline_s))
        remote = request.headers.get("traceparent", "")
        with self._tracer.span(f"{request.method} {label}", tracing.SERVER, remote) as span:
            span.attributes.update({"http.request.method": request.method, "http.route": label})
            span.attributes["url.path"] = request.path
            span.attributes["client.address"] = request.remote or ""
            response = await self._answered(request, handler, label)
            span.attributes["http.response.status_code"] = response.status
            if response.status >= 500:
                span.fail(response.reason)
            self._log(request, response, label, time.time_ns() - span.start_ns)
        return response

    async def _answered(self, request: web.Request, handler: Handler, label: str) -> web.Response:
        try:
            async with asyncio.timeout(max(0.0, calling.deadline.get() - time.monotonic()) + _LAST_WORD_S):
                response = await handler(request)
        except web.HTTPException as error:
            response = answer({"error": error.reason}, error.status)
        except Exception as error:  # noqa: BLE001 - the last place that can still answer; each kind is counted and logged
            status, kind = failure(error)
            if status >= 500:
                metrics.errors.labels(label, kind).inc()
                log("warning", "request failed", route=label, kind=kind, error=f"{type(error).__name__}: {error}"[:200])
            response = answer({"error": kind}, status)
        body = response.body
        self._release.answered(request.path, body if isinstance(body, bytes) else b"")
        return response

    def _log(self, request: web.Request, response: web.Response, label: str, took_ns: int) -> None:
        told = self._service == "frontend" or took_ns > _SLOW_S * 1e9
        values = {"method": request.method, "path": request.path, "status": response.status, "took_ms": took_ns / 1e6}
        log("info" if told else "debug", "request", route=label, remote=request.remote, **values)

    def _age(self, request: web.Request, response: web.Response) -> None:
        if request.transport is None:
            return
        now = time.monotonic()
        spread = self._settings.connection_age_s * self._chance.uniform(0.8, 1.2)
        if self.draining or now > self._born.setdefault(request.transport, now + spread):
            response.force_close()

    async def _alive(self, _: web.Request) -> web.Response:
        return answer({"alive": True})

    async def _is_ready(self, _: web.Request) -> web.Response:
        good = self.ready()
        return answer({"ready": good, "started": self.started, "draining": self.draining}, 200 if good else 503)

    def ready(self) -> bool:
        """Whether traffic should come here: about this process only, a broken dependency does not take us away."""
        good = self.started and not self.draining and self._release.ready()
        metrics.ready.set(good)
        return good

    async def _metrics(self, _: web.Request) -> web.Response:
        metrics.clock.set(time.time())
        return web.Response(body=metrics.text(), headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})
