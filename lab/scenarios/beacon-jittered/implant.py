"""Call home at a beat with jitter: implant.py ADDRESS PORT PERIOD_S JITTER SECONDS SEED. Ends by itself.

Runs in a pod; prints how many calls were answered.
"""

import random
import sys
import time
import urllib.error
import urllib.request


def main() -> None:
    """One request a beat; the beat is drawn anew each time around the period."""
    address, port = sys.argv[1], int(sys.argv[2])
    period_s, jitter, seconds = (float(word) for word in sys.argv[3:6])
    chance = random.Random(int(sys.argv[6]))
    end = time.monotonic() + seconds
    calls = 0
    while time.monotonic() < end:
        url = f"http://{address}:{port}/status?id={chance.randrange(1 << 32):08x}"
        try:
            with urllib.request.urlopen(url, timeout=3) as answer:
                calls += bool(answer.read())
        except (urllib.error.URLError, TimeoutError):
            pass
        time.sleep(period_s * (1 + chance.uniform(-jitter, jitter)))
    print(f"calls answered {calls}")


if __name__ == "__main__":
    main()
