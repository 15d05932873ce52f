"""The people who did nothing: requests at a known rate with numbers, and connections that must stay up.

Run as `python -m loomidi_lab.redteam.crowd CONFIG` inside a room (`serve` instead: what the held connections lead to).
In: a `Crowd` as JSON. Out: one JSON line when standard input ends: sent and lost by address, connections that were cut.
Each web request carries its number; a page that is later than `PATIENCE_S`, or another's, is lost. A name is asked for
twice, as a resolver's client does.
"""

import dataclasses
import http.client
import json
import random
import socket
import socketserver
import struct
import sys
import threading
import time
from collections import Counter
from typing import Any

PATIENCE_S = 10.0  # as long as a person waits
ECHO_PORT, WEB_PORT, NAME_PORT = 7000, 80, 53
MARK = b"loomidi"


@dataclasses.dataclass(frozen=True, slots=True)
class Crowd:
    """Who asks whom how often. Pairs are (source, target)."""

    web: tuple[tuple[str, str], ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    held: tuple[tuple[str, str], ...] = ()  # established connections, one message each `pause_s`
    per_second: float = 4.0  # of each pair of `web` and `names`
    pauses_s: tuple[float, ...] = (0.2, 2.5)  # of the held connections, in turn: a busy one, a nearly idle one


class Counts:
    """Figures by address, from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.sent: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()
        self.numbers_lost: list[str] = []

    def one(self, address: str, what: str, good: bool) -> None:
        """One request and how it ended."""
        with self._lock:
            self.sent[address] += 1
            if not good:
                self.lost[address] += 1
                self.numbers_lost.append(f"{address} {what}")

    def cut_off(self, address: str) -> None:
        """An established connection is gone."""
        with self._lock:
            self.cut[address] += 1

    def as_dict(self) -> dict[str, Any]:
        """By address; the first lost requests by number."""
        with self._lock:
            return {
                "sent": dict(self.sent),
                "lost": dict(self.lost),
                "cut": dict(self.cut),
                "numbers_lost": self.numbers_lost[:20],
            }


def page(source: str, target: str, number: int) -> bool:
    """Whether a web page came back whole over a new connection."""
    try:
        there = http.client.HTTPConnection(target, WEB_PORT, timeout=PATIENCE_S, source_address=(source, 0))
        try:
            there.request("GET", f"/?number={number}")
            answer = there.getresponse()
            return answer.status == 200 and MARK in answer.read()
        finally:
            there.close()
    except (OSError, http.client.HTTPException):
        return False


def name(source: str, target: str, number: int) -> bool:
    """Whether a name was answered, within two tries."""
    question = b"".join(bytes([len(label)]) + label for label in (b"www", b"shop", b"example")) + b"\0"
    asked = struct.pack("!HHHHHH", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + question + struct.pack("!HH", 1, 1)
    return any(_answered(source, target, asked) for _ in range(2))


def _answered(source: str, target: str, asked: bytes) -> bool:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
            there.settimeout(PATIENCE_S / 4)
            there.bind((source, 0))
            there.sendto(asked, (target, NAME_PORT))
            return there.recv(512)[:2] == asked[:2]
    except OSError:
        return False


class _Held(threading.Thread):
    """One established connection: numbered lines out, the same back."""

    def __init__(self, pair: tuple[str, str], pause_s: float, counts: Counts, stop: threading.Event) -> None:
        super().__init__()
        self._pair, self._pause_s, self._counts, self._stop_asked = pair, pause_s, counts, stop

    def run(self) -> None:
        """Until told to stop, or cut."""
        source, target = self._pair
        try:
            with socket.create_connection((target, ECHO_PORT), PATIENCE_S, (source, 0)) as there:
                self._talk(there, source)
        except OSError:
            self._counts.cut_off(source)

    def _talk(self, there: socket.socket, source: str) -> None:
        lines, number = there.makefile("rwb", 0), 0
        while not self._stop_asked.wait(self._pause_s):
            number += 1
            line = b"message %d\n" % number
            lines.write(line)
            good = lines.readline() == line
            self._counts.one(source, f"message {number}", good)
            if not good:
                raise ConnectionError("cut")


def _ask(ask: Any, pair: tuple[str, str], gap_s: float, counts: Counts, stop: threading.Event) -> None:
    number = 0
    stop.wait(random.random() * gap_s)
    due = time.monotonic()
    while not stop.is_set():
        number += 1
        counts.one(pair[0], f"{ask.__name__} {number}", ask(*pair, number))
        due = max(due + gap_s, time.monotonic())  # who had to wait does not make up for it
        stop.wait(due - time.monotonic())


class _Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        """Each line back as it came."""
        for line in self.rfile:
            self.wfile.write(line)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that goes away in the middle is its own business."""


def serve() -> None:
    """The far end of the held connections, until standard input ends."""
    server = _Server(("0.0.0.0", ECHO_PORT), _Echo)  # noqa: S104 - of a room that has no way out
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


def main(text: str) -> None:
    """Ask until standard input ends, wait for what is due, say the figures."""
    given = Crowd(**json.loads(text))
    counts, stop = Counts(), threading.Event()
    threads: list[threading.Thread] = []
    for ask, pairs in ((page, given.web), (name, given.names)):
        for pair in pairs:
            arguments = (ask, tuple(pair), 1 / given.per_second, counts, stop)
            threads.append(threading.Thread(target=_ask, args=arguments))
    for index, pair in enumerate(given.held):
        threads.append(_Held((pair[0], pair[1]), given.pauses_s[index % len(given.pauses_s)], counts, stop))
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps(counts.as_dict()) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        main(sys.argv[1])
