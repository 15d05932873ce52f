"""Time as something that is handed in, so that what depends on it can be tested without waiting.

Called by every house that asks for the time or waits. Two implementations: the system's clock and one that is moved
by hand. All times are ns; `now_ns` counts from the epoch, `monotonic_ns` from an arbitrary point and never goes back.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """What is asked of time."""

    def now_ns(self) -> int:
        """ns since the epoch."""

    def monotonic_ns(self) -> int:
        """ns since an arbitrary point; differences are real durations."""

    def sleep(self, seconds: float) -> None:
        """Let that much time pass."""


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        """ns since the epoch."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC, the clock that BPF programs read."""
        return time.monotonic_ns()

    def sleep(self, seconds: float) -> None:
        """Block this thread."""
        time.sleep(seconds)


class ManualClock:
    """A clock that moves only when told; `sleep` moves it. For tests and for replaying captures at their own time."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """Where it was moved to."""
        return self._now_ns

    def monotonic_ns(self) -> int:
        """The same hand: it never goes back either."""
        return self._now_ns

    def sleep(self, seconds: float) -> None:
        """Move forward at once."""
        self.move(round(seconds * 1e9))

    def move(self, by_ns: int) -> None:
        """Move forward. Raises ValueError for a step back."""
        if by_ns < 0:
            raise ValueError("time does not go back")
        self._now_ns += by_ns
