"""Look a name up through the C library, again and again: ask.py NAME PER_SECOND SECONDS. Prints attempts and answers.

Run in a pod by the scenario.
"""

import socket
import sys
import time


def main() -> None:
    """One attempt after the other, at the rate that was asked for."""
    name, rate, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    attempts = found = 0
    start = time.monotonic()
    while (now := time.monotonic() - start) < seconds:
        attempts += 1
        try:
            socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
            found += 1
        except socket.gaierror:
            pass
        time.sleep(max(0.0, attempts / rate - now))
    print(f"attempts: {attempts} found: {found}", flush=True)


if __name__ == "__main__":
    main()
