"""Redis and PostgreSQL as the services use them: pooled, timed, traced, counted, and never waited for without end.

Services call `Database` and `Cache`; both raise StoreDown or PoolExhausted, never a driver's error of connection.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import redis.asyncio
import redis.exceptions

from loomidi_lab.shop.app import metrics, tracing
from loomidi_lab.shop.app.releases import Release
from loomidi_lab.shop.app.settings import Stores

_STATEMENT_S = 3.0
_CONNECT_S = 2.0
_PING_S = 2.0


class StoreDown(Exception):
    """The store does not answer, or not in time."""

    def __init__(self, store: str, detail: str) -> None:
        super().__init__(f"{store} is down: {detail}"[:200])
        self.store = store


class PoolExhausted(Exception):
    """No connection became free in time."""


class Database:
    """A pool of connections to PostgreSQL."""

    def __init__(self, settings: Stores, tracer: tracing.Tracer, release: Release) -> None:
        self._settings = settings
        self._tracer = tracer
        self._release = release
        self._pool: Any = None
        self._in_use = 0
        self._waiting = 0
        metrics.pool_size.labels("postgres").set(settings.pool_size)

    async def connect(self) -> None:
        """Make the pool. Raises StoreDown when the server cannot be reached yet."""
        settings = self._settings
        try:
            self._pool = await asyncpg.create_pool(
                host=settings.database_host,
                port=settings.database_port,
                user="shop",
                database="shop",
                password=settings.database_password,
                min_size=1,
                max_size=settings.pool_size,
                timeout=_CONNECT_S,
                command_timeout=_STATEMENT_S,
                max_inactive_connection_lifetime=60.0,
                ssl=False,
            )
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise self._down(error) from error
        metrics.store_up.labels("postgres").set(1)

    async def close(self) -> None:
        """Close the connections, hard after two seconds."""
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), 2.0)
            except TimeoutError:
                self._pool.terminate()

    @contextlib.asynccontextmanager
    async def connection(self, operation: str, traced: bool = True) -> AsyncIterator[Any]:
        """A connection for one operation. Raises PoolExhausted or StoreDown."""
        taken = await self._acquire()
        try:
            with self._span(operation) if traced else contextlib.nullcontext():
                yield taken
            metrics.store_up.labels("postgres").set(1)
        except (TimeoutError, OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError) as error:
            raise self._down(error) from error
        finally:
            if self._release.gives_back(operation):
                await self._give_back(taken)

    async def fetch(self, operation: str, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Rows of a statement."""
        async with self.connection(operation) as taken:
            return [dict(row) for row in await taken.fetch(sql, *values)]

    async def watch(self) -> None:
        """Keep the health gauge true while nobody asks for anything."""
        while True:
            await asyncio.sleep(_PING_S)
            if self._waiting or self._in_use:
                continue  # those who use it find out
            try:
                async with self.connection("ping", traced=False) as taken:
                    await taken.fetchval("SELECT 1")
            except (StoreDown, PoolExhausted):
                continue  # counted where it was raised

    @contextlib.contextmanager
    def _span(self, operation: str) -> Iterator[None]:
        with self._tracer.span(f"postgres {operation}", tracing.CLIENT) as span:
            span.attributes.update({"db.system": "postgresql", "db.operation": operation, "peer.service": "postgres"})
            yield

    async def _acquire(self) -> Any:
        started = time.monotonic()
        self._waiting += 1
        metrics.pool_waiting.labels("postgres").set(self._waiting)
        try:
            taken = await self._pool.acquire(timeout=self._settings.pool_wait_s)
        except TimeoutError:
            if self._in_use < self._settings.pool_size:
                raise self._down(TimeoutError("no answer to a new connection")) from None
            metrics.pool_timeouts.labels("postgres").inc()
            raise PoolExhausted("no connection became free") from None
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise self._down(error) from error
        finally:
            self._waiting -= 1
            metrics.pool_waiting.labels("postgres").set(self._waiting)
            metrics.pool_wait_seconds.labels("postgres").observe(time.monotonic() - started)
        self._in_use += 1
        metrics.pool_in_use.labels("postgres").set(self._in_use)
        return taken

    async def _give_back(self, taken: Any) -> None:
        self._in_use -= 1
        metrics.pool_in_use.labels("postgres").set(self._in_use)
        try:
            await self._pool.release(taken, timeout=2.0)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            metrics.store_errors.labels("postgres", f"release_{type(error).__name__}").inc()

    def _down(self, error: BaseException) -> StoreDown:
        metrics.store_up.labels("postgres").set(0)
        metrics.store_errors.labels("postgres", type(error).__name__).inc()
        return StoreDown("postgres", f"{type(error).__name__}: {error}")


class Cache:
    """Redis, for carts, recent views and the mail queue."""

    def __init__(self, settings: Stores, tracer: tracing.Tracer, patience_s: float = 1.0) -> None:
        self._tracer = tracer
        self._pool = redis.asyncio.BlockingConnectionPool(
            host=settings.redis_host,
            port=settings.redis_port,
            password=settings.redis_password or None,
            socket_timeout=patience_s,
            socket_connect_timeout=1.0,
            max_connections=20,
            timeout=2.0,
            decode_responses=True,
            health_check_interval=0,
        )
        self._client = redis.asyncio.Redis(connection_pool=self._pool)
        self._in_use = 0
        metrics.pool_size.labels("redis").set(20)

    async def do(self, operation: str, *words: str | int | float) -> Any:
        """One command. Raises StoreDown."""
        return await self.run(operation, lambda client: client.execute_command(*words))

    async def run(self, operation: str, work: Callable[[Any], Awaitable[Any]], traced: bool = True) -> Any:
        """Whatever `work` does with the client, as one operation. Raises StoreDown."""
        self._in_use += 1
        metrics.pool_in_use.labels("redis").set(self._in_use)
        try:
            if not traced:
                found = await work(self._client)
            else:
                with self._tracer.span(f"redis {operation}", tracing.CLIENT) as span:
                    span.attributes.update({"db.system": "redis", "db.operation": operation, "peer.service": "redis"})
                    found = await work(self._client)
        except (TimeoutError, redis.exceptions.RedisError, OSError) as error:
            metrics.store_up.labels("redis").set(0)
            metrics.store_errors.labels("redis", type(error).__name__).inc()
            raise StoreDown("redis", f"{type(error).__name__}: {error}") from error
        finally:
            self._in_use -= 1
            metrics.pool_in_use.labels("redis").set(self._in_use)
        metrics.store_up.labels("redis").set(1)
        return found

    async def ping(self) -> None:
        """Raises StoreDown when the server does not answer."""
        await self.run("ping", lambda client: client.ping(), traced=False)

    async def watch(self) -> None:
        """Keep the health gauge true while nobody asks for anything."""
        while True:
            await asyncio.sleep(_PING_S)
            try:
                await self.ping()
            except StoreDown:
                continue  # counted where it was raised

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.disconnect()
