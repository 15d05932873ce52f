"""shipping: gives a parcel its number and its day. Called by orders; keeps nothing."""

import json
import zlib

from aiohttp import web

from loomidi_lab.shop.app.serving import Problem, Route, answer
from loomidi_lab.shop.app.starting import Frame, Service


async def send(request: web.Request) -> web.Response:
    """POST /parcels {order, key}; the same key is the same parcel."""
    try:
        wish = json.loads(await request.read())
        key, order = str(wish["key"]), int(wish["order"])
    except (ValueError, KeyError, TypeError):
        raise Problem(400, "bad_parcel") from None
    return answer({"parcel": f"S{zlib.crc32(key.encode()[::-1]):08x}", "days": 1 + order % 4}, 201)


async def quote(request: web.Request) -> web.Response:
    """GET /quotes?lines=: what sending so many lines costs."""
    lines = request.query.get("lines", "1")
    if not lines.isdigit():
        raise Problem(400, "bad_lines")
    return answer({"price_cents": 390 + 45 * min(int(lines), 50)})


def build(frame: Frame) -> Service:
    """The shipping service."""
    del frame  # needs nothing of it
    return Service(
        routes=[Route("POST", "/parcels", "/parcels", send), Route("GET", "/quotes", "/quotes", quote)],
    )
