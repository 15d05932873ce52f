"""What is usual in the kernel's short windows, per service and source, and never from a window of an attack.

Called by `services.fast.tuning`. In: batches of `TableShield.windows`, whether a finding is open, the thresholds in
force. Out: per service and source the middle, the spread and the tail of its counters. Four things stand against
poisoning: nothing is learned while a finding is open; what was seen shortly before one is thrown away; a window beyond
the tuned threshold in force teaches nothing; and thresholds move slowly and within bounds (`proposing`). Each is
counted.
"""

import dataclasses
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loomidi.ionic.enforcer.bounds import Bounds
from loomidi.origami.online.tails import TailSettings, TailThreshold

F64 = npt.NDArray[np.float64]
COUNTERS = ("packets", "octets", "syns", "ports", "peers")
_SIGMA = 1.4826  # MAD to standard deviation of a normal distribution
_SIGMAS = 6.0
_TAIL = TailSettings(risk=1e-3, level=0.9)
_FOR_TAIL = 100  # windows; a tail of fewer excesses than ten is a guess
_DAY_NS = 86_400 * 10**9
_HALF = 0.5  # of a window: what is younger says little about the whole


@dataclasses.dataclass(frozen=True, slots=True)
class Usual:
    """What one counter of one service or source usually reaches in a window."""

    windows: int
    median: float
    deviation: float  # MAD, scaled to a standard deviation
    most: float  # the larger of median + 6 deviations and the tail's limit (one window in 1,000)


@dataclasses.dataclass(slots=True)
class _Kept:
    """The last windows of one key, and the thresholds of the day's beginning."""

    rows: F64
    count: int = 0  # ever learned
    day: int = 0
    reference: dict[str, float] = dataclasses.field(default_factory=dict)


class UsualWindows:
    """Learns; bounded by the policy's `most_keys` and `kept_windows`."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._kept: dict[bytes, _Kept] = {}
        self._waiting: deque[tuple[int, bytes, F64]] = deque()  # seen at, key, counts of a whole window
        self.counts = dict.fromkeys(("learned", "attacked", "thrown_away", "beyond", "no_room"), 0)

    def __len__(self) -> int:
        return len(self._kept)

    def observe(
        self, windows: pa.RecordBatch, now_ns: int, window_ns: int, *, attacked: bool, own: Mapping[bytes, F64]
    ) -> None:
        """One look at all counters. `attacked`: a finding is open now. `own`: tuned thresholds in force, by key."""
        if attacked:
            self.counts["attacked"] += windows.num_rows
            self.counts["thrown_away"] += len(self._waiting)
            self._waiting.clear()
            return
        elapsed = windows.column("elapsed_ns").to_numpy().astype(float)
        old_enough = elapsed >= _HALF * window_ns
        counts = np.stack([windows.column(name).to_numpy().astype(float) for name in COUNTERS], axis=1)
        counts[:, :3] *= (window_ns / np.maximum(elapsed, 1.0))[:, None]  # distinct values do not grow with time
        for key, row in zip(windows.column("key").filter(pa.array(old_enough)), counts[old_enough], strict=True):
            limits = own.get(key.as_py())
            if limits is not None and bool(np.any(row > np.where(limits > 0, limits, np.inf))):
                self.counts["beyond"] += 1
                continue
            self._waiting.append((now_ns, key.as_py(), row))
        self._settle(now_ns)

    def settle_all(self) -> None:
        """Learn what waits, at the end of traffic that somebody vouches for."""
        self._settle(2**63)

    def usual(self, key: bytes) -> Mapping[str, Usual]:
        """By counter; empty for what has not been seen often enough."""
        kept = self._kept.get(key)
        if kept is None or kept.count < self._bounds.least_windows:
            return {}
        rows = kept.rows[: min(kept.count, len(kept.rows))]
        return {name: _usual(rows[:, at]) for at, name in enumerate(COUNTERS)}

    def known(self) -> tuple[bytes, ...]:
        """All that is learned, in the order of their coming."""
        return tuple(self._kept)

    def reference(self, key: bytes, now_ns: int, in_force: Mapping[str, float]) -> Mapping[str, float]:
        """The thresholds from which this day's changes are counted: those in force when its first was proposed."""
        kept, day = self._kept[key], now_ns // _DAY_NS
        if kept.day != day or not kept.reference:
            kept.day, kept.reference = day, dict(in_force)
        return kept.reference

    def snapshot(self) -> dict[str, Any]:
        """All that was learned, JSON-able; what waits is left out, so a restart learns nothing unchecked."""
        kept = {
            key.hex(): {
                "rows": each.rows[: min(each.count, len(each.rows))].round(1).tolist(),
                "count": each.count,
                "day": each.day,
                "reference": each.reference,
            }
            for key, each in self._kept.items()
        }
        return {"version": 1, "counts": dict(self.counts), "kept": kept}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave; an unknown version starts anew."""
        if state.get("version") != 1:
            return
        self.counts |= state["counts"]
        for key, each in state["kept"].items():
            mine = self._room_for(bytes.fromhex(key))
            rows = np.array(each["rows"], float).reshape(-1, len(COUNTERS))[-len(mine.rows) :] if mine else np.zeros(0)
            if mine is not None:
                mine.rows[: len(rows)] = rows
                mine.count = len(rows) if len(rows) < len(mine.rows) else int(each["count"])
                mine.day, mine.reference = int(each["day"]), dict(each["reference"])

    def _settle(self, now_ns: int) -> None:
        """Learn what has waited long enough."""
        until = now_ns - round(self._bounds.quarantine_s * 1e9)
        while self._waiting and self._waiting[0][0] <= until:
            _, key, row = self._waiting.popleft()
            kept = self._room_for(key)
            if kept is None:
                self.counts["no_room"] += 1
                continue
            kept.rows[kept.count % len(kept.rows)] = row
            kept.count += 1
            self.counts["learned"] += 1

    def _room_for(self, key: bytes) -> _Kept | None:
        kept = self._kept.get(key)
        if kept is None and len(self._kept) < self._bounds.most_keys:
            kept = self._kept[key] = _Kept(np.zeros((self._bounds.kept_windows, len(COUNTERS))))
        return kept


def _usual(values: F64) -> Usual:
    """Median, MAD and the tail (SPOT, Siffer et al. 2017) of the values of one counter."""
    median = float(np.median(values))
    deviation = _SIGMA * float(np.median(np.abs(values - median)))
    most = median + _SIGMAS * deviation
    if len(values) >= _FOR_TAIL and float(np.ptp(values)) > 0:
        tail = TailThreshold(_TAIL)
        tail.fit(values)
        most = max(most, min(tail.limit, 2 * float(np.max(values))))  # a tail of few excesses may run away
    return Usual(len(values), median, deviation, max(most, float(np.quantile(values, 0.99))))
