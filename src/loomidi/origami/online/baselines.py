"""What is usual: a robust, bounded, prequential baseline per key, in plain Python.

Called by both lanes. In: (key, value) in order of time; a value is judged before it is learned. Out: median and
spread of the last values, from which a limit follows. What exceeds the limit is clipped to it before it is learned:
dropping it would let the limit lag behind real growth for ever, learning it whole would let one flood raise the limit
at once. What exceeds it far is an attack and teaches nothing.
"""

import contextlib
import dataclasses
import math
import statistics
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_REFRESH = 8  # recompute the median after this many values
_SIGMA = 1.4826  # MAD to standard deviation of a normal distribution


@dataclasses.dataclass(frozen=True, slots=True)
class BaselineSettings:
    """How usual is measured."""

    keys: int = 4096  # sources and services remembered; the least recently seen goes first
    values: int = 64  # per key
    mature: int = 8  # values before a baseline counts
    sigmas: float = 8.0  # robust deviations above the median
    hopeless: float = 4.0  # times the limit: beyond it nothing is learned
    factor: float = 3.0  # and at least this many times the median: a steady service has almost no deviation


class _Usual:
    """The last values of one key and their cached limit."""

    __slots__ = ("limit", "median", "stale", "values")

    def __init__(self, size: int, values: Iterable[float] = ()) -> None:
        self.values: deque[float] = deque(values, maxlen=size)
        self.median = 0.0
        self.limit = 0.0
        self.stale = _REFRESH


class Baselines:
    """Median and limit of the last values by key, bounded by `BaselineSettings.keys`."""

    def __init__(self, settings: BaselineSettings | None = None) -> None:
        self._settings = settings or BaselineSettings()
        self._usual: OrderedDict[str, _Usual] = OrderedDict()
        self._paused = False

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Meanwhile nothing is learned: what is judged before it is complete will be judged again."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def __len__(self) -> int:
        return len(self._usual)

    def usual(self, key: str) -> tuple[float, float] | None:
        """(median, limit) of a key that has been seen often enough, else None."""
        usual = self._usual.get(key)
        if usual is None or len(usual.values) < self._settings.mature:
            return None
        if usual.stale >= _REFRESH:
            self._refresh(usual)
        return usual.median, usual.limit

    def learn(self, key: str, value: float, floor: float = math.inf) -> None:
        """Add a value, clipped to the limit; to `floor`, the limit of the rule, as long as there is no other."""
        if self._paused:
            return
        known = self.usual(key)
        limit = floor if known is None else max(known[1], min(floor, known[1] * self._settings.factor))
        if value > limit * self._settings.hopeless:
            return
        usual = self._usual.get(key)
        if usual is None:
            usual = self._usual[key] = _Usual(self._settings.values)
            if len(self._usual) > self._settings.keys:
                self._usual.popitem(last=False)
        usual.values.append(min(value, limit))
        usual.stale += 1
        self._usual.move_to_end(key)

    def snapshot(self) -> dict[str, list[float]]:
        """Values by key, oldest key first; JSON-able."""
        return {key: list(usual.values) for key, usual in self._usual.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave."""
        kept = list(state.items())[-self._settings.keys :]
        self._usual = OrderedDict((key, _Usual(self._settings.values, values)) for key, values in kept)

    def _refresh(self, usual: _Usual) -> None:
        usual.median = statistics.median(usual.values)
        spread = statistics.median(abs(value - usual.median) for value in usual.values)
        settings = self._settings
        usual.limit = max(usual.median + settings.sigmas * _SIGMA * spread, usual.median * settings.factor)
        usual.stale = 0
