"""From scores to probabilities: how often would a usual edge score as high.

Called by `judging` and the bench. In: scores of a calibration slice that follows what the detector learned from. Out:
conformal p-values, which assume nothing but that usual edges of then and now are alike; below what the slice can tell
(1 / its length) those of a tail fitted to it. And Benjamini-Hochberg: which edges of one tick to tell, so that at most
a share of what is told is usual.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from loomidi.contracts.errors import UsageError
from loomidi.origami.online.seen import F32, Mask, packed, unpacked
from loomidi.origami.online.tails import beyond, pareto

F64 = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class CalibrationSettings:
    """How the slice is read."""

    least: int = 1000
    # Edges below which no calibration is made: its finest p-value would be coarser than any alarm is rare.
    tail: float = 0.99
    # Quantile from which the fitted tail is used where the slice itself is too coarse.
    kept: int = 200_000
    # Scores that are kept, evenly over the slice.


class Calibration:
    """The scores of usual edges, in order."""

    def __init__(self, settings: CalibrationSettings | None = None) -> None:
        self.settings = settings or CalibrationSettings()
        self._sorted: F32 = np.zeros(0, np.float32)
        self._tail: F64 = np.zeros(3)  # its start, shape, scale

    def fit(self, scores: F32) -> None:
        """From the scores of the slice. Raises UsageError when it is too short."""
        if len(scores) < self.settings.least:
            raise UsageError(f"{len(scores)} edges are too few to calibrate on; wait for {self.settings.least}")
        step = -(-len(scores) // self.settings.kept)
        self._sorted = np.sort(scores[::step]).astype(np.float32)
        start = float(np.quantile(self._sorted, self.settings.tail))
        over = self._sorted[self._sorted > start].astype(float) - start
        self._tail = np.array([start, *(pareto(over) if len(over) else (0.0, 1e-9))])

    @property
    def fitted(self) -> bool:
        """Whether there is a slice to go by."""
        return len(self._sorted) > 0

    def p_values(self, scores: F32) -> F64:
        """(1 + usual edges that score at least as high) / (1 + usual edges); the tail's where no usual edge does."""
        count = len(self._sorted)
        if not count:
            raise UsageError("nothing is calibrated yet; call fit with the scores of a usual slice")
        at_least = count - np.searchsorted(self._sorted, scores, side="left")
        values: F64 = ((1.0 + at_least) / (1.0 + count)).astype(np.float64)
        beyond = at_least == 0
        if beyond.any():
            values[beyond] = np.minimum(values[beyond], self._survival(scores[beyond].astype(float)))
        return values

    def limit(self, risk: float) -> float:
        """The score above which a share `risk` of the usual edges is."""
        if risk * (len(self._sorted) + 1) >= 1:
            return float(self._sorted[max(len(self._sorted) - int(risk * (len(self._sorted) + 1)), 0)])
        start, shape, scale = self._tail
        share = risk / (1 - self.settings.tail)
        over = -scale * np.log(share) if abs(shape) < 1e-9 else scale / shape * (share**-shape - 1)
        return float(max(start + over, self._sorted[-1]))

    def snapshot(self) -> bytes:
        """The calibration table, to be stored with the model."""
        return packed({"sorted": self._sorted, "tail": self._tail})

    def restore(self, state: bytes) -> None:
        """Take over a `snapshot`."""
        kept = unpacked(state, {"sorted": self._sorted, "tail": self._tail})
        self._sorted, self._tail = kept["sorted"], kept["tail"]

    def _survival(self, scores: F64) -> F64:
        start, shape, scale = self._tail
        return (1 - self.settings.tail) * beyond(scores - start, shape, scale)


def discoveries(p_values: F64, rate: float) -> Mask:
    """Which of one tick to tell, so that at most the share `rate` of them is usual on average (Benjamini-Hochberg)."""
    if not len(p_values):
        return np.zeros(0, bool)
    ordered = np.sort(p_values)
    fits = np.flatnonzero(ordered <= rate * np.arange(1, len(p_values) + 1) / len(p_values))
    told: Mask = p_values <= (ordered[fits[-1]] if len(fits) else -1.0)
    return told
