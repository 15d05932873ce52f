"""From a service's name to a running process, and from SIGTERM to a clean end.

Called by `__main__`. A service module offers `build(Frame) -> Service`; what all services share is made here.
Services start in any order: the port is open at once, and readiness comes when the needs were met.
"""

import asyncio
import importlib
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from loomidi_lab.shop.app import calling, exporting, metrics, releases, serving, settings, stores, tracing
from loomidi_lab.shop.app import logs as logging

SERVICES = ("frontend", "catalog", "cart", "orders", "payment", "shipping", "recommendations", "mailer", "scaler")
JOBS = ("report",)
CONFIGURATION = 78  # EX_CONFIG
_RETRY_S, _RETRY_MOST_S = 0.2, 1.0


@dataclass
class Frame:
    """What a service is given."""

    settings: settings.Settings
    tracer: tracing.Tracer
    release: releases.Release
    caller: calling.Caller
    server: serving.Server

    def database(self) -> stores.Database:
        """A pool for this process; the service lists its `connect` among its needs."""
        return stores.Database(self.settings.stores, self.tracer, self.release)

    def cache(self, patience_s: float = 1.0) -> stores.Cache:
        """A Redis client for this process."""
        return stores.Cache(self.settings.stores, self.tracer, patience_s)


@dataclass
class Service:
    """What a service module declares."""

    routes: list[serving.Route] = field(default_factory=list)
    needs: list[Callable[[], Awaitable[Any]]] = field(default_factory=list)  # in order; repeated until they succeed
    runs: list[Callable[[], Coroutine[Any, Any, None]]] = field(default_factory=list)  # background, after the needs
    closes: list[Callable[[], Awaitable[Any]]] = field(default_factory=list)


def main(arguments: list[str]) -> int:
    """Run one service until SIGTERM. Returns the exit code."""
    name = arguments[0] if len(arguments) == 1 else ""
    if name not in SERVICES + JOBS:
        sys.stderr.write(f"usage: python3 /app SERVICE, one of {', '.join(SERVICES + JOBS)}\n")
        return 2
    try:
        given = settings.read(name)
        release = releases.load(given.release)
    except settings.ConfigurationError as error:
        logging.configure(name, "", "", "info")
        logging.log("error", "configuration error", reason=str(error))
        return CONFIGURATION
    logging.configure(name, given.release, given.pod, given.log_level)
    limit = given.serving.max_open_files
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit if hard < 0 else min(limit, hard), hard))
    release.started()
    module = importlib.import_module(f"loomidi_lab.shop.app.{name}")
    return asyncio.run(_work(module, given, release))


async def _work(module: Any, given: settings.Settings, release: releases.Release) -> int:
    tracer = tracing.Tracer(
        given.telemetry.ratio, given.telemetry.buffer, lambda: metrics.spans.labels("dropped_full").inc()
    )
    caller = calling.Caller(given.calls, tracer)
    server = serving.Server(given.serving, given.service, tracer, given.calls.deadline_s)
    metrics.release.labels(given.service, given.release).set(1)
    exporter = exporting.Exporter(given, tracer)
    await caller.start()
    frame = Frame(given, tracer, release, caller, server)
    if given.service in JOBS:
        code = int(await module.run(frame))
        await exporter.flush()
        await caller.close()
        return code
    return await _serve(module.build(frame), frame, exporter)


async def _serve(service: Service, frame: Frame, exporter: exporting.Exporter) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await frame.server.listen(service.routes, frame.release)
    logging.log("info", "listening", port=frame.settings.serving.port)
    background = [asyncio.create_task(run()) for run in (exporter.run, _lag)]
    background.append(asyncio.create_task(_rise(service, frame, background)))
    await stop.wait()
    logging.log("info", "draining")
    await frame.server.close()
    for task in background:
        task.cancel()
    await asyncio.gather(*background, return_exceptions=True)
    for close in (*service.closes, exporter.flush, frame.caller.close):
        await close()
    logging.log("info", "ended")
    return 0


async def _rise(service: Service, frame: Frame, background: list[asyncio.Task[None]]) -> None:
    began = time.monotonic()
    for need in service.needs:
        wait_s = _RETRY_S
        while not await _met(need):
            await asyncio.sleep(wait_s)
            wait_s = min(_RETRY_MOST_S, wait_s * 1.5)
    background.extend(asyncio.create_task(_guarded(run)) for run in service.runs)
    frame.server.started = True
    frame.server.ready()
    logging.log("info", "started", after_s=round(time.monotonic() - began, 3))


async def _met(need: Callable[[], Awaitable[Any]]) -> bool:
    try:
        await need()
    except (stores.StoreDown, stores.PoolExhausted, calling.CallError, TimeoutError) as error:
        logging.log("info", "waiting for a dependency", reason=str(error)[:160])
        return False
    return True


async def _guarded(run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """A background loop that fails is told and started again: a worker that ends silently is the worst of faults."""
    while True:
        try:
            await run()
            return
        except Exception as error:  # noqa: BLE001 - told, counted, begun again
            metrics.errors.labels("background", type(error).__name__).inc()
            logging.log("error", "background work failed", error=f"{type(error).__name__}: {error}"[:200])
            await asyncio.sleep(1.0)


async def _lag() -> None:
    while True:
        before = time.monotonic()
        await asyncio.sleep(0.5)
        metrics.loop_lag.set(max(0.0, time.monotonic() - before - 0.5))
