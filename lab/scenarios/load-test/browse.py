"""An open-loop load test from one address: browse.py FROM HOST PORT PER_SECOND SECONDS SEED.

Run by the scenario in the outside namespace. Workers keep their connections. Prints requests and good answers.
"""

import http.client
import queue
import random
import sys
import threading
import time

WORKERS = 24
PATHS = ("/", "/category/yarn", "/search?q=wool", "/static/shop.css", "/cart")
DONE = {"requests": 0, "well": 0}
LOCK = threading.Lock()


def work(host: str, port: int, source: str, jobs: "queue.Queue[str | None]") -> None:
    """Send what is handed over until None comes; a connection that broke is made again."""
    connection = http.client.HTTPConnection(host, port, timeout=10, source_address=(source, 0))
    while (path := jobs.get()) is not None:
        well = False
        try:
            connection.request("GET", path, headers={"User-Agent": "shop-loadtest/1"})
            answer = connection.getresponse()
            answer.read()
            well = answer.status < 500
        except (OSError, http.client.HTTPException):
            connection.close()
        with LOCK:
            DONE["requests"] += 1
            DONE["well"] += well


def main() -> None:
    """Hand requests out by the clock, whatever the answers do."""
    source, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    rate, seconds, draw = float(sys.argv[4]), float(sys.argv[5]), random.Random(int(sys.argv[6]))
    jobs: queue.Queue[str | None] = queue.Queue()
    threads = [threading.Thread(target=work, args=(host, port, source, jobs)) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    start = time.monotonic()
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, start + number / rate - time.monotonic()))
        jobs.put(draw.choice(PATHS))
    for _ in threads:
        jobs.put(None)
    for thread in threads:
        thread.join(12)
    print(f"requests: {DONE['requests']}\nwell: {DONE['well']}", flush=True)


if __name__ == "__main__":
    main()
