"""A mining pool: Stratum over TCP, JSON lines; checks the proof of work of every share. pool.py ADDRESS PORT.

Started in the outside namespace by `scenario.yaml`; ends with the scenario.
"""

import hashlib
import json
import os
import socketserver
import sys
from typing import Any

ZERO_BITS = 14  # of the hash: some shares a second on a fraction of a core


def proves(header: bytes, nonce: int) -> bool:
    """Whether the double SHA-256 of header and nonce begins with enough zeros."""
    once = hashlib.sha256(header + nonce.to_bytes(4, "little")).digest()
    return int.from_bytes(hashlib.sha256(once).digest()[:4], "big") >> (32 - ZERO_BITS) == 0


class Miner(socketserver.StreamRequestHandler):
    """One connected miner."""

    def handle(self) -> None:
        """Answer requests; a new job after every share."""
        self.header = os.urandom(76)
        for line in self.rfile:
            request = json.loads(line)
            answer = getattr(self, "on_" + request["method"].replace(".", "_"))(request["params"])
            self.tell({"id": request["id"], "result": answer, "error": None})
            if request["method"] in ("mining.authorize", "mining.submit"):
                self.header = os.urandom(76)
                self.tell({"id": None, "method": "mining.notify", "params": ["job", self.header.hex(), ZERO_BITS]})

    def tell(self, message: dict[str, Any]) -> None:
        """One JSON line."""
        self.wfile.write(json.dumps(message).encode() + b"\n")

    def on_mining_subscribe(self, _params: list[Any]) -> list[Any]:
        """Session and extra nonce."""
        return [[["mining.notify", "1"]], os.urandom(4).hex(), 4]

    def on_mining_authorize(self, _params: list[Any]) -> bool:
        """Everybody may work."""
        return True

    def on_mining_submit(self, params: list[Any]) -> bool:
        """Whether the share is good."""
        return proves(self.header, int(params[2], 16))


class Pool(socketserver.ThreadingTCPServer):
    """All miners."""

    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    with Pool((sys.argv[1], int(sys.argv[2])), Miner) as server:
        print("listening", flush=True)
        server.serve_forever()
