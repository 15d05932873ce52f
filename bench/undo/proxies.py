"""A proxy between the operator and the API server that answers busy, loses words, lets others write, drops watches.

Called by `faults`. In: where the API server is. Out: plain HTTP on this machine; who asks keeps its own token. What
goes wrong is switched on and off from outside and drawn by a seed for each request; everything is counted in `met`.
"""

import contextlib
import http.client
import http.server
import json
import random
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SHARE = 0.5  # of the requests that meet what is on
ENDS = ("broken", "ended", "gone")  # how a watch ends: reset, in order, with 410
_GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}
_HOP = ("connection", "transfer-encoding", "keep-alive", "host", "content-length")


class Proxy:
    """One, on a free port of loopback. `meddle`: writes on the object of a path, as somebody else."""

    def __init__(self, server: str, authority: Path, seed: str, meddle: Callable[[str], None]) -> None:
        self._place, self._meddle, self._dice = urlsplit(server), meddle, random.Random(seed)
        self._context = ssl.create_default_context(cafile=str(authority))
        self._lock = threading.Lock()  # of the dice and of what is on
        self._watches: dict[socket.socket, socket.socket] = {}  # ours -> the API server's
        self._ends: dict[socket.socket, str] = {}
        self._on: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.handle_error = self._lost  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @contextlib.contextmanager
    def trouble(self, name: str) -> Any:
        """While it lasts, requests meet it: `busy`, `conflict` or `unwatched`. Several may overlap."""
        with self._lock:
            self._on[name] += 1
        try:
            yield
        finally:
            with self._lock:
                self._on[name] -= 1

    def drop_watches(self) -> int:
        """End all that are open, each in one of the ways in which watches end; how many they were."""
        with self._lock:
            open_ones = dict(self._watches)
            self._ends |= {ours: self._dice.choice(ENDS) for ours in open_ones}
        for ours, theirs in open_ones.items():
            self.met[f"watch {self._ends[ours]}"] += 1
            with contextlib.suppress(OSError):
                theirs.shutdown(socket.SHUT_RDWR)
        return len(open_ones)

    def draw(self, method: str, path: str, *, watch: bool) -> str:
        """What this request meets; '' for nothing."""
        with self._lock:
            on = {name for name, count in self._on.items() if count}
            met = self._drawn(on, method, watch=watch) if on and self._dice.random() < SHARE else ""
        if met:
            self.met[met] += 1
        if met == "meddled":
            self._meddle(urlsplit(path).path)
        return met

    def _drawn(self, on: set[str], method: str, *, watch: bool) -> str:
        ways = ["429", "500", "503", "lost", *(["unanswered"] if not watch else [])] if "busy" in on else []
        ways += ["meddled"] * 4 if "conflict" in on and method == "PATCH" else []
        ways += ["500", "lost"] if "unwatched" in on and watch else []
        return self._dice.choice(ways) if ways else ""

    def upstream(self) -> http.client.HTTPSConnection:
        """A connection of its own for each of the operator's."""
        return http.client.HTTPSConnection(str(self._place.hostname), self._place.port, context=self._context)

    def watched(self, ours: socket.socket, theirs: socket.socket) -> None:
        """A watch is open from now on."""
        with self._lock:
            self._watches[ours] = theirs

    def unwatched(self, ours: socket.socket) -> str:
        """It is over; how it is to end for who watches."""
        with self._lock:
            self._watches.pop(ours, None)
            return self._ends.pop(ours, "ended")

    def _lost(self, request: object, address: object) -> None:
        """A connection that broke off, ours or the operator's, when one of them was killed."""
        self.met["connection lost"] += 1

    def close(self) -> None:
        """Take no more requests."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection of the operator."""

    proxy: Proxy
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self._upstream = self.proxy.upstream()

    def finish(self) -> None:
        self._upstream.close()
        with contextlib.suppress(OSError):
            super().finish()

    def pass_on(self) -> None:
        """One request."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        watch = "watch=1" in self.path
        met = self.proxy.draw(self.command, self.path, watch=watch)
        if met.isdigit():
            self._busy(int(met))
        elif met == "lost":
            self.close_connection = True
        else:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._asked(body, watch=watch, heard=met != "unanswered")
                return
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on  # noqa: N815 - their names there

    def _asked(self, body: bytes, *, watch: bool, heard: bool) -> None:
        headers = {name: text for name, text in self.headers.items() if name.lower() not in _HOP}
        self._upstream.request(self.command, self.path, body or None, headers)
        response = self._upstream.getresponse()
        if watch and response.status == http.HTTPStatus.OK:
            self._stream(response)
            return
        text = response.read()
        if not heard:
            self.close_connection = True
            return
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _stream(self, response: http.client.HTTPResponse) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        self.proxy.watched(self.connection, self._upstream.sock)
        try:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                while line := response.readline():
                    self._chunk(line)
        finally:
            end = self.proxy.unwatched(self.connection)
        if end == "gone":
            self._chunk(json.dumps(_GONE).encode() + b"\n")
        if end != "broken":
            self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, line: bytes) -> None:
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")

    def _busy(self, status: int) -> None:
        text = json.dumps({"kind": "Status", "code": status, "message": "later"}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if status == http.HTTPStatus.TOO_MANY_REQUESTS:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Quiet."""
