"""The shop's users during a single run: a load for scenarios that need one, and what its users saw.

Called by the command `run` and the fixtures (the recorder has its own load). In: a lab with the shop. Out: a context
with an answer to `load_between`. A scenario that compares with the time before gets some seconds of it.
"""

import contextlib
import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from loomidi_lab.staging.stages import LoadFigures, RunEnded

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab

RATE = 20.0  # requests a second: enough for figures, and the lab stays quiet
_BEFORE_S = 20.0


class RequestLines:
    """The load generator's file of requests, each line of it read once. Safe to ask from several threads."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._read = 0  # octets of it
        self._known: list[_Request] = []

    def load_between(self, start_ns: int, end_ns: int, journey: str = "") -> LoadFigures:
        """Figures of the requests that were due in that span; the newest lines come some seconds late."""
        with self._lock:
            self._read_on()
            found = [one for one in self._known if start_ns <= one.intended_ns < end_ns]
        if journey:
            found = [one for one in found if one.journey == journey]
        times = sorted((one.done_ns - one.intended_ns) / 1e6 for one in found)
        p50, p99 = (times[int(share * (len(times) - 1))] if times else 0.0 for share in (0.5, 0.99))
        return LoadFigures(len(found), sum(one.failed for one in found), p50, p99)

    def _read_on(self) -> None:
        """Whole lines that are new; the last one may be half written."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        self._known += map(_request, whole.splitlines())


class _Request(NamedTuple):
    """What is asked of a line."""

    intended_ns: int
    done_ns: int
    journey: str
    failed: bool


def _request(line: bytes) -> _Request:
    one = json.loads(line)
    failed = bool(one.get("error")) or int(one.get("status") or 0) >= 500
    return _Request(one["intended_ns"], one["done_ns"], one.get("journey", ""), failed)


@contextlib.contextmanager
def user_load(lab: "Lab", seed: int, ending: threading.Event, say: Callable[[str], object]) -> Iterator[RequestLines]:
    """Users come from a little before the block until its end, drawn by the run's seed. Raises RunEnded."""
    from loomidi_lab.shop import find
    from loomidi_lab.shop.load import Load, LoadProfile

    with tempfile.TemporaryDirectory(prefix="loomidi-users-") as folder:
        load = Load(lab, find(lab), LoadProfile(rate=RATE), seed, Path(folder))
        say(f"users come: {RATE:.0f} requests a second, {_BEFORE_S:.0f} s ahead")
        load.start()
        try:
            if ending.wait(_BEFORE_S):
                raise RunEnded("the run was ended")
            yield RequestLines(load.requests)
        except BaseException:
            load.drop()
            raise
        load.stop()
