"""payment: talks to the bank, which is a wait and a rule here. Served by TLS; requests are signed by orders.

Called by orders. The plain port carries only health and metrics.
"""

import asyncio
import json
import time
import zlib
from email.utils import parsedate_to_datetime
from pathlib import Path

from aiohttp import web
from prometheus_client import Counter, Gauge

from loomidi_lab.shop.app import signing
from loomidi_lab.shop.app.logs import log
from loomidi_lab.shop.app.serving import Problem, Route, answer
from loomidi_lab.shop.app.starting import Frame, Service

PAYMENTS = Counter("shop_payment", "Payments by outcome", ["outcome"])
TLS_NOT_AFTER = Gauge("shop_tls_not_after_seconds", "End of the served certificate, Unix time")

_LIMIT_CENTS = 5_000_000
_LOOK_S = 2.0


class Payments:
    """The handlers, and the watch over the certificate's file."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._seen_ns = 0

    async def pay(self, request: web.Request) -> web.Response:
        """POST /payments {order, key, total_cents}; the same key is the same payment."""
        if self._frame.settings.serving.tls_port and not request.secure:
            raise Problem(403, "tls_only")
        body = await request.read()
        headers, secret = request.headers, self._frame.settings.work.payment_secret
        try:
            bad = signing.check(secret, body, headers[signing.AT], headers[signing.SIGNATURE], time.time())
            wish = json.loads(body)
            key, total = str(wish["key"]), int(wish["total_cents"])
        except (KeyError, ValueError, TypeError):
            raise Problem(400, "bad_payment") from None
        if bad:
            PAYMENTS.labels(bad).inc()
            log("warning", "payment refused", reason=bad, signed_at=headers[signing.AT], now=time.time())
            raise Problem(401, bad)
        await asyncio.sleep(self._frame.settings.work.payment_s)
        if not 0 < total <= _LIMIT_CENTS:
            PAYMENTS.labels("declined").inc()
            raise Problem(402, "declined")
        PAYMENTS.labels("paid").inc()
        return answer({"payment": f"P{zlib.crc32(key.encode()):08x}", "total_cents": total}, 201)

    async def watch_certificate(self) -> None:
        """Take a renewed certificate over without a restart, and keep its end in the metrics."""
        path = Path(self._frame.settings.serving.tls_folder) / "tls.crt"
        while self._frame.settings.serving.tls_port:
            changed = path.stat().st_mtime_ns
            if changed != self._seen_ns:
                self._frame.server.load_certificate()
                end = await _not_after(path)
                TLS_NOT_AFTER.set(end)
                log("info", "certificate loaded", not_after=end)
                self._seen_ns = changed
            await asyncio.sleep(_LOOK_S)


async def _not_after(path: Path) -> float:
    asked = ("openssl", "x509", "-enddate", "-noout", "-in", str(path))
    process = await asyncio.create_subprocess_exec(*asked, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    text = out.decode().partition("=")[2].strip()  # notAfter=Nov 26 10:00:00 2026 GMT
    month, day, clock, year = text.split()[:4]
    return parsedate_to_datetime(f"{day} {month} {year} {clock} +0000").timestamp()


def build(frame: Frame) -> Service:
    """The payment service."""
    payments = Payments(frame)
    return Service(
        routes=[Route("POST", "/payments", "/payments", payments.pay)],
        runs=[payments.watch_certificate],
    )
