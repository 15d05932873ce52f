"""The people of the demo: two services and clients that must not notice the attacks.

Run as `python -m loomidi.services.demo.benign serve|ask ...` inside a room of the testbed. `serve` answers HTTP on
port 80 and has a login on port 22 that refuses everybody, for the brute force to fail at.
`ask` sends requests at an even pace from several addresses over new connections, checks every answer, and prints one
JSON line each half second with `sent`, `answered`, `lost` and the slowest answer. It ends when its standard input does.
"""

import http.client
import http.server
import json
import socket
import socketserver
import sys
import threading
import time
from typing import Any

PAGE = b"loomidi demo page\n" * 64
WEB_PORT, LOGIN_PORT = 80, 22
PATIENCE_S = 10.0  # an answer later than this is a lost request


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """The page."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by http.server
        """Silent: standard output is for figures."""


class _Login(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        """One line in, one line out."""
        self.rfile.readline(256)
        self.wfile.write(b"denied\n")


class _Server(socketserver.ThreadingTCPServer):
    """Both families on one socket; a thread per connection."""

    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that goes away in the middle is its own business."""


def serve() -> None:
    """Both services until standard input ends. Prints `ready` once they listen."""
    for port, handler in ((WEB_PORT, _Page), (LOGIN_PORT, _Login)):
        server = _Server(("::", port), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()


def fetch(target: str, source: str, patience_s: float = PATIENCE_S) -> bool:
    """One web request over a new connection; True when the whole page came back."""
    try:
        there = http.client.HTTPConnection(target, WEB_PORT, timeout=patience_s, source_address=(source, 0))
        try:
            there.request("GET", "/")
            return there.getresponse().read() == PAGE
        finally:
            there.close()
    except (OSError, http.client.HTTPException):
        return False


class Asking:
    """Clients that ask at an even pace and keep count."""

    def __init__(self, pairs: list[tuple[str, str]], per_second: float) -> None:
        """`pairs`: (source, target) of web requests. `per_second`: requests of each pair."""
        self._pairs, self._gap = pairs, 1 / per_second
        self._lock, self._stop = threading.Lock(), threading.Event()
        self.sent = self.answered = self.lost = 0
        self.slowest_ms = 0.0
        self._threads = [threading.Thread(target=self._ask, args=pair) for pair in pairs]

    def start(self) -> None:
        """Begin asking."""
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Ask no more and wait for the answers that are still due."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def count(self) -> dict[str, float]:
        """The figures so far."""
        with self._lock:
            figures = {"sent": self.sent, "answered": self.answered, "lost": self.lost}
            return {**figures, "slowest_ms": round(self.slowest_ms, 1)}

    def _ask(self, source: str, target: str) -> None:
        while not self._stop.wait(self._gap):
            started = time.monotonic()
            with self._lock:
                self.sent += 1
            good = fetch(target, source)
            with self._lock:
                self.answered += good
                self.lost += not good
                self.slowest_ms = max(self.slowest_ms, (time.monotonic() - started) * 1000)


def ask(per_second: float, pairs: list[tuple[str, str]]) -> None:
    """Ask until standard input ends; figures as JSON lines, the last one when every answer is in or given up."""
    asking, ended = Asking(pairs, per_second), threading.Event()
    threading.Thread(target=_until_input_ends, args=(ended,), daemon=True).start()
    asking.start()
    while not ended.wait(0.5):
        _say(asking.count())
    asking.finish()
    _say({**asking.count(), "done": True})


def _until_input_ends(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def _say(figures: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        ask(float(sys.argv[2]), [(source, target) for source, target in json.loads(sys.argv[3])])
