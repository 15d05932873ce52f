"""Health checks at a steady rate: check.py PER_SECOND SECONDS ADDRESS...; each over a connection of its own.

Run in a pod by the scenario. Prints how many were sent and how many were answered 200.
"""

import asyncio
import itertools
import sys
import time

DONE = {"checks": 0, "ok": 0}


async def check(address: str) -> None:
    """One request for /healthz."""
    DONE["checks"] += 1
    try:
        async with asyncio.timeout(3):
            reader, writer = await asyncio.open_connection(address, 8080)
            writer.write(f"GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError):
        return
    DONE["ok"] += answer.startswith(b"HTTP/1.1 200")


async def main() -> None:
    """Open loop: a slow answer does not slow the next check down."""
    rate, seconds, addresses = float(sys.argv[1]), float(sys.argv[2]), itertools.cycle(sys.argv[3:])
    start, tasks = time.monotonic(), set()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, start + number / rate - time.monotonic()))
        task = asyncio.create_task(check(next(addresses)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    print(f"checks: {DONE['checks']} ok: {DONE['ok']}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
