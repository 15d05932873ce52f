"""The slow lane's detectors: flow batches in, findings out.

Called by `services.analyzing` and by the live agent. In: Arrow batches of `contracts.schemas.FLOWS`, in any order
within `lateness_s`. Out: each `Finding` once, when it has been quiet for `quiet_s` of the flows' own time, or at
`finish`. Memory is bounded whatever comes in; what had to be shed is counted in `shed`. No Python object is made per
flow: only what is over a limit becomes one. What to do about a finding is left to `ionic`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import pyarrow as pa

from loomidi.contracts import Finding
from loomidi.origami.online import beacons, connections, floods, guesses, pairs, stalls
from loomidi.origami.online.baselines import Baselines, BaselineSettings
from loomidi.origami.online.episodes import Episodes, Hit
from loomidi.origami.online.reading import Rows, rows_of
from loomidi.origami.online.rules import Rule, load_rules
from loomidi.origami.online.windows import Windows

_BEACON_LOOK_NS = 5_000_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class FlowSettings:
    """Times are of the flows themselves, not of the machine."""

    lateness_s: float = (
        600.0  # how long after its window a flow may still be exported (active + idle timeout, and more)
    )
    quiet_s: float = 900.0  # silence after which the same thing is a new finding
    baseline: BaselineSettings = dataclasses.field(default_factory=BaselineSettings)


class _Detector(Protocol):
    windows: Windows

    def observe(self, rows: Rows) -> None: ...
    def judge(self, windows: list[int]) -> list[Hit]: ...
    def forget(self, keep: tuple[int, int]) -> None: ...


class FlowDetectors:
    """All flow detectors over one stream of batches. Not thread-safe: one per stream."""

    def __init__(self, settings: FlowSettings | None = None, rules: Mapping[str, Rule] | None = None) -> None:
        self._settings = settings or FlowSettings()
        self._rules = dict(rules or load_rules())
        self._baselines = Baselines(self._settings.baseline)
        self._floods = floods.FloodDetector(self._rules, self._baselines)
        self._pairs = pairs.PairDetector(self._rules, self._baselines)
        self._beacons = beacons.BeaconDetector(self._rules)
        self._stalls = stalls.StallDetector(self._rules)
        self._guesses = guesses.GuessDetector(self._rules)
        self._lanes: tuple[tuple[_Detector, int], ...] = (
            (self._floods, floods.WIDTH_NS),
            (self._pairs, pairs.WIDTH_NS),
            (self._stalls, connections.WIDTH_NS),
            (self._guesses, connections.WIDTH_NS),
            (self._beacons, beacons.WIDTH_NS),
        )
        self._episodes = Episodes(int(self._settings.quiet_s * 1e9))
        self._reflectors = np.array(sorted(self._rules["amplification"].ports), np.int64)
        self._now_ns: int | None = None
        self._judged_ns = 0
        self._kept: dict[int, tuple[int, int]] = {}  # width -> windows not forgotten yet
        self._seen: dict[_Detector, dict[int, list[Hit]]] = {detector: {} for detector, _ in self._lanes}  # see `look`
        self._beacons_looked_ns = 0

    @property
    def shed(self) -> int:
        """Rows given up to keep memory bounded; above 0, counts in evidence are lower bounds."""
        others = (self._pairs, self._beacons, self._stalls, self._guesses)
        return self._floods.shed_rows + sum(detector.windows.shed_rows for detector in others)

    def observe(self, batch: pa.RecordBatch) -> list[Finding]:
        """Take in one batch; return the findings that ended with it."""
        if not batch.num_rows:
            return []
        rows = rows_of(batch, self._reflectors)
        for detector, _ in self._lanes:
            detector.observe(rows)
        self._now_ns = int(np.median(rows.last))  # one packet with a wrong clock moves nothing
        if abs(self._now_ns - self._judged_ns) < floods.WIDTH_NS:
            return []
        self._judged_ns = self._now_ns
        return self._settle(self._now_ns)

    def finish(self) -> list[Finding]:
        """Judge every window that is still open and return all findings not told yet.

        A live agent may call it from time to time: what was counted stays, and a window that grows is judged anew.
        """
        for detector, _ in self._lanes:
            self._judge(detector, sorted(detector.windows.open))
        return self._episodes.rest(self._rules)

    def look(self) -> list[Finding]:
        """All findings as they stand, for one who cannot wait until they are over. Nothing is closed or learned by it.

        A finding keeps its id while it grows, and `observe` or `finish` gives it under that id when it has ended.
        """
        with self._baselines.paused():
            for detector, _ in self._lanes:
                if detector is self._beacons and not self._beacons_due():
                    continue
                grown, detector.windows.grown = detector.windows.grown & detector.windows.open, set()
                self._seen[detector] |= {window: detector.judge([window]) for window in sorted(grown)}
                detector.windows.open |= grown  # judging closed them
        hits = [hit for seen in self._seen.values() for window in sorted(seen) for hit in seen[window]]
        return self._episodes.so_far(hits, self._rules)

    def _beacons_due(self) -> bool:
        """A beat is slow and its window a day long: a look at it each few seconds is enough."""
        due = abs((self._now_ns or 0) - self._beacons_looked_ns) >= _BEACON_LOOK_NS
        if due:
            self._beacons_looked_ns = self._now_ns or 0
        return due

    def snapshot(self) -> dict[str, list[float]]:
        """What was learned, JSON-able."""
        return self._baselines.snapshot()

    def restore(self, state: Mapping[str, list[float]]) -> None:
        """Take over what `snapshot` gave."""
        self._baselines.restore(state)

    def _settle(self, now_ns: int) -> list[Finding]:
        """Judge the windows that time has left behind, then tell what has ended."""
        lateness_ns = int(self._settings.lateness_s * 1e9)
        for detector, width in self._lanes:
            keep = ((now_ns - lateness_ns) // width, (now_ns + lateness_ns) // width)
            due = sorted(window for window in detector.windows.open if not keep[0] <= window <= keep[1])
            if due:
                self._judge(detector, due)
            if keep != self._kept.get(width):
                self._kept[width] = keep
                detector.forget(keep)
        return self._episodes.ended(now_ns, lateness_ns, self._rules)

    def _judge(self, detector: _Detector, windows: list[int]) -> None:
        for window in windows:
            self._seen[detector].pop(window, None)
        for hit in detector.judge(windows):
            self._episodes.add(hit)
