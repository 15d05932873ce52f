"""Ask one HTTP server for search pages, a connection each, from many source addresses at a steady rate; ends by itself.

Started in the outside namespace by `scenario.yaml`: ask.py ADDRESS PORT CLIENTS RATE SECONDS SEED. Prints how many
requests were sent and how many were answered by which status.
"""

import asyncio
import collections
import random
import sys
import time

PATIENCE_S = 8.0
MOST_OPEN = 400


class Flood:
    """The requests that are under way and what became of them."""

    def __init__(self, address: str, port: int, clients: int, chance: random.Random) -> None:
        self.address, self.port, self.clients, self.chance = address, port, clients, chance
        self.answers: collections.Counter[str] = collections.Counter()
        self.open = 0

    async def ask(self) -> None:
        """One request on a connection of its own."""
        word = "".join(self.chance.choice("abcdefghijklmnop") for _ in range(6))
        source = f"198.51.100.{self.chance.randrange(10, 10 + self.clients)}"
        if self.open >= MOST_OPEN:
            self.answers["not sent"] += 1
            return
        self.open += 1
        try:
            self.answers[await asyncio.wait_for(self._exchange(source, word), PATIENCE_S)] += 1
        except (TimeoutError, OSError) as error:
            self.answers[type(error).__name__] += 1
        finally:
            self.open -= 1

    async def _exchange(self, source: str, word: str) -> str:
        reader, writer = await asyncio.open_connection(self.address, self.port, local_addr=(source, 0))
        fields = "Host: shop.example\r\nUser-Agent: Mozilla/5.0\r\nConnection: close\r\n"
        head = f"GET /search?q={word} HTTP/1.1\r\n{fields}\r\n"
        try:
            writer.write(head.encode())
            await writer.drain()
            status = (await reader.readline()).split()
            await reader.read()
        finally:
            writer.close()
        return status[1].decode() if len(status) > 1 else "empty"


async def main() -> None:
    """Start requests on time, whether or not earlier ones were answered."""
    address, port = sys.argv[1], int(sys.argv[2])
    clients, rate, seconds, seed = (int(float(word)) for word in sys.argv[3:7])
    flood = Flood(address, port, clients, random.Random(seed))
    begin = time.monotonic()
    tasks = []
    for number in range(rate * seconds):
        await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
        tasks.append(asyncio.create_task(flood.ask()))
    await asyncio.gather(*tasks)
    print(f"requests {len(tasks) - flood.answers['not sent']}", dict(flood.answers))


if __name__ == "__main__":
    asyncio.run(main())
