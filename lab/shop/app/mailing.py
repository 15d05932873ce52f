"""The mail queue: a Redis list from orders to the mailers, at least once, with the trace in the envelope.

A worker moves a message into its own working list and removes it from there when the mail has gone; the working lists
of workers that died are put back by whoever notices.
"""

import asyncio
import json
import time
from typing import Any

from loomidi_lab.shop.app import metrics, tracing
from loomidi_lab.shop.app.logs import log
from loomidi_lab.shop.app.stores import Cache, StoreDown

QUEUE, DEAD = "shop:mail", "shop:mail:dead"
WORKING, ALIVE = "shop:mail:working:", "shop:mail:alive:"
_LOOK_S = 2.0


async def publish(cache: Cache, tracer: tracing.Tracer, mail: dict[str, Any]) -> None:
    """Put a mail into the queue. Raises StoreDown."""
    with tracer.span("mail publish", tracing.PRODUCER) as span:
        span.attributes.update({"messaging.system": "redis", "messaging.destination.name": QUEUE})
        span.attributes["peer.service"] = "redis"
        envelope = {"mail": mail, "traceparent": span.traceparent(), "since": time.time(), "tries": 0}
        text = json.dumps(envelope)
        await cache.run("LPUSH", lambda client: client.lpush(QUEUE, text), traced=False)


async def take(cache: Cache, worker: str) -> str | None:
    """The next message, in this worker's hand until `done`; None after a second without one. Raises StoreDown."""
    hand = WORKING + worker
    text = await cache.run("take", lambda client: client.blmove(QUEUE, hand, 1, "RIGHT", "LEFT"), traced=False)
    return None if text is None else str(text)


async def done(cache: Cache, worker: str, text: str) -> None:
    """The message is dealt with. Raises StoreDown."""
    await cache.run("done", lambda client: client.lrem(WORKING + worker, 1, text), traced=False)


async def watch_depth(cache: Cache) -> None:
    """Keep depth and oldest age of the queue in the metrics."""
    while True:
        try:
            depth, last = await cache.run("depth", _depth, traced=False)
            metrics.queue_depth.labels("mail").set(depth)
            since = json.loads(last[0])["since"] if last else time.time()
            metrics.queue_oldest.labels("mail").set(max(0.0, time.time() - since))
        except StoreDown:
            pass  # counted; the gauges keep their last value
        except (ValueError, KeyError, TypeError):
            log("warning", "the oldest message cannot be read")
        await asyncio.sleep(_LOOK_S)


async def say_alive(cache: Cache, worker: str, seconds: int) -> None:
    """What this worker has in hand is its own for so long. Raises StoreDown."""
    await cache.run("alive", lambda client: client.set(ALIVE + worker, "1", ex=seconds), traced=False)


async def reclaim(cache: Cache) -> int:
    """Put back what workers that died had in hand; the number of messages. Raises StoreDown."""

    async def work(client: Any) -> int:
        moved = 0
        async for name in client.scan_iter(match=f"{WORKING}*", count=100):
            if await client.exists(ALIVE + name.removeprefix(WORKING)):
                continue
            while await client.lmove(name, QUEUE, "LEFT", "RIGHT"):
                moved += 1
        return moved

    return int(await cache.run("reclaim", work, traced=False))


async def _depth(client: Any) -> tuple[int, list[str]]:
    pipe = client.pipeline(transaction=False)
    pipe.llen(QUEUE)
    pipe.lrange(QUEUE, -1, -1)
    depth, last = await pipe.execute()
    return int(depth), last
