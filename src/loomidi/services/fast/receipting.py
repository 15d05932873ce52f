"""Everything of the fast lane that may wait for a disk, on a thread of its own and in order.

Called by `fastlane`. In: jobs (a receipt to write, an entry to take back) in the order in which they came about.
Out: the same order on disk. The loop that decides never waits for it. `Shared` lets both threads use one shield: each
call is whole, none waits for a disk. Leaves what a receipt says to `ionic.act`.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from loomidi.contracts.ports import Deny, DenyState, Shield, Suspect
from loomidi.contracts.records import Match
from loomidi.kit.logging import logger

_LOG = logger("services.receipting")


class Writer:
    """A thread that does one job after the other. A job that fails is counted and told; the next one is done."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]] | None] = queue.SimpleQueue()
        self.done = 0
        self.failed = 0
        self.last_error = ""
        self._thread = threading.Thread(target=self._work, name="receipts", daemon=True)
        self._thread.start()

    def put(self, job: Callable[..., Any], *given: Any) -> None:
        """Have it done after everything before it. Returns at once."""
        self._jobs.put((job, given))

    def flush(self) -> None:
        """Wait until all that was put is done."""
        reached = threading.Event()
        self.put(reached.set)
        while self._thread.is_alive() and not reached.wait(0.1):
            pass

    def close(self) -> None:
        """Finish what was put and end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job[0](*job[1])
                self.done += 1
            except Exception as error:  # noqa: BLE001 - the thread that keeps the record must outlive one bad line
                self.failed += 1
                self.last_error = f"{type(error).__name__}: {error}"
                _LOG.error("a receipt could not be written", error=self.last_error)


class Shared:
    """One shield for two threads: `contracts.ports.Shield` with whole calls. Waiting for suspects holds nothing up."""

    def __init__(self, shield: Shield) -> None:
        self._shield = shield
        self._lock = threading.RLock()
        self.name, self.rung = shield.name, shield.rung

    def deny(self, deny: Deny) -> None:
        """Write one entry."""
        with self._lock:
            self._shield.deny(deny)

    def remove(self, match: Match) -> bool:
        """Remove one entry."""
        with self._lock:
            return self._shield.remove(match)

    def allow(self, prefix: str) -> None:
        """Add to the protected set."""
        with self._lock:
            self._shield.allow(prefix)

    def disallow(self, prefix: str) -> bool:
        """Take out of the protected set."""
        with self._lock:
            return self._shield.disallow(prefix)

    def entries(self) -> list[DenyState]:
        """All verdict entries."""
        with self._lock:
            return self._shield.entries()

    def entry(self, match: Match) -> DenyState | None:
        """The entry at this match, by a look-up where the shield has one."""
        with self._lock:
            look_up = getattr(self._shield, "entry", None)
            if look_up is not None:
                found: DenyState | None = look_up(match)
                return found
            return next((state for state in self._shield.entries() if state.deny.match == match), None)

    def protected(self) -> list[str]:
        """The protected set."""
        with self._lock:
            return self._shield.protected()

    def attuned(self) -> Mapping[str, Mapping[str, float]]:
        """Thresholds of single sources and services that are in force; none for a shield that knows no such."""
        with self._lock:
            found: Mapping[str, Mapping[str, float]] = getattr(self._shield, "attuned", dict)()
            return found

    def suspects(self, timeout_s: float) -> list[Suspect]:
        """Wait for threshold crossings; the lock is free meanwhile."""
        return self._shield.suspects(timeout_s)

    def drain(self) -> Iterator[pa.RecordBatch]:
        """The flows that ended."""
        with self._lock:
            return iter(list(self._shield.drain()))

    def counters(self) -> Mapping[str, tuple[int, int]]:
        """reason -> (packets, octets)."""
        with self._lock:
            return self._shield.counters()

    def disarm(self) -> None:
        """Turn every entry off."""
        with self._lock:
            self._shield.disarm()

    def close(self) -> None:
        """Let go of the handles."""
        with self._lock:
            self._shield.close()
