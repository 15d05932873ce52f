"""cart: what each visitor means to buy, in Redis hashes that expire after a day.

Called by frontend and orders; asks catalog for names and prices.
"""

import json

from aiohttp import web

from loomidi_lab.shop.app.serving import Problem, Route, answer
from loomidi_lab.shop.app.starting import Frame, Service

_KEPT_S = 86_400
_MOST_LINES, _MOST_PIECES = 50, 99


class Carts:
    """The handlers."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self.cache = frame.cache()

    async def show(self, request: web.Request) -> web.Response:
        """GET /carts/{visitor}: lines with prices and the total."""
        found = await self.cache.do("HGETALL", "HGETALL", _key(request))
        pieces = {str(sku): int(count) for sku, count in found.items()}
        prices = {}
        if pieces:
            prices = (await self._frame.caller.get("catalog", "/prices", skus=",".join(pieces)))["prices"]
        lines = [{**prices[sku], "quantity": count} for sku, count in pieces.items() if sku in prices]
        return answer({"lines": lines, "total_cents": sum(line["price_cents"] * line["quantity"] for line in lines)})

    async def add(self, request: web.Request) -> web.Response:
        """POST /carts/{visitor}/items {sku, quantity}"""
        sku, count = _line(await request.read())
        key = _key(request)
        known = (await self._frame.caller.get("catalog", "/prices", skus=sku))["prices"]
        if sku not in known:
            raise Problem(404, "not_found")
        if int(await self.cache.do("HLEN", "HLEN", key)) >= _MOST_LINES:
            raise Problem(409, "cart_full")
        total = int(await self.cache.do("HINCRBY", "HINCRBY", key, sku, count))
        await self.cache.do("EXPIRE", "EXPIRE", key, _KEPT_S)
        return answer({"sku": sku, "quantity": total}, 201)

    async def remove(self, request: web.Request) -> web.Response:
        """DELETE /carts/{visitor}"""
        await self.cache.do("DEL", "DEL", _key(request))
        return answer({"removed": True})


def _key(request: web.Request) -> str:
    return f"shop:cart:{request.match_info['visitor'][:64]}"


def _line(raw: bytes) -> tuple[str, int]:
    try:
        data = json.loads(raw)
        sku, count = str(data["sku"]), int(data.get("quantity", 1))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Problem(400, "bad_line") from None
    if not 1 <= count <= _MOST_PIECES or not sku.isalnum():
        raise Problem(400, "bad_line")
    return sku, count


def build(frame: Frame) -> Service:
    """The cart service."""
    carts = Carts(frame)
    return Service(
        routes=[
            Route("GET", "/carts/{visitor}", "/carts/one", carts.show),
            Route("DELETE", "/carts/{visitor}", "/carts/one", carts.remove),
            Route("POST", "/carts/{visitor}/items", "/carts/items", carts.add),
        ],
        needs=[carts.cache.ping],
        runs=[carts.cache.watch],
        closes=[carts.cache.close],
    )
