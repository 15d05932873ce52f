"""recommendations: what a visitor may like, from what they looked at last and what is like it.

Called by frontend, which does well without it. Asks catalog for the products, keeps recent views in Redis.
"""

import time
from typing import Any

from aiohttp import web

from loomidi_lab.shop.app import calling, stores
from loomidi_lab.shop.app.serving import Route, answer
from loomidi_lab.shop.app.starting import Frame, Service

_KEPT_S, _RECENT = 3600, 10
_CANDIDATES, _SHOWN = 80, 6


class Recommendations:
    """The handlers and the copy of the catalog."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self.cache = frame.cache()
        self._products: dict[str, dict[str, Any]] = {}
        self._read_s = 0.0

    async def start(self) -> None:
        """Read the catalog."""
        await self._read()

    async def suggest(self, request: web.Request) -> web.Response:
        """GET /recommendations?visitor=&sku=: six products."""
        visitor, sku = request.query.get("visitor", "")[:64], request.query.get("sku", "")
        if time.monotonic() - self._read_s > self._frame.settings.work.cache_s:
            try:
                await self._read()
            except calling.CallError:
                self._read_s = time.monotonic()  # the old copy serves on; the failure is counted
        recent = await self._recent(visitor, sku)
        tags: dict[str, int] = {}
        for seen in recent:
            for tag in (*self._products[seen]["tags"], self._products[seen]["category"]):
                tags[tag] = tags.get(tag, 0) + 1
        start = sum(map(ord, visitor)) % max(1, len(self._products) - _CANDIDATES)
        candidates = [p for p in list(self._products.values())[start : start + _CANDIDATES] if p["sku"] not in recent]
        best = self._frame.release.ranked(
            candidates, lambda p: sum(tags.get(t, 0) for t in (*p["tags"], p["category"])), _SHOWN
        )
        return answer({"products": best})

    async def _recent(self, visitor: str, sku: str) -> list[str]:
        if not visitor:
            return [sku] if sku in self._products else []
        key = f"shop:views:{visitor}"

        async def work(client: Any) -> Any:
            pipe = client.pipeline(transaction=False)
            if sku:
                pipe.lpush(key, sku)
                pipe.ltrim(key, 0, _RECENT - 1)
                pipe.expire(key, _KEPT_S)
            pipe.lrange(key, 0, _RECENT - 1)
            return (await pipe.execute())[-1]

        try:
            found = await self.cache.run("views", work)
        except stores.StoreDown:
            found = [sku]  # without a memory it is about this page only; the failure is counted
        return [str(seen) for seen in found if seen in self._products]

    async def _read(self) -> None:
        self._read_s = time.monotonic()
        found = (await self._frame.caller.get("catalog", "/products", limit="500"))["products"]
        self._products = {p["sku"]: p for p in found}


def build(frame: Frame) -> Service:
    """The recommendations service."""
    recommendations = Recommendations(frame)
    return Service(
        routes=[Route("GET", "/recommendations", "/recommendations", recommendations.suggest)],
        needs=[recommendations.start],
        runs=[recommendations.cache.watch],
        closes=[recommendations.cache.close],
    )
