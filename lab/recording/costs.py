"""What recording itself costs: CPU time per thread, memory.

Called by the recorder once a second. Out: figures for `balance.json`. Threads that end are remembered by their name, so
nothing that was spent is forgotten.
"""

import contextlib
import ctypes
import os
import re
import resource
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
LOOK_S = 2.0
ARENAS = 2
_ARENA_MOST = -8  # M_ARENA_MAX
_NUMBER = re.compile(r"[-_ ]?\(?\d.*$")


class Costs:
    """Of this process, from now on."""

    def __init__(self) -> None:
        self._begun, self._before_s = time.monotonic(), _process_s()
        self._threads: dict[tuple[str, int], float] = {}
        self._before = {thread.native_id or 0: _thread_s(thread.native_id or 0) for thread in threading.enumerate()}
        self._looked = 0.0

    def tick(self) -> None:
        """Look at all threads, when it is time again."""
        if time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        for thread in threading.enumerate():
            spent = _thread_s(thread.native_id or 0)
            if spent:
                self._threads[_name(thread.name), thread.native_id or 0] = spent

    def as_dict(self) -> dict[str, Any]:
        """CPU seconds of the process and of its threads by name, share of one core, peak of memory."""
        self._looked = 0.0
        self.tick()
        by_name: Counter[str] = Counter()
        for (name, number), spent in self._threads.items():
            by_name[name] += spent - self._before.get(number, 0.0)  # type: ignore[assignment]  # a Counter adds floats as well
        wall_s, cpu_s = time.monotonic() - self._begun, _process_s() - self._before_s
        return {
            "wall_s": round(wall_s, 3),
            "cpu_s": round(cpu_s, 3),
            "share_of_a_core": round(cpu_s / wall_s, 4) if wall_s else 0.0,
            "memory_most_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "threads_cpu_s": {name: round(spent, 2) for name, spent in sorted(by_name.items())},
        }


@contextlib.contextmanager
def served_first() -> Iterator[None]:
    """Threads that are started in here (and by those) go before the lab's: a meter that waits loses packets.

    By the real-time class, as `nice` counts within one session only. They take a tenth of a core; the kernel leaves
    a twentieth to the others whatever happens.
    """
    before, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    with contextlib.suppress(OSError):  # not permitted here: then as everybody
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, before, parameters)


def few_arenas() -> None:
    """Each of a hundred threads that meter would get a heap of its own from glibc, most of it empty."""
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_ARENA_MOST, ARENAS)


def _process_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _thread_s(native_id: int) -> float:
    try:
        text = Path(f"/proc/self/task/{native_id}/stat").read_text(encoding="ascii")
    except OSError:
        return 0.0  # it has ended; what was last seen stays
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _name(name: str) -> str:
    """Threads of one kind together: `loomidi-veth3f2a` is the meter's, `Thread-12 (process)` a receiver's."""
    if name.startswith("loomidi-"):
        return "meter"
    return _NUMBER.sub("", name) or name
