"""Requests of the load generator, one line each, as its users saw them.

Called by the recorder. In: the JSON lines that the load generator writes. Out: rows of the stream `requests`, the whole
line kept beside the columns; figures of the last minutes for symptom checks (`load_between`).
"""

import collections
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loomidi_lab.recording.parting import Stream
from loomidi_lab.recording.sources.following import Tail
from loomidi_lab.recording.sources.working import Workers

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import LoadFigures

LOOK_S = 1.0
KEPT = 200_000  # requests that figures can be asked of


class Requests:
    """Follows one file of JSON lines."""

    def __init__(self, lines: Path, stream: Stream, workers: Workers) -> None:
        self._tail, self._stream, self._workers = Tail(lines), stream, workers
        self._lock = threading.Lock()
        # When due, how long in ms, whether it failed, which journey.
        self._recent: collections.deque[tuple[int, float, bool, str]] = collections.deque(maxlen=KEPT)

    def start(self) -> None:
        """Follow until the workers stop."""
        self._workers.spawn("requests", self._follow)

    def stop(self) -> None:
        """Read to the end, when the generator has ended."""
        self._read()

    def load_between(self, start_ns: int, end_ns: int, journey: str = "") -> "LoadFigures":
        """Figures of the requests that were due in that span; the generator's lines come up to 5 s late."""
        from loomidi_lab.staging.stages import LoadFigures

        with self._lock:
            found = [one for one in self._recent if start_ns <= one[0] < end_ns and journey in ("", one[3])]
        times = sorted(one[1] for one in found)
        p50, p99 = (times[int(share * (len(times) - 1))] if times else 0.0 for share in (0.5, 0.99))
        return LoadFigures(len(found), sum(one[2] for one in found), p50, p99)

    def _follow(self) -> None:
        while not self._workers.pause(LOOK_S):
            self._read()

    def _read(self) -> None:
        rows = []
        with self._lock:
            for line in self._tail.lines():
                try:
                    request = json.loads(line)
                    rows.append(request_row(request))
                except (ValueError, TypeError, KeyError):
                    self._stream.balance.note("lines that are no requests")
                    continue
                failed = bool(request.get("error")) or int(request.get("status") or 0) >= 500
                self._recent.append((rows[-1][0], rows[-1][1] / 1e6, failed, rows[-1][2]))
        if rows:
            self._stream.add(rows)


def request_row(request: dict[str, Any]) -> tuple[Any, ...]:
    """A row of the stream `requests`. Raises KeyError without its times."""
    due_ns = int(request["intended_ns"])
    return (
        due_ns,
        int(request["done_ns"]) - due_ns,
        *(str(request.get(key) or "") for key in ("journey", "method", "route", "path")),
        int(request.get("status") or 0),
        str(request.get("error") or ""),
        str(request.get("source") or ""),
        int(request.get("user") or 0),
        int(request.get("visit") or 0),
        json.dumps(request, separators=(",", ":"), sort_keys=True),
    )
