"""Tiny counters: every loss and every refusal is counted under a reason.

Called by houses that lose, skip or refuse something. In: a name and an amount. Out: a snapshot as a plain dict. No
server yet; the later `/metrics` endpoint reads the snapshot. Safe from several threads.
"""

import threading
from collections import Counter


class Counters:
    """Named totals that only grow."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: Counter[str] = Counter()

    def add(self, name: str, amount: int = 1) -> None:
        """Raise a total. Raises ValueError for a negative amount: a total never shrinks."""
        if amount < 0:
            raise ValueError(f"{name}: a total never shrinks (got {amount})")
        with self._lock:
            self._totals[name] += amount

    def snapshot(self) -> dict[str, int]:
        """All totals at one moment, sorted by name."""
        with self._lock:
            return dict(sorted(self._totals.items()))
