"""Tables and seed of the shop's database; every service that uses PostgreSQL calls `migrate` at start.

One advisory lock makes the first one do it and the others wait; all of it may run any number of times.
"""

from typing import Any

from loomidi_lab.shop.app import goods
from loomidi_lab.shop.app.stores import Database

_LOCK = 7_261_934
_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS products (
  sku text PRIMARY KEY, name text NOT NULL, category text NOT NULL, price_cents integer NOT NULL,
  stock integer NOT NULL, tags text[] NOT NULL, description text NOT NULL);
CREATE TABLE IF NOT EXISTS orders (
  id bigserial PRIMARY KEY, key text NOT NULL UNIQUE, visitor text NOT NULL, created timestamptz NOT NULL DEFAULT now(),
  total_cents integer NOT NULL, status text NOT NULL,
  payment text NOT NULL DEFAULT '', parcel text NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS orders_visitor ON orders (visitor, id DESC);
CREATE INDEX IF NOT EXISTS orders_created ON orders (created);
CREATE TABLE IF NOT EXISTS order_items (
  order_id bigint NOT NULL REFERENCES orders (id), sku text NOT NULL,
  quantity integer NOT NULL, price_cents integer NOT NULL);
CREATE INDEX IF NOT EXISTS order_items_order ON order_items (order_id);
CREATE TABLE IF NOT EXISTS reports (
  id bigserial PRIMARY KEY, created timestamptz NOT NULL DEFAULT now(), orders integer NOT NULL, paid integer NOT NULL,
  total_cents bigint NOT NULL, document jsonb NOT NULL);
CREATE TABLE IF NOT EXISTS schema_version (version integer PRIMARY KEY);
"""


async def migrate(database: Database) -> None:
    """Connect and bring the schema to this version. Raises StoreDown when the server cannot be reached yet."""
    await database.connect()
    async with database.connection("migrate") as taken:
        if await _version(taken) >= _VERSION:
            return
        async with taken.transaction():
            await taken.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
            if await _version(taken) >= _VERSION:
                return
            await taken.execute(_TABLES)
            rows = [
                (p.sku, p.name, p.category, p.price_cents, p.stock, list(p.tags), p.text) for p in goods.everything()
            ]
            await taken.executemany("INSERT INTO products VALUES ($1,$2,$3,$4,$5,$6,$7) ON CONFLICT DO NOTHING", rows)
            await taken.execute("INSERT INTO schema_version VALUES ($1) ON CONFLICT DO NOTHING", _VERSION)


async def _version(taken: Any) -> int:
    if await taken.fetchval("SELECT to_regclass('schema_version')") is None:
        return 0
    return int(await taken.fetchval("SELECT coalesce(max(version), 0) FROM schema_version"))
