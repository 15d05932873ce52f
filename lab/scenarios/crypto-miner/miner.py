"""Mine for a pool: miner.py ADDRESS PORT SECONDS. Real double SHA-256; ends by itself, prints the accepted shares.

Runs in a pod. Speaks Stratum: subscribe, authorize, then a share for every job.
"""

import hashlib
import json
import socket
import sys
import time
from typing import Any


class Session:
    """One connection to the pool."""

    def __init__(self, address: str, port: int) -> None:
        self._channel = socket.create_connection((address, port), timeout=10)
        self._lines = self._channel.makefile("rb")
        self._next = 0

    def ask(self, method: str, params: list[Any]) -> Any:
        """Send a request, return the result of its answer."""
        self._next += 1
        self._channel.sendall(json.dumps({"id": self._next, "method": method, "params": params}).encode() + b"\n")
        while True:
            message = json.loads(self._lines.readline())
            if message["id"] == self._next:
                return message["result"]

    def job(self) -> tuple[bytes, int]:
        """The next job that the pool sends."""
        while True:
            message = json.loads(self._lines.readline())
            if message.get("method") == "mining.notify":
                return bytes.fromhex(message["params"][1]), int(message["params"][2])


def work(header: bytes, zero_bits: int, end: float) -> int | None:
    """The first nonce that proves the work; None when the time is over."""
    shift = 256 - zero_bits
    for nonce in range(1 << 32):
        once = hashlib.sha256(header + nonce.to_bytes(4, "little")).digest()
        if int.from_bytes(hashlib.sha256(once).digest(), "big") >> shift == 0:
            return nonce
        if nonce % 4096 == 0 and time.monotonic() > end:
            return None
    return None


def main() -> None:
    """Until the time is over."""
    end = time.monotonic() + float(sys.argv[3])
    session = Session(sys.argv[1], int(sys.argv[2]))
    session.ask("mining.subscribe", ["miner/1.0"])
    session.ask("mining.authorize", ["wallet.worker", "x"])
    accepted = 0
    while time.monotonic() < end:
        header, zero_bits = session.job()
        nonce = work(header, zero_bits, end)
        if nonce is not None:
            accepted += session.ask("mining.submit", ["wallet.worker", "job", f"{nonce:08x}"]) is True
    print(f"shares accepted {accepted}")


if __name__ == "__main__":
    main()
