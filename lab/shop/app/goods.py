"""The goods of the shop: 480 products of eight categories, the same in every lab, made from their number.

Used by `schema` (seed), `frontend` (pictures) and, as plain facts, by the load generator. No clock, no chance.
"""

from dataclasses import dataclass

CATEGORIES = ("yarn", "paper", "ribbon", "needles", "looms", "dyes", "books", "gifts")
PER_CATEGORY = 60
_ADJECTIVES = ("plain", "fine", "rough", "soft", "bright", "dark", "light", "old", "new", "long", "short", "double")
_MATERIALS = ("linen", "wool", "cotton", "silk", "hemp", "birch", "cedar", "steel", "glass", "clay")


@dataclass(frozen=True)
class Product:
    """One line of the catalog."""

    sku: str
    name: str
    category: str
    price_cents: int
    stock: int
    tags: tuple[str, str]
    text: str


def product(number: int) -> Product:
    """The product of that number, counted from 0."""
    category = CATEGORIES[number % len(CATEGORIES)]
    adjective = _ADJECTIVES[(number * 7) % len(_ADJECTIVES)]
    material = _MATERIALS[(number * 3) % len(_MATERIALS)]
    sku = f"{category[:2].upper()}{number:04d}"
    text = f"{adjective.capitalize()} {material}, made for {category}. " * (3 + number % 5)
    return Product(
        sku=sku,
        name=f"{adjective} {material} {category} {number}",
        category=category,
        price_cents=199 + (number * 7919) % 9700,
        stock=1_000_000,
        tags=(adjective, material),
        text=text.strip(),
    )


def everything() -> list[Product]:
    """All products in order of their number."""
    return [product(number) for number in range(len(CATEGORIES) * PER_CATEGORY)]
