"""Which Fold is passed over next: whoever is due longest, so that new ones keep no undo waiting; what changed is due at
that moment, what failed comes again later each time.

Called by `running`, from several threads. In: keys, seconds. Out: one key at a time. Time is the machine's.
"""

import threading
import time

FIRST_S, LONGEST_S = 0.2, 30.0  # before what failed is passed over again


class Queue:
    """Keys with the moment at which each is due."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._failed: dict[str, int] = {}
        self._changed = threading.Condition()

    def add(self, key: str) -> None:
        """It changed: pass over it now, unless it failed and has to wait."""
        with self._changed:
            if key not in self._failed or key not in self._due:
                self._due[key] = min(self._due.get(key, float("inf")), time.monotonic())
            self._changed.notify()

    def later(self, key: str, in_s: float) -> None:
        """Pass over it within so many seconds, sooner if it is due sooner, later if it failed and has to wait."""
        with self._changed:
            if key not in self._failed or key not in self._due:
                self._due[key] = min(self._due.get(key, float("inf")), time.monotonic() + in_s)
            self._changed.notify()

    def done(self, key: str, again_s: float | None) -> None:
        """It went well; None: nothing until it changes."""
        with self._changed:
            self._failed.pop(key, None)
            if again_s is not None:
                self._due[key] = min(self._due.get(key, float("inf")), time.monotonic() + again_s)
                self._changed.notify()

    def again(self, key: str) -> None:
        """It did not go well."""
        with self._changed:
            tried = self._failed[key] = self._failed.get(key, 0) + 1
            self._due[key] = time.monotonic() + min(LONGEST_S, FIRST_S * 2 ** (tried - 1))

    def failed(self, key: str) -> bool:
        """Whether the last pass over it did not go well."""
        with self._changed:
            return key in self._failed

    def take(self, most_s: float) -> str | None:
        """The one that is due first, waiting at most so long; None when none is."""
        with self._changed:
            key = self._first()
            if key is None or self._due[key] > time.monotonic():
                wait_s = most_s if key is None else min(most_s, self._due[key] - time.monotonic())
                self._changed.wait(max(0.0, wait_s))
                key = self._first()
            if key is None or self._due[key] > time.monotonic():
                return None
            del self._due[key]
            return key

    def _first(self) -> str | None:
        return min(self._due, key=self._due.__getitem__, default=None)
