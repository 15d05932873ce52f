"""orders: from a cart to a paid order that is on its way, in PostgreSQL; the confirmation goes into the mail queue.

Called by frontend; calls cart, payment and shipping. No database connection is held while another service is awaited.
An order has a key of the caller's: the same key twice is one order, so the caller may ask again.
"""

import json
import time
from typing import Any

from aiohttp import web
from prometheus_client import Counter

from loomidi_lab.shop.app import calling, mailing, schema, signing
from loomidi_lab.shop.app.logs import log
from loomidi_lab.shop.app.serving import Problem, Route, answer
from loomidi_lab.shop.app.starting import Frame, Service

ORDERS_PLACED = Counter("shop_orders_placed", "Orders paid and sent")

_HISTORY = "SELECT id, created, total_cents, status FROM orders WHERE visitor = $1 ORDER BY id DESC LIMIT 10"
_INSERT = """INSERT INTO orders (key, visitor, total_cents, status) VALUES ($1, $2, $3, 'open')
  ON CONFLICT (key) DO UPDATE SET key = excluded.key RETURNING id, status, total_cents, payment, parcel"""
_ITEMS = "INSERT INTO order_items (order_id, sku, quantity, price_cents) VALUES ($1, $2, $3, $4)"


class Orders:
    """The handlers."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self.database = frame.database()
        self.cache = frame.cache()

    async def start(self) -> None:
        """Migrate and connect."""
        await schema.migrate(self.database)

    async def place(self, request: web.Request) -> web.Response:
        """POST /orders {visitor, key}"""
        visitor, key = _wish(await request.read())
        caller = self._frame.caller
        cart = await caller.get("cart", f"/carts/{visitor}")
        order = await self._write(visitor, key, cart)
        if order["status"] == "sent":
            return answer(_shown(order))
        order["payment"] = await self._pay(order, key)
        parcel = await caller.call(
            calling.Call("shipping", "POST", "/parcels", body={"order": order["id"], "key": key}, repeatable=True)
        )
        order["parcel"] = str(parcel.data["parcel"])
        order["status"] = "sent"
        sql = "UPDATE orders SET status = 'sent', payment = $2, parcel = $3 WHERE id = $1"
        await self.database.fetch("sent", sql, order["id"], order["payment"], order["parcel"])
        ORDERS_PLACED.inc()
        await self._confirm(visitor, order)
        try:
            await caller.call(calling.Call("cart", "DELETE", f"/carts/{visitor}"))
        except calling.CallError as error:
            log("warning", "cart not emptied", visitor=visitor, reason=str(error))  # it expires; the order stands
        return answer(_shown(order), 201)

    async def history(self, request: web.Request) -> web.Response:
        """GET /orders?visitor="""
        rows = await self.database.fetch("history", _HISTORY, request.query.get("visitor", "")[:64])
        return answer({"orders": [{**row, "created": row["created"].isoformat()} for row in rows]})

    async def one(self, request: web.Request) -> web.Response:
        """GET /orders/{id}"""
        number = request.match_info["id"]
        if not number.isdigit() or len(number) > 18:
            raise Problem(404, "not_found")
        rows = await self.database.fetch("order", "SELECT * FROM orders WHERE id = $1", int(number))
        if not rows:
            raise Problem(404, "not_found")
        items = await self.database.fetch(
            "items", "SELECT sku, quantity, price_cents FROM order_items WHERE order_id = $1", int(number)
        )
        return answer({**_shown(rows[0]), "items": items})

    async def watch_queue(self) -> None:
        """Keep the depth of the mail queue in the metrics also while no worker lives to tell it."""
        await mailing.watch_depth(self.cache)

    async def _write(self, visitor: str, key: str, cart: dict[str, Any]) -> dict[str, Any]:
        async with self.database.connection("place") as taken, taken.transaction():
            known = await taken.fetchrow(
                "SELECT id, status, total_cents, payment, parcel FROM orders WHERE key = $1", key
            )
            if known is not None:
                return dict(known)
            if not cart["lines"]:
                raise Problem(409, "cart_empty")
            order = dict(await taken.fetchrow(_INSERT, key, visitor, cart["total_cents"]))
            lines = [(order["id"], ln["sku"], ln["quantity"], ln["price_cents"]) for ln in cart["lines"]]
            await taken.executemany(_ITEMS, lines)
            return order

    async def _pay(self, order: dict[str, Any], key: str) -> str:
        body = json.dumps({"order": order["id"], "key": key, "total_cents": order["total_cents"]}).encode()
        headers = signing.sign(self._frame.settings.work.payment_secret, body, time.time())
        try:
            paid = await self._frame.caller.call(
                calling.Call("payment", "POST", "/payments", body=body, headers=headers, repeatable=True)
            )
        except calling.CallError as error:
            if error.status == 402:
                raise Problem(402, "declined") from error
            raise
        return str(paid.data["payment"])

    async def _confirm(self, visitor: str, order: dict[str, Any]) -> None:
        mail = {"to": f"{visitor}@visitors.example", "subject": f"Order {order['id']} is on its way", **_shown(order)}
        await mailing.publish(self.cache, self._frame.tracer, mail)


def _shown(order: dict[str, Any]) -> dict[str, Any]:
    return {key: order[key] for key in ("id", "status", "total_cents", "payment", "parcel")}


def _wish(raw: bytes) -> tuple[str, str]:
    try:
        data = json.loads(raw)
        visitor, key = str(data["visitor"]), str(data["key"])
    except (ValueError, KeyError, TypeError):
        raise Problem(400, "bad_order") from None
    if not visitor.replace("-", "").isalnum() or not 1 <= len(key) <= 80:
        raise Problem(400, "bad_order")
    return visitor[:64], key


def build(frame: Frame) -> Service:
    """The orders service."""
    orders = Orders(frame)
    return Service(
        routes=[
            Route("POST", "/orders", "/orders", orders.place),
            Route("GET", "/orders", "/orders", orders.history),
            Route("GET", "/orders/{id}", "/orders/one", orders.one),
        ],
        needs=[orders.start, orders.cache.ping],
        runs=[orders.database.watch, orders.cache.watch, orders.watch_queue],
        closes=[orders.database.close, orders.cache.close],
    )
