"""Up to when all has come: a watermark from what each exporter has sent so far.

Called by runners, on every batch. In: exporter, newest event time, when the batch was complete. Out: the time up to
which windows may close: the earliest of the exporters that are not idle, less the lateness that is allowed. It never
goes back. One exporter with a clock ahead does not close the others' windows; one that falls silent does not hold them.
"""

import dataclasses
from typing import Any

from loomidi.loom.windows.specifications import SECOND_NS, WindowSettings

MOST_EXPORTERS = 65_536
"""Remembered; beyond it those silent for longest are forgotten."""


@dataclasses.dataclass(slots=True)
class Watermarks:
    """The newest flow of each exporter, and when it was last heard."""

    lateness_ns: int
    idle_ns: int
    newest: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)  # exporter -> event time, heard
    now_ns: int = 0  # latest time at which anything was complete
    value_ns: int | None = None

    @classmethod
    def of(cls, settings: WindowSettings) -> "Watermarks":
        return cls(round(settings.lateness_s * SECOND_NS), round(settings.idle_s * SECOND_NS))

    def heard(self, exporter: str, event_ns: int, at_ns: int) -> None:
        """A batch of `exporter`, whose newest row is of `event_ns`, was complete at `at_ns`.

        An event time that lies ahead of `at_ns` is a clock that is wrong: the batch counts as heard, not as newer.
        """
        self.now_ns = max(self.now_ns, at_ns)
        before, last = self.newest.get(exporter, (0, 0))
        sane = min(event_ns, at_ns) if at_ns else event_ns
        self.newest[exporter] = (max(before, sane), max(last, at_ns))
        if len(self.newest) > MOST_EXPORTERS:
            del self.newest[min(self.newest, key=lambda name: self.newest[name][1])]

    def advanced(self, silent_ns: int = 0) -> int | None:
        """The watermark now; nothing at all has come for `silent_ns`, in which event time goes on as the clock does."""
        now = self.now_ns + silent_ns
        awake = [event for event, heard in self.newest.values() if heard >= now - self.idle_ns]
        asleep = [event + now - heard for event, heard in self.newest.values()]
        if awake or asleep:
            found = (min(awake) if awake else max(asleep)) - self.lateness_ns
            self.value_ns = found if self.value_ns is None else max(self.value_ns, found)
        return self.value_ns

    def to_dict(self) -> dict[str, Any]:
        """For a checkpoint, as JSON can hold it."""
        return {"newest": self.newest, "now_ns": self.now_ns, "value_ns": self.value_ns}

    def restore(self, told: dict[str, Any]) -> None:
        """What `to_dict` gave."""
        self.newest = {name: (event, heard) for name, (event, heard) in told["newest"].items()}
        self.now_ns, self.value_ns = told["now_ns"], told["value_ns"]
