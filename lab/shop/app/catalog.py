"""catalog: the products. Reads them from PostgreSQL, keeps a copy for a while, and serves the copy when it must.

Called by frontend, cart and recommendations. Only stock is asked anew for every product page.
"""

import time
from typing import Any

from aiohttp import web

from loomidi_lab.shop.app import schema, stores
from loomidi_lab.shop.app.serving import Problem, Route, answer
from loomidi_lab.shop.app.starting import Frame, Service

_COLUMNS = "sku, name, category, price_cents, tags, description"


class Catalog:
    """All products in memory, at most `cache_s` old while the database answers."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self.database = frame.database()
        self._products: dict[str, dict[str, Any]] = {}
        self._words: dict[str, set[str]] = {}
        self._read_s = 0.0

    async def start(self) -> None:
        """Migrate, seed, read."""
        await schema.migrate(self.database)
        await self._read()

    async def products(self) -> dict[str, dict[str, Any]]:
        """The copy, renewed when it is old; an old one is better than none."""
        if time.monotonic() - self._read_s > self._frame.settings.work.cache_s:
            try:
                await self._read()
            except (stores.StoreDown, stores.PoolExhausted):
                self._read_s = time.monotonic()  # the next try after another while; the failure is counted
        return self._products

    async def _read(self) -> None:
        self._read_s = time.monotonic()
        rows = await self.database.fetch("products", f"SELECT {_COLUMNS} FROM products ORDER BY sku")  # noqa: S608 - a constant
        self._products = {row["sku"]: row for row in rows}
        self._words = {row["sku"]: set(str(row["name"]).split()) for row in rows}

    async def listed(self, request: web.Request) -> web.Response:
        """GET /products?category=&limit="""
        category = request.query.get("category", "")
        most = _most(request)
        found = [p for p in (await self.products()).values() if not category or p["category"] == category]
        if category and not found:
            raise Problem(404, "not_found")
        best = self._frame.release.ranked(found, lambda p: -float(p["price_cents"]), most)
        return answer({"products": [_short(p) for p in best]})

    async def one(self, request: web.Request) -> web.Response:
        """GET /products/{sku}: with the stock of this moment, or without one."""
        found = (await self.products()).get(request.match_info["sku"])
        if found is None:
            raise Problem(404, "not_found")
        stock: int | None = None
        try:
            rows = await self.database.fetch("stock", "SELECT stock FROM products WHERE sku = $1", found["sku"])
            stock = int(rows[0]["stock"]) if rows else 0
        except (stores.StoreDown, stores.PoolExhausted):
            stock = None  # shown as "ask us"; the failure is counted
        return answer({**_short(found), "description": found["description"], "stock": stock})

    async def search(self, request: web.Request) -> web.Response:
        """GET /search?q=&limit="""
        words = set(request.query.get("q", "").lower().split()[:8])
        if not words:
            raise Problem(400, "no_words")
        products = await self.products()
        found = [products[sku] for sku, has in self._words.items() if words & has]
        best = self._frame.release.ranked(found, lambda p: len(words & self._words[p["sku"]]), _most(request))
        return answer({"products": [_short(p) for p in best], "found": len(found)})

    async def prices(self, request: web.Request) -> web.Response:
        """GET /prices?skus=A,B"""
        products = await self.products()
        wanted = request.query.get("skus", "").split(",")[:100]
        return answer({"prices": {s: _short(products[s]) for s in wanted if s in products}})


def _short(p: dict[str, Any]) -> dict[str, Any]:
    return {key: p[key] for key in ("sku", "name", "category", "price_cents", "tags")}


def _most(request: web.Request) -> int:
    text = request.query.get("limit", "12")
    if not text.isdigit() or not 1 <= int(text) <= 500:
        raise Problem(400, "bad_limit")
    return int(text)


def build(frame: Frame) -> Service:
    """The catalog service."""
    catalog = Catalog(frame)
    return Service(
        routes=[
            Route("GET", "/products", "/products", catalog.listed),
            Route("GET", "/products/{sku}", "/products/one", catalog.one),
            Route("GET", "/search", "/search", catalog.search),
            Route("GET", "/prices", "/prices", catalog.prices),
        ],
        needs=[catalog.start],
        runs=[catalog.database.watch],
        closes=[catalog.database.close],
    )
