"""The API server's audit log, by its webhook, with the file as the check.

Called by the recorder. In: batches that the API server posts, and lines of its audit file. Out: rows of the stream
`audit`. An event that the webhook has not brought within `LATE_S` is taken from the file (`via` file), so nothing is
lost when the webhook backs off; an event that comes twice is written once and counted.
"""

import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loomidi.contracts.errors import InputError
from loomidi_lab.recording.parting import Stream
from loomidi_lab.recording.sources.following import Tail
from loomidi_lab.recording.sources.serving import Receiver, listening
from loomidi_lab.recording.sources.working import Workers
from loomidi_lab.recording.times import nanoseconds

ADDRESS, PORT = "127.0.0.1", 9990
LATE_S = 30.0
LOOK_S = 2.0
LATE_MOST = 65536  # remembered
_KEY = re.compile(rb'"auditID":"([^"]+)","stage":"([^"]+)"')

Key = tuple[str, str]
Listener = Callable[[dict[str, Any]], None]


class Audit:
    """The receiver and the check."""

    def __init__(self, netns: str, log: Path, stream: Stream, workers: Workers, port: int = PORT) -> None:
        """Raises Conflict when another recorder listens."""
        self.listeners: list[Listener] = []
        self._stream, self._workers = stream, workers
        self._receiver = Receiver(listening(netns, ADDRESS, port), self._posted)
        self.address = self._receiver.address
        self._tail = Tail(log, from_end=True)
        self._lock = threading.Lock()
        self._brought: set[Key] = set()  # by the webhook, not yet met in the file
        self._waiting: dict[Key, tuple[float, bytes]] = {}  # in the file, not yet brought
        self._late: dict[Key, None] = {}  # taken from the file, should the webhook bring them after all
        self._begin_ns, self._end_ns = 0, 1 << 62

    def start(self, begin_ns: int) -> None:
        """Receive from now on."""
        self._begin_ns = begin_ns
        self._receiver.start()
        self._workers.spawn("audit-file", self._compare)

    def end(self, end_ns: int) -> None:
        """What happens after it is not asked for any more."""
        self._end_ns = end_ns

    def stop(self) -> None:
        """Receive no more; whatever the file has and the webhook has not brought is written now. After `end`."""
        self._receiver.stop()
        self._read_file()
        self._write_late(everything=True)
        self._stream.balance.note("only by the webhook", len(self._brought))

    def close(self) -> None:
        """Let go of the port, whatever happened."""
        self._receiver.stop()
        self._tail.close()

    def _posted(self, path: str, body: bytes) -> int:
        try:
            items = json.loads(body).get("items") or []
        except (ValueError, AttributeError):
            self._stream.balance.note("bodies that are no audit events")
            return 400
        for event in items:
            self._take(event, "webhook")
        return 200

    def _take(self, event: dict[str, Any], via: str) -> None:
        key = (str(event.get("auditID", "")), str(event.get("stage", "")))
        at_ns = _time(event.get("stageTimestamp"))
        with self._lock:
            if via == "webhook" and self._begin_ns <= at_ns <= self._end_ns:
                if key in self._brought or key in self._late:
                    self._stream.balance.receive()
                    self._stream.balance.drop("brought again by the webhook")
                    return
                self._brought.add(key)
        self._stream.add([audit_row(event, at_ns, via)])
        for listener in self.listeners:
            listener(event)

    def _compare(self) -> None:
        while not self._workers.pause(LOOK_S):
            self._read_file()
            self._write_late()

    def _read_file(self) -> None:
        now = time.monotonic()
        for line in self._tail.lines():
            found = _KEY.search(line)
            if found is None:
                self._stream.balance.note("lines of the file that are no audit events")
                continue
            if self._begin_ns <= _time(_field(line, "stageTimestamp")) <= self._end_ns:
                self._stream.balance.note("in the file")
                key = (found[1].decode(), found[2].decode())
                with self._lock:
                    self._waiting[key] = (now, line)
        with self._lock:
            met = self._brought & self._waiting.keys()
            self._brought -= met
            for key in met:
                del self._waiting[key]

    def _write_late(self, *, everything: bool = False) -> None:
        limit = time.monotonic() - LATE_S
        with self._lock:
            late = [(key, line) for key, (since, line) in self._waiting.items() if everything or since < limit]
            for key, _ in late:
                del self._waiting[key]
                self._late[key] = None
            while len(self._late) > LATE_MOST:
                del self._late[next(iter(self._late))]
        for _, line in late:
            self._take(json.loads(line), "file")


def _field(line: bytes, name: str) -> str:
    """The last value of that name: the stage's time stands behind the request, which may hold anything."""
    _, mark, rest = line.rpartition(f'"{name}":"'.encode())
    return rest.partition(b'"')[0].decode() if mark else ""


def _time(text: object) -> int:
    try:
        return nanoseconds(str(text))
    except InputError:
        return 0


def audit_row(event: dict[str, Any], at_ns: int, via: str) -> tuple[Any, ...]:
    """A row of the stream `audit`."""
    about = event.get("objectRef") or {}
    return (
        at_ns,
        _time(event.get("requestReceivedTimestamp")),
        *(str(event.get(key, "")) for key in ("auditID", "stage", "level", "verb")),
        str((event.get("user") or {}).get("username", "")),
        str(event.get("userAgent", "")),
        str((event.get("sourceIPs") or [""])[0]),
        *(str(about.get(key, "")) for key in ("apiGroup", "resource", "subresource", "namespace", "name")),
        int((event.get("responseStatus") or {}).get("code") or 0),
        str((event.get("annotations") or {}).get("authorization.k8s.io/decision", "")),
        via,
        json.dumps(event, separators=(",", ":")),
    )
