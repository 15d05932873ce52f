"""Who talks: run as `python3 -c` in every pod and as a process of the outside. Needs Python alone.

It answers datagrams on port 7777, asks whoever it was told to ask, a few times a second, and counts the answers. Over
HTTP (port 8080, or the second argument): POST {name: [host, port, source]} tells it whom to ask, GET says how many
answers each has given so far. A new socket every two seconds, so that no entry of a connection table outlives a change.
"""

import http.server
import json
import socket
import sys
import threading
import time

PORT, BEAT_S, SOCKET_BEATS = 7777, 0.4, 5
Told = dict[str, tuple[str, int, str]]
told: dict[str, Told] = {"now": {}}
answers: dict[str, int] = {}


def echo() -> None:
    """Answer whoever asks."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as me:
        me.bind(("", PORT))
        while True:
            word, who = me.recvfrom(64)
            try:
                me.sendto(word, who)
            except OSError:
                continue


def talk() -> None:
    """Ask everybody, for ever."""
    while True:
        asking = told["now"]
        sockets = {name: _bound(source) for name, (_, _, source) in asking.items()}
        for _ in range(SOCKET_BEATS):
            for name, (host, port, _) in asking.items():
                _ask(sockets[name], host, port)
            time.sleep(BEAT_S)
            for name, one in sockets.items():
                answers[name] = answers.get(name, 0) + _heard(one)
        for one in sockets.values():
            one.close()
        if not asking:
            time.sleep(BEAT_S)


def _bound(source: str) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setblocking(False)
    if source:
        one.bind((source, 0))
    return one


def _ask(one: socket.socket, host: str, port: int) -> None:
    try:
        one.sendto(b"word", (host, port))
    except OSError:
        return  # no way there just now


def _heard(one: socket.socket) -> int:
    count = 0
    while True:
        try:
            one.recv(64)
        except OSError:
            return count
        count += 1


class Door(http.server.BaseHTTPRequestHandler):
    """Tell and be told."""

    def do_GET(self) -> None:
        """How many answers so far."""
        self._answer(answers)

    def do_POST(self) -> None:
        """Whom to ask from now on."""
        told["now"] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer({})

    def _answer(self, body: dict[str, int]) -> None:
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Quiet."""


if __name__ == "__main__":
    for work in (echo, talk):
        threading.Thread(target=work, daemon=True).start()
    where = (sys.argv[1] if len(sys.argv) > 1 else "", int(sys.argv[2]) if len(sys.argv) > 2 else 8080)
    http.server.ThreadingHTTPServer(where, Door).serve_forever()
