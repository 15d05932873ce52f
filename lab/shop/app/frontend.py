"""frontend: the shop's pages and its small JSON API; the only service that is reached from outside.

Calls catalog, recommendations, cart and orders. A page that can do without a part is shown without it.
"""

import asyncio
import json
import secrets
from typing import Any

from aiohttp import web

from loomidi_lab.shop.app import calling, goods, pages
from loomidi_lab.shop.app.serving import Problem, Route, answer
from loomidi_lab.shop.app.starting import Frame, Service

_COOKIE = "visitor"
_SUGGEST_S = 0.8  # a page does not wait longer for its recommendations


class Frontend:
    """The handlers."""

    def __init__(self, frame: Frame) -> None:
        self._caller = frame.caller

    async def start(self) -> None:
        """The catalog answers."""
        await self._caller.get("catalog", "/products", limit="1")

    async def home(self, request: web.Request) -> web.Response:
        """GET /"""
        visitor = _visitor(request)
        category = goods.CATEGORIES[sum(map(ord, visitor)) % len(goods.CATEGORIES)]
        listed, like_it = await _both(
            self._caller.get("catalog", "/products", category=category, limit="12"), self._suggested(visitor)
        )
        return _html(request, pages.page("Welcome", pages.cards(listed["products"], category) + like_it))

    async def category(self, request: web.Request) -> web.Response:
        """GET /category/{name}"""
        name = request.match_info["name"]
        found = await self._caller.get("catalog", "/products", category=name, limit="24")
        return _html(request, pages.page(name, pages.cards(found["products"])))

    async def product(self, request: web.Request) -> web.Response:
        """GET /product/{sku}"""
        sku = _sku(request)
        found, like_it = await _both(
            self._caller.get("catalog", f"/products/{sku}"), self._suggested(_visitor(request), sku)
        )
        return _html(request, pages.product(found, like_it))

    async def search(self, request: web.Request) -> web.Response:
        """GET /search?q="""
        words = request.query.get("q", "")[:80]
        found = await self._caller.get("catalog", "/search", q=words, limit="24")
        return _html(request, pages.page(f"{found['found']} found", pages.cards(found["products"])))

    async def cart(self, request: web.Request) -> web.Response:
        """GET /cart"""
        return _html(request, pages.cart(await self._caller.get("cart", f"/carts/{_visitor(request)}")))

    async def add(self, request: web.Request) -> web.Response:
        """POST /cart/items with sku and quantity, as JSON or as a form"""
        line = await _fields(request)
        path = f"/carts/{_visitor(request)}/items"
        body = {"sku": line.get("sku", ""), "quantity": line.get("quantity", 1)}
        return _json(request, await self._caller.call(calling.Call("cart", "POST", path, body=body)))

    async def checkout(self, request: web.Request) -> web.Response:
        """POST /checkout with an optional key, so that a browser that asks again orders once"""
        key = str((await _fields(request)).get("key") or secrets.token_hex(16))
        body = {"visitor": _visitor(request), "key": key}
        return _json(
            request, await self._caller.call(calling.Call("orders", "POST", "/orders", body=body, repeatable=True))
        )

    async def orders(self, request: web.Request) -> web.Response:
        """GET /orders"""
        found = await self._caller.get("orders", "/orders", visitor=_visitor(request))
        return _html(request, pages.orders(found["orders"]))

    async def order(self, request: web.Request) -> web.Response:
        """GET /orders/{id}"""
        number = request.match_info["id"]
        if not number.isdigit():
            raise Problem(404, "not_found")
        found = await self._caller.get("orders", f"/orders/{number}")
        return _html(request, pages.page(f"Order {number}", f"<pre>{json.dumps(found, indent=1)}</pre>"))

    async def api_products(self, request: web.Request) -> web.Response:
        """GET /api/products?q=: suggestions while somebody types"""
        words = request.query.get("q", "")[:80]
        if not words:
            return answer(await self._caller.get("catalog", "/products", limit="12"))
        return answer(await self._caller.get("catalog", "/search", q=words, limit="8"))

    async def api_cart(self, request: web.Request) -> web.Response:
        """GET /api/cart: for the number beside the word"""
        return answer(await self._caller.get("cart", f"/carts/{_visitor(request)}"))

    async def static(self, request: web.Request) -> web.Response:
        """GET /static/{name}"""
        name = request.match_info["name"]
        headers = {"cache-control": "public, max-age=3600"}
        if name == "style.css":
            return web.Response(body=pages.STYLE.encode(), content_type="text/css", headers=headers)
        if name == "shop.js":
            return web.Response(body=pages.SCRIPT.encode(), content_type="text/javascript", headers=headers)
        if name.endswith(".svg") and name[:-4].isalnum() and len(name) < 20:
            return web.Response(body=pages.picture(name), content_type="image/svg+xml", headers=headers)
        raise Problem(404, "not_found")

    async def _suggested(self, visitor: str, sku: str = "") -> str:
        try:
            async with asyncio.timeout(_SUGGEST_S):
                found = await self._caller.get("recommendations", "/recommendations", visitor=visitor, sku=sku)
        except (calling.CallError, TimeoutError):
            return ""  # counted where it failed; the page stands without them
        return pages.cards(found["products"], "You may like")


async def _both(wanted: Any, extra: Any) -> tuple[Any, str]:
    """Both at once; a failure of the first is ours and ends the second."""
    side = asyncio.ensure_future(extra)
    try:
        return await wanted, await side
    finally:
        side.cancel()


def _visitor(request: web.Request) -> str:
    found = str(request.cookies.get(_COOKIE, ""))
    if found and len(found) <= 64 and found.replace("-", "").isalnum():
        return found
    if "new_visitor" not in request:
        request["new_visitor"] = secrets.token_hex(8)
    return str(request["new_visitor"])


def _sku(request: web.Request) -> str:
    sku = request.match_info["sku"]
    if not sku.isalnum() or len(sku) > 16:
        raise Problem(404, "not_found")
    return str(sku)


async def _fields(request: web.Request) -> dict[str, Any]:
    if request.content_type == "application/json":
        try:
            found = json.loads(await request.read() or b"{}")
        except ValueError:
            raise Problem(400, "bad_json") from None
        if not isinstance(found, dict):
            raise Problem(400, "bad_json")
        return found
    return dict(await request.post())


def _html(request: web.Request, body: bytes) -> web.Response:
    return _known(request, web.Response(body=body, content_type="text/html", charset="utf-8"))


def _json(request: web.Request, given: calling.Answer) -> web.Response:
    return _known(request, answer(given.data, given.status))


def _known(request: web.Request, response: web.Response) -> web.Response:
    if "new_visitor" in request:
        response.set_cookie(_COOKIE, request["new_visitor"], max_age=86_400, httponly=True, samesite="Lax")
    return response


def build(frame: Frame) -> Service:
    """The frontend service."""
    f = Frontend(frame)
    table = [
        Route("GET", "/", "/", f.home),
        Route("GET", "/category/{name}", "/category", f.category),
        Route("GET", "/product/{sku}", "/product", f.product),
        Route("GET", "/search", "/search", f.search),
        Route("GET", "/cart", "/cart", f.cart),
        Route("POST", "/cart/items", "/cart/items", f.add),
        Route("POST", "/checkout", "/checkout", f.checkout),
        Route("GET", "/orders", "/orders", f.orders),
        Route("GET", "/orders/{id}", "/orders/one", f.order),
        Route("GET", "/api/products", "/api/products", f.api_products),
        Route("GET", "/api/cart", "/api/cart", f.api_cart),
        Route("GET", "/static/{name}", "/static", f.static),
    ]
    return Service(routes=table, needs=[f.start])
