"""mailer: takes mails from the queue, renders them, sends them (a wait here), keeps the last ones in its spool.

Nobody calls it but probes and Prometheus. A mail that cannot be sent goes back with
a pause, and aside after five tries.
"""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from prometheus_client import Counter, Gauge

from loomidi_lab.shop.app import mailing, tracing
from loomidi_lab.shop.app.logs import log
from loomidi_lab.shop.app.starting import Frame, Service
from loomidi_lab.shop.app.stores import StoreDown

SPOOL_BYTES = Gauge("shop_spool_bytes", "Bytes of spooled mail")
SPOOL_FREE = Gauge("shop_spool_free_bytes", "Bytes free where mail is spooled")
MAIL = Counter("shop_mail", "Mails by outcome", ["outcome"])

_TRIES, _PAUSE_S = 5, 1.0
_ALIVE_S, _RECLAIM_S = 20, 5.0


class Mailer:
    """The workers of one pod."""

    def __init__(self, frame: Frame) -> None:
        self._work = frame.settings.work
        self._tracer = frame.tracer
        self._release = frame.release
        self._pod = frame.settings.pod
        self._server = frame.server
        self._spool = Path(self._work.spool)
        self.cache = frame.cache(patience_s=4.0)

    async def start(self) -> None:
        """Redis answers and the spool is there."""
        self._spool.mkdir(parents=True, exist_ok=True)
        await self.cache.ping()

    async def work(self) -> None:
        """All workers of this pod."""
        await asyncio.gather(*(self._loop() for _ in range(self._work.mail_workers)))

    async def keep_alive(self) -> None:
        """Say that we live, put back what the dead had in hand, and measure the spool."""
        while True:
            try:
                await mailing.say_alive(self.cache, self._pod, _ALIVE_S)
                moved = await mailing.reclaim(self.cache)
                if moved:
                    log("info", "messages of dead workers put back", count=moved)
            except StoreDown:
                pass  # counted
            self._measure()
            await asyncio.sleep(_RECLAIM_S)

    async def watch_queue(self) -> None:
        """Depth and age in the metrics."""
        await mailing.watch_depth(self.cache)

    async def _loop(self) -> None:
        while not self._server.draining:
            try:
                text = await mailing.take(self.cache, self._pod)
                if text is None:
                    continue
                good = await self._one(text)
                await mailing.done(self.cache, self._pod, text)
                if not good:
                    await asyncio.sleep(_PAUSE_S)
            except StoreDown:
                await asyncio.sleep(_PAUSE_S)  # counted; what was in hand is put back by `reclaim` when we end

    async def _one(self, text: str) -> bool:
        try:
            envelope = json.loads(text)
            mail, remote = dict(envelope["mail"]), str(envelope["traceparent"])
        except (ValueError, KeyError, TypeError):
            MAIL.labels("unreadable").inc()
            await self.cache.do("LPUSH", "LPUSH", mailing.DEAD, text)
            return True
        with self._tracer.span("mail process", tracing.CONSUMER, remote) as span:
            span.attributes.update({"messaging.system": "redis", "messaging.destination.name": mailing.QUEUE})
            span.attributes["peer.service"] = "redis"
            try:
                await self._send(mail)
            except OSError as error:
                span.fail(str(error))
                MAIL.labels("failed").inc()
                log("warning", "mail not sent", error=str(error), tries=envelope["tries"] + 1)
                await self._again(envelope)
                return False
        MAIL.labels("sent").inc()
        return True

    async def _again(self, envelope: dict[str, Any]) -> None:
        envelope["tries"] += 1
        queue = mailing.DEAD if envelope["tries"] >= _TRIES else mailing.QUEUE
        if queue == mailing.DEAD:
            MAIL.labels("given_up").inc()
        await self.cache.do("LPUSH", "LPUSH", queue, json.dumps(envelope))

    async def _send(self, mail: dict[str, Any]) -> None:
        name = f"{time.time_ns()}-{mail.get('id', 0)}"
        text = _render(mail)
        path = self._spool / f"{name}.eml"
        path.write_text(text)
        self._release.spooled(self._spool, name, text, self._work.spool_keep)
        await asyncio.sleep(self._work.mail_s)

    def _measure(self) -> None:
        entries = [entry.stat().st_size for entry in os.scandir(self._spool) if entry.is_file()]
        SPOOL_BYTES.set(sum(entries))
        space = os.statvfs(self._spool)
        SPOOL_FREE.set(space.f_bavail * space.f_frsize)


def _render(mail: dict[str, Any]) -> str:
    total = f"{int(mail.get('total_cents', 0)) / 100:.2f}"
    head = f"To: {mail.get('to', '')}\nFrom: shop@shop.example\nSubject: {mail.get('subject', '')}\n\n"
    return (
        f"{head}Thank you. Your parcel {mail.get('parcel', '')} is on its way.\nPaid: {total} EUR\n" + "-" * 1024 + "\n"
    )


def build(frame: Frame) -> Service:
    """The mailer."""
    mailer = Mailer(frame)
    return Service(
        needs=[mailer.start],
        runs=[mailer.work, mailer.keep_alive, mailer.watch_queue],
        closes=[mailer.cache.close],
    )
