"""Which windows there are, and the bounds of what they may hold.

Made by services and runners, read by all of `loom.windows`. In: seconds and counts. Out: frozen records.
"""

import dataclasses

from loomidi.contracts.errors import UsageError

PANE_S = 10
"""Windows of this size and longer are put together from panes of this length, which is therefore not a setting."""

SECOND_NS = 10**9


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class WindowSpec:
    """Windows of one size; those that begin at a multiple of the size are the tumbling series."""

    size_s: int
    every_s: int  # a window begins every so often; equal to the size: tumbling only

    def __post_init__(self) -> None:
        """Raises UsageError for a window that cannot be put together from panes."""
        if self.size_s < 1 or self.every_s < 1 or self.size_s % self.every_s:
            raise UsageError(f"window of {self.size_s} s every {self.every_s} s: the size must be a multiple")
        below = self.size_s < PANE_S and self.size_s == self.every_s and PANE_S % self.size_s == 0
        if not below and self.every_s % PANE_S:
            raise UsageError(f"window of {self.size_s} s every {self.every_s} s: use a multiple of {PANE_S} s")

    @property
    def producer(self) -> str:
        """Under which name its windows travel on the bus."""
        return f"windows-{self.size_s}"

    @property
    def size_ns(self) -> int:
        return self.size_s * SECOND_NS


SPECS = (WindowSpec(1, 1), WindowSpec(10, 10), WindowSpec(60, 10), WindowSpec(300, 60))
"""Tumbling windows of 1, 10, 60 and 300 s; those of 60 s also slide by 10 s, those of 300 s by 60 s."""


@dataclasses.dataclass(frozen=True, slots=True)
class WindowSettings:
    """How windows are made; every bound counts what it turns away."""

    specs: tuple[WindowSpec, ...] = SPECS
    # Which windows are made. Without the 1 s windows less is held and merged: they cost about a third.
    lateness_s: float = 12.0
    # How far behind the newest flow of its exporter a row may come; as long as agents drain and the bus holds back.
    idle_s: float = 30.0
    # An exporter that is silent for longer does not hold the others back: three drains of the slowest agent.
    grain: str = "entity"
    # Who is a source or destination: entity (pod, else address) or workload (else pod, else address).
    max_edges: int = 200_000
    # Of one window; what is beyond, the smallest first, is collapsed into the edge `other`. About 400 octets each.
    max_open_values: int = 16_000_000
    # Ports, starts and latencies held for windows that are open, up to four of a flow, 16 octets each; what is beyond
    # is in the sums, not in percentiles, gaps and entropies.
    chunk_rows: int = 131_072
    # Flows are put together so many at a time: fewer cost more per flow, more need more memory.
    max_peers: int = 262_144
    # Pairs of peers remembered; beyond it those met least recently are forgotten. About 120 octets each.
    remember_s: int = 86_400
    # A peer that was not met for so long is new again: a day, so that daily jobs are known.
    max_series: int = 100_000
    # Counters of HTTP servers whose last value is remembered; beyond it those seen least recently are forgotten.

    def __post_init__(self) -> None:
        """Raises UsageError for values that make no sense."""
        if not self.specs or len({spec.size_s for spec in self.specs}) != len(self.specs):
            raise UsageError("windows: name at least one size, each once")
        if self.grain not in ("entity", "workload"):
            raise UsageError(f"windows by {self.grain!r}: use entity or workload")
        if not 0 <= self.lateness_s <= 3600 or not 0 < self.idle_s <= 86_400:
            raise UsageError("windows: lateness is 0 to 3600 s, idle 0 to 86400 s")
        if not 1 <= self.max_edges <= 4_000_000:
            raise UsageError(f"windows: at most {self.max_edges} edges; use 1 to 4000000")
        if not 1 <= self.chunk_rows <= 262_144:
            raise UsageError(f"windows: {self.chunk_rows} rows at a time; use 1 to 262144")
        if min(self.max_open_values, self.max_peers, self.max_series, self.remember_s) < 1:
            raise UsageError("windows: every bound is at least 1")

    @property
    def base_s(self) -> int:
        """Length of the shortest pieces that are held."""
        return min(PANE_S, *(spec.size_s for spec in self.specs))
