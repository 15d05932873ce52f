"""A small HTTP receiver on a socket that may live in another network namespace.

Called by `auditing` (the API server's webhook) and `tracing` (OTLP over HTTP). In: an address and a function from path
and body to a status. Out: its answers. Leaves the meaning of bodies to the caller.
"""

import contextlib
import gzip
import socket
import threading
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

from loomidi.contracts.errors import Conflict, EnvironmentLacks

BODY_MOST = 64 << 20
_END_S = 5.0
Handle = Callable[[str, bytes], int]
Result = TypeVar("Result")


def inside(netns: str, work: Callable[[], Result]) -> Result:
    """What `work` gives in that network namespace; sockets that it opens stay there. Empty: where we are."""
    if not netns:
        return work()
    results: list[Result] = []
    errors: list[BaseException] = []

    def entered() -> None:
        from pyroute2 import netns as namespaces

        try:
            namespaces.setns(netns, flags=0)  # of this thread only, which ends with it; makes none that is not there
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - handed to the caller below
            errors.append(error)

    thread = threading.Thread(target=entered, name="rec-inside")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def listening(netns: str, address: str, port: int) -> socket.socket:
    """A listening socket. Raises Conflict when the port is taken, EnvironmentLacks when the address is not ours."""

    def opened() -> socket.socket:
        listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
            listener.listen(128)
        except OSError:
            listener.close()
            raise
        return listener

    where = f"{address}:{port}" + (f" in {netns}" if netns else "")
    try:
        return inside(netns, opened)
    except OSError as error:
        if error.errno == 98:
            raise Conflict(f"{where} is taken; is another recording running? End it first") from error
        raise EnvironmentLacks(f"{where} cannot be listened on: {error.strerror}; is the lab up?") from error


class Receiver:
    """POST requests to `handle`, one thread per connection, until `stop`."""

    def __init__(self, listener: socket.socket, handle: Handle) -> None:
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self._server = _Server(listener, handle)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="rec-http", daemon=True)

    def start(self) -> None:
        """Take requests from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more, also on connections that are kept: what comes on them is told 503, and to be sent elsewhere."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(_END_S)
        self._server.server_close()
        self._server.end()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, handle: Handle) -> None:
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket, self._handle = listener, handle
        self._ended, self._busy, self._idle = False, 0, threading.Condition()

    def answer(self, path: str, body: bytes) -> int:
        """What `handle` says to it; 503 after the end: nobody takes it any more, and nothing is lost by a retry."""
        with self._idle:
            if self._ended:
                return 503
            self._busy += 1
        try:
            return self._handle(path, body)
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def end(self) -> None:
        """Nothing is handled from now on; what is being handled has its time."""
        with self._idle:
            self._ended = True
            self._idle.wait_for(lambda: not self._busy, _END_S)

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer that went away is not ours to report; what `handle` counts is counted there."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120  # of an idle connection
    server: _Server

    def do_POST(self) -> None:  # the name that http.server looks for
        body, status = self._body()
        if status == 200:
            status = self.server.answer(self.path, body)
            self.close_connection |= status == 503
        answer = b"{}"
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer)

    def _body(self) -> tuple[bytes, int]:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY_MOST:
            self.close_connection = True
            return b"", 413 if length.isdigit() else 411
        body = self.rfile.read(int(length))
        if self.headers.get("Content-Encoding", "") != "gzip":
            return body, 200
        with contextlib.suppress(OSError, EOFError, zlib.error):
            return gzip.decompress(body), 200
        return b"", 400

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Nothing: requests are counted by the caller."""
