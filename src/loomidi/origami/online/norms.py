"""The plainest detector: how many robust deviations each feature is from its middle, squared and averaged.

Called by `scoring` and the bench. In: `Seen`. Out: scores, and which feature has which share of one. Middle and spread
are quantiles of the last learned rows, so that a few strange ones among them do no harm. Memory is fixed.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from loomidi.contracts.errors import UsageError
from loomidi.origami.online.seen import F32, Mask, Seen, packed, unpacked

_TAIL = 0.05
_SIGMAS = 3.289707  # between the 5 % and the 95 % quantile of a normal distribution


@dataclasses.dataclass(frozen=True, slots=True)
class NormSettings:
    """How usual is measured."""

    kept: int = 16_384
    # Rows from which quantiles are taken; 24 features are 1.5 MB.
    every: int = 16
    # Of the learned rows one in so many is kept: half a million edges of past.
    refresh: int = 65_536
    # Rows that are scored between two looks at the quantiles.
    least: float = 0.1
    # The least spread, in log1p: a feature that never changed must not be infinitely strange when it does.
    adaptive: bool = False
    # Learn while scoring. Off: what `fit` found stays.


class RobustNorm:
    """Mean squared robust z-score of log1p features."""

    def __init__(self, settings: NormSettings | None = None, features: int = 24) -> None:
        self.settings = settings or NormSettings()
        self._kept: F32 = np.zeros((0, features), np.float32)  # oldest first
        self._quantiles: F32 = np.stack([np.zeros(features, np.float32), np.ones(features, np.float32)])
        self._learned = self._scored = 0

    def fit(self, seen: Seen) -> None:
        """From all rows; of them the last are kept to go on from."""
        if not len(seen):
            raise UsageError("a detector cannot be fitted to no edges; give it a window that has some")
        self._measure(seen.values)
        self._kept = seen.values[:: self.settings.every][-self.settings.kept :].copy()
        self._learned = self._scored = 0

    def score(self, seen: Seen, learn: Mask | None = None) -> F32:
        """Rows are learned only where the settings say so; quantiles are renewed every `refresh` rows."""
        out, at = np.empty(len(seen), np.float32), 0
        while at < len(seen):
            stop = min(len(seen), at + self.settings.refresh - self._scored % self.settings.refresh)
            values = seen.values[at:stop]
            out[at:stop] = np.mean(self.deviations(values), axis=1)
            if self.settings.adaptive:
                self._learn(values if learn is None else values[learn[at:stop]])
            self._scored += stop - at
            if self.settings.adaptive and self._scored % self.settings.refresh == 0:
                self._measure(self._kept)
            at = stop
        return out

    def deviations(self, values: F32) -> F32:
        """Squared robust z-score of each feature: the shares of a score."""
        middle, spread = self._quantiles
        off: F32 = (values - middle) / spread
        off *= off
        return off

    @property
    def middle(self) -> F32:
        """The usual value of each feature."""
        usual: F32 = self._quantiles[0]
        return usual

    def snapshot(self) -> bytes:
        """Rows that are kept, quantiles, counts."""
        return packed(self._arrays())

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot`."""
        kept = unpacked(state, self._arrays())
        self._kept, self._quantiles = kept["kept"], kept["quantiles"]
        self._learned, self._scored = (int(count) for count in kept["counts"])

    def _arrays(self) -> dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int64]]:
        counts = np.array([self._learned, self._scored], np.int64)
        return {"kept": self._kept, "quantiles": self._quantiles, "counts": counts}

    def _learn(self, values: F32) -> None:
        first = -self._learned % self.settings.every
        self._learned += len(values)
        self._kept = np.concatenate([self._kept, values[first :: self.settings.every]])[-self.settings.kept :]

    def _measure(self, values: F32) -> None:
        low, middle, high = np.quantile(values, (_TAIL, 0.5, 1 - _TAIL), axis=0)
        spread = np.maximum((high - low) / _SIGMAS, self.settings.least)
        self._quantiles = np.stack([middle, spread]).astype(np.float32)
