"""What one person does in one visit: a Markov chain over the shop's pages, one chain for each kind of visit.

Called by `planning` with a source of chance. A step does not depend on any answer: the load stays open whatever the
shop does.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from loomidi_lab.shop.app import goods

_WORDS = ("linen", "wool", "silk", "cotton", "fine", "soft", "paper", "yarn", "steel", "books", "dark", "ribbon")
_MOST_STEPS = 40
END = "end"
SHARES = {"browse": 0.45, "search": 0.2, "buy": 0.2, "return": 0.15}

# From page to page, per kind of visit; what is missing to 1 ends the visit.
CHAINS: dict[str, dict[str, dict[str, float]]] = {
    "browse": {
        "start": {"home": 0.8, "category": 0.2},
        "home": {"category": 0.6, "product": 0.25},
        "category": {"product": 0.6, "category": 0.2},
        "product": {"category": 0.3, "product": 0.35, "add": 0.05},
        "add": {"cart": 0.5, "product": 0.3},
        "cart": {"home": 0.3},
    },
    "search": {
        "start": {"home": 0.5, "suggest": 0.5},
        "home": {"suggest": 0.8},
        "suggest": {"suggest": 0.45, "search": 0.55},
        "search": {"product": 0.65, "suggest": 0.2},
        "product": {"search": 0.3, "product": 0.25, "add": 0.1},
        "add": {"cart": 0.6},
        "cart": {},
    },
    "buy": {
        "start": {"home": 0.6, "product": 0.4},
        "home": {"category": 0.5, "search": 0.3, "product": 0.2},
        "category": {"product": 0.9},
        "search": {"product": 0.9},
        "product": {"add": 0.7, "product": 0.2},
        "add": {"cart": 0.6, "product": 0.3},
        "cart": {"checkout": 0.85, "product": 0.1},
        "checkout": {"orders": 0.6},
        "orders": {"order": 0.2},
        "order": {},
    },
    "return": {
        "start": {"orders": 0.5, "home": 0.5},
        "orders": {"home": 0.3, "product": 0.3},
        "home": {"product": 0.8},
        "product": {"add": 0.4, "product": 0.2},
        "add": {"cart": 0.8},
        "cart": {"checkout": 0.7},
        "checkout": {},
    },
}


@dataclass(frozen=True, slots=True)
class Step:
    """One request of a visit."""

    after_s: float  # since the request before it
    method: str
    path: str
    route: str  # as the frontend names it in its metrics
    body: str  # JSON; empty: none


class Visit:
    """Draws the steps of one visit."""

    def __init__(self, journey: str, chance: random.Random, think_s: float) -> None:
        self._chain = CHAINS[journey]
        self._chance = chance
        self._think_s = think_s
        self._sku = self._some_sku()
        self._seen: set[str] = set()

    def steps(self) -> Iterator[Step]:
        """Pages with the assets that a browser would fetch for them, in order of time."""
        page, count = self._next("start"), 0
        while page != END and count < _MOST_STEPS:
            count += 1
            yield self._page(page, 0.0 if count == 1 else self._pause_s(page))
            for number, asset in enumerate(self._assets(page)):
                yield Step(0.03 if number == 0 else 0.002, "GET", f"/static/{asset}", "/static", "")
            page = self._next(page)

    def _next(self, page: str) -> str:
        draw = self._chance.random()
        for name, share in self._chain.get(page, {}).items():
            draw -= share
            if draw < 0:
                return name
        return END

    def _pause_s(self, page: str) -> float:
        mean = 0.25 if page == "suggest" else self._think_s  # letters come faster than pages
        return min(self._chance.expovariate(1.0 / mean), mean * 6)

    def _page(self, page: str, after_s: float) -> Step:
        if page == "product":
            self._sku = self._some_sku()
        word = self._chance.choice(_WORDS)
        method, path, route, body = {
            "home": ("GET", "/", "/", ""),
            "category": ("GET", f"/category/{self._chance.choice(goods.CATEGORIES)}", "/category", ""),
            "product": ("GET", f"/product/{self._sku}", "/product", ""),
            "search": ("GET", f"/search?q={word}", "/search", ""),
            "suggest": ("GET", f"/api/products?q={word}", "/api/products", ""),
            "add": ("POST", "/cart/items", "/cart/items", f'{{"sku": "{self._sku}", "quantity": 1}}'),
            "cart": ("GET", "/cart", "/cart", ""),
            "checkout": ("POST", "/checkout", "/checkout", f'{{"key": "{self._chance.getrandbits(96):024x}"}}'),
            "orders": ("GET", "/orders", "/orders", ""),
            "order": ("GET", f"/orders/{self._chance.randint(1, 40)}", "/orders/one", ""),
        }[page]
        return Step(after_s, method, path, route, body)

    def _assets(self, page: str) -> list[str]:
        """What is not in the browser's cache yet."""
        if page in ("suggest", "add", "checkout"):
            return []
        wanted = ["style.css", "shop.js"]
        if page == "product":
            wanted.append(f"{self._sku}.svg")
        fresh = [name for name in wanted if name not in self._seen]
        self._seen.update(fresh)
        return fresh

    def _some_sku(self) -> str:
        # Few products are looked at often: the square of a uniform draw.
        total = len(goods.CATEGORIES) * goods.PER_CATEGORY
        return goods.product(int(self._chance.random() ** 2 * total)).sku
