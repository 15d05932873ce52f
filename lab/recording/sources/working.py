"""Threads of the sources: named, counted, and never failing unseen.

Called by every source. In: a function that loops until `stopping` is set. Out: what it raised, kept for the recorder,
which ends the recording.
"""

import threading
import time
from collections.abc import Callable


class Workers:
    """The threads of one recording."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.failures: list[tuple[str, BaseException]] = []
        self._threads: list[threading.Thread] = []

    def spawn(self, name: str, work: Callable[[], None]) -> threading.Thread:
        """Run it; a failure is kept in `failures` unless everything is ending anyway."""

        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - a source's failure must reach the recorder, whatever it is
                if not self.stopping.is_set():
                    self.failures.append((name, error))

        thread = threading.Thread(target=guarded, name=f"rec-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def pause(self, seconds: float) -> bool:
        """Wait; True when it is time to stop."""
        return self.stopping.wait(seconds)

    def join(self, timeout_s: float) -> list[str]:
        """Names of threads that did not end in time. They are daemons: a watch that hears nothing ends later."""
        self.stopping.set()
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return [thread.name for thread in self._threads if thread.is_alive()]
