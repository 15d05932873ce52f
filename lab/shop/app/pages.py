"""HTML, style and pictures of the frontend, as pure functions of the data. Nothing is fetched here."""

import zlib
from html import escape
from typing import Any

from loomidi_lab.shop.app import goods

_HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<link rel="stylesheet" href="/static/style.css"><script defer src="/static/shop.js"></script></head><body>
<header><a href="/">The shop</a><nav>{nav}</nav><form action="/search"><input name="q"></form><a href="/cart">Cart</a>
<a href="/orders">Orders</a></header><main><h1>{title}</h1>"""
_FOOT = "</main><footer>A shop that sells nothing, to people who are not there.</footer></body></html>"
_NAV = "".join(f'<a href="/category/{name}">{name}</a> ' for name in goods.CATEGORIES)
STYLE = "".join(
    f".shade-{n} {{ color: hsl({n * 3 % 360}, 40%, 30%); padding: {n % 9}px; border: 1px solid #ddd; }}\n"
    for n in range(120)
)
SCRIPT = "".join(f"const label{n} = document.getElementById('label-{n}'); // {n * 7919}\n" for n in range(220))


def money(cents: int) -> str:
    """An amount as people read it."""
    return f"{cents / 100:.2f} EUR"


def page(title: str, body: str) -> bytes:
    """A whole page."""
    return (_HEAD.format(title=escape(title), nav=_NAV) + body + _FOOT).encode()


def cards(products: list[dict[str, Any]], title: str = "") -> str:
    """A row of products, each with its picture."""
    parts = [f"<h2>{escape(title)}</h2>" if title else "", '<div class="cards">']
    for p in products:
        sku = escape(str(p["sku"]))
        parts.append(
            f'<a class="card" href="/product/{sku}"><img src="/static/{sku}.svg" alt=""><b>{escape(str(p["name"]))}</b>'
            f"<i>{money(int(p['price_cents']))}</i></a>"
        )
    return "".join([*parts, "</div>"])


def product(p: dict[str, Any], like_it: str) -> bytes:
    """The page of one product."""
    stock = p.get("stock")
    sku = escape(str(p["sku"]))
    body = (
        f'<img src="/static/{sku}.svg" alt=""><p>{escape(str(p["description"]))}</p>'
        f"<p>{money(int(p['price_cents']))}</p>"
        f"<p>{'ask us' if stock is None else f'{stock} in stock'}</p>"
        f'<form method="post" action="/cart/items"><input type="hidden" name="sku" value="{sku}">'
        "<button>Buy</button></form>"
    )
    return page(str(p["name"]), body + like_it)


def cart(data: dict[str, Any]) -> bytes:
    """The cart's page."""
    lines = "".join(
        f"<li>{int(line['quantity'])} x {escape(str(line['name']))} {money(int(line['price_cents']))}</li>"
        for line in data["lines"]
    )
    button = '<form method="post" action="/checkout"><button>Order</button></form>' if lines else "<p>It is empty.</p>"
    return page("Your cart", f"<ul>{lines}</ul><p>{money(int(data['total_cents']))}</p>{button}")


def orders(rows: list[dict[str, Any]]) -> bytes:
    """The page of a visitor's orders."""
    lines = "".join(
        f'<li><a href="/orders/{int(row["id"])}">{int(row["id"])}</a> {escape(str(row["created"]))}'
        f" {money(int(row['total_cents']))} {escape(str(row['status']))}</li>"
        for row in rows
    )
    return page("Your orders", f"<ul>{lines or '<li>None yet.</li>'}</ul>")


def picture(name: str) -> bytes:
    """An SVG drawn from the name: some kilobytes, as a small picture has."""
    seed = zlib.crc32(name.encode())
    strokes = []
    for n in range(40):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        x, y = seed % 160, seed // 160 % 120
        strokes.append(
            f'<path d="M{x} {y} q {n} {seed % 50} {n * 2} {n}" stroke="hsl({seed % 360},50%,50%)" fill="none"/>'
        )
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 120">{"".join(strokes)}</svg>'.encode()
