"""Windows that are not whole yet, from who makes them to who looks at them, within one process.

Put by `windowing` (its runner's thread), taken by `anomalies`. In: rows of EDGE_WINDOWS of windows that are open, as
far as they have come. Out: the latest of each window. They are no data: never on the bus, in the lake or in a state;
what nobody took is replaced by what came later, and each window comes once more, on the bus, when it is closed.
"""

import threading

import pyarrow as pa
import pyarrow.compute as pc


class EarlyWindows:
    """Of one plant. From any thread."""

    def __init__(self) -> None:
        self.size_s, self.every_s = 0, 0.0  # set by who takes them, while it does; 0: nobody does
        self._lock = threading.Lock()
        self._windows: dict[int, pa.RecordBatch] = {}  # end in ns -> rows
        self._heard_ns = 0

    def put(self, windows: list[pa.RecordBatch], heard_ns: int) -> None:
        """Each of one window; `heard_ns`: when the newest flow in them had been told."""
        with self._lock:
            self._windows |= {int(pc.cast(one.column("window_end"), pa.int64())[0].as_py()): one for one in windows}
            self._heard_ns = heard_ns

    def take(self) -> tuple[dict[int, pa.RecordBatch], int]:
        """What has come since the last time, by end of the window, and when the newest flow in it had been told."""
        with self._lock:
            windows, self._windows = self._windows, {}
            return windows, self._heard_ns
