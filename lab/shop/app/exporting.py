"""Sends finished spans in batches to an OTLP/HTTP endpoint, when somebody listens there.

Run by `starting` as a background task. Never in the way of requests: a refused batch goes back into the bounded
buffer, and the next try waits a little longer.
"""

import asyncio
import json

import aiohttp

from loomidi_lab.shop.app import metrics, tracing
from loomidi_lab.shop.app.settings import Settings

_MOST_WAIT_S = 5.0
_BATCHES_AT_ONCE = 8


class Exporter:
    """One endpoint, one batch on its way at a time."""

    def __init__(self, settings: Settings, tracer: tracing.Tracer) -> None:
        self._telemetry = settings.telemetry
        self._tracer = tracer
        self._resource: dict[str, tracing.Value] = {
            "service.name": settings.service,
            "service.namespace": settings.namespace,
            "service.version": settings.release,
            "service.instance.id": settings.pod,
            "k8s.namespace.name": settings.namespace,
            "k8s.pod.name": settings.pod,
            "k8s.node.name": settings.node,
        }

    async def run(self) -> None:
        """Export until cancelled."""
        wait_s = self._telemetry.every_s
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0)) as session:
            while True:
                await asyncio.sleep(wait_s)
                good = await self._send_all(session)
                wait_s = self._telemetry.every_s if good else min(_MOST_WAIT_S, wait_s * 2)

    async def flush(self) -> None:
        """Send what is left, once; called at the end of the process."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1.0)) as session:
            await self._send_all(session)

    async def _send_all(self, session: aiohttp.ClientSession) -> bool:
        for _ in range(_BATCHES_AT_ONCE):
            batch = self._tracer.take(self._telemetry.batch)
            if not batch:
                return True
            if not self._telemetry.endpoint:
                metrics.spans.labels("no_endpoint").inc(len(batch))
                continue
            if not await self._send(session, batch):
                return False
        return True

    async def _send(self, session: aiohttp.ClientSession, batch: list[tracing.Span]) -> bool:
        body = json.dumps(tracing.otlp(self._resource, batch)).encode()
        url = f"{self._telemetry.endpoint}/v1/traces"
        try:
            async with session.post(url, data=body, headers={"content-type": "application/json"}) as answer:
                await answer.read()
                status = int(answer.status)
        except (TimeoutError, aiohttp.ClientError, OSError):
            self._tracer.put_back(batch)
            return False
        if status in (429, 502, 503, 504):
            self._tracer.put_back(batch)
            return False
        # Any other answer is final by the OTLP specification: the same batch would be refused again.
        metrics.spans.labels("exported" if status < 300 else "dropped_refused").inc(len(batch))
        return True
