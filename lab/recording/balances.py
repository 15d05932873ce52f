"""One source's balance: what it received, what was written, what was dropped and why.

Called by every source and by `parting`. In: counts. Out: a plain dict for `balance.json`; received must equal written
plus dropped. Safe from several threads.
"""

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any


class Balance:
    """Counts of one source. Nothing of a recording goes missing without a reason in here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received = 0
        self._written = 0
        self._dropped: Counter[str] = Counter()
        self._notes: Counter[str] = Counter()

    def receive(self, count: int = 1) -> None:
        """So many came in."""
        with self._lock:
            self._received += count

    def write(self, count: int = 1) -> None:
        """So many are in a file."""
        with self._lock:
            self._written += count

    def drop(self, reason: str, count: int = 1) -> None:
        """So many were left out, and why."""
        if count:
            with self._lock:
                self._dropped[reason] += count

    def note(self, what: str, count: int = 1) -> None:
        """Something worth knowing that is no item: a reconnect, a relist, a file seen."""
        with self._lock:
            self._notes[what] += count

    def noted(self, what: str) -> int:
        """How often that was noted so far."""
        with self._lock:
            return self._notes[what]

    def as_dict(self) -> dict[str, Any]:
        """For `balance.json`, keys in a fixed order."""
        with self._lock:
            return {
                "received": self._received,
                "written": self._written,
                "dropped": dict(sorted(self._dropped.items())),
                "notes": dict(sorted(self._notes.items())),
            }


def missing(balance: Mapping[str, Any]) -> int:
    """Items that a balance does not account for; 0 when it adds up."""
    return int(balance["received"]) - int(balance["written"]) - sum(int(n) for n in balance["dropped"].values())
