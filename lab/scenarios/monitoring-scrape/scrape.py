"""A scraper that tries the usual ports: scrape.py EVERY_S SECONDS ADDRESS... Prints how many scrapes gave metrics.

Run in a pod by the scenario. A port that refuses is tried again in the next round, as a target that is down.
"""

import asyncio
import sys
import time

PORTS = (8080, 9153, 9090, 9100, 9102, 9104, 9121, 9187, 9113, 9091, 8181, 8443)
AT_ONCE = 16
DONE = {"asked": 0, "answered": 0, "metrics": 0}


async def scrape(address: str, port: int, free: asyncio.Semaphore) -> None:
    """One target."""
    async with free:
        DONE["asked"] += 1
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection(address, port)
                head = (
                    "GET /metrics HTTP/1.1",
                    f"Host: {address}",
                    "User-Agent: Prometheus/2.53",
                    "Connection: close",
                    "",
                    "",
                )
                writer.write("\r\n".join(head).encode())
                answer = await reader.read()
                writer.close()
        except (OSError, TimeoutError):
            return
        DONE["answered"] += 1
        DONE["metrics"] += b"# HELP" in answer


async def main() -> None:
    """Round after round."""
    every_s, seconds, addresses = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    free, start = asyncio.Semaphore(AT_ONCE), time.monotonic()
    for turn in range(max(1, int(seconds / every_s))):
        await asyncio.sleep(max(0.0, start + turn * every_s - time.monotonic()))
        await asyncio.gather(*(scrape(address, port, free) for address in addresses for port in PORTS))
    await asyncio.sleep(max(0.0, start + seconds - time.monotonic()))
    print(f"asked: {DONE['asked']} answered: {DONE['answered']}\nscrapes with metrics: {DONE['metrics']}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
