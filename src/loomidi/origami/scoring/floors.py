"""The plain detector of live edges: robust norm and half-space trees, whichever finds an edge stranger.

Called where no trained champion is at hand, and as its baseline. In: `Seen`, features of windows. Out: the greater of
both scores, each by its own middle and its last hundredth on rows that it was not fitted to, so that neither scale
drowns the other. Half-space trees find more, the norm has no seed and no bound (docs/anomalies.md).
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from loomidi.contracts.errors import UsageError
from loomidi.origami.features import CAUSAL, SHAPE
from loomidi.origami.online import HalfSpaceTrees, RobustNorm, Seen, TreesSettings
from loomidi.origami.online.seen import F32, Mask, packed, unpacked

_HIGH = 0.99  # quantile that is one in scale


@dataclasses.dataclass(frozen=True, slots=True)
class FloorSettings:
    """How much it needs and what it looks at."""

    window: int = 16_384
    # Rows after which the trees take over what they learned; fewer suit a small cluster, and tell more coarsely.
    features: int = len(CAUSAL) + len(SHAPE)
    # Of `features.matrix`.
    seed: int = 0
    # Of the trees.

    @property
    def least(self) -> int:
        """Rows that `fit` asks for: the window, and a quarter of it to measure both by."""
        return self.window + self.window // 4


class Floor:
    """Two detectors as one."""

    def __init__(self, settings: FloorSettings | None = None) -> None:
        self.settings = settings or FloorSettings()
        trees = TreesSettings(window=self.settings.window, seed=self.settings.seed)
        self._norm = RobustNorm(features=self.settings.features)
        self._trees = HalfSpaceTrees(trees, features=self.settings.features)
        self._scales = np.tile(np.array([0.0, 1.0], np.float32), (2, 1))  # of norm and trees: middle, spread

    def fit(self, seen: Seen) -> None:
        """Learn from the first four fifths, measure by the last. Raises UsageError when there are too few."""
        if len(seen) < self.settings.least:
            raise UsageError(f"{len(seen)} edges are too few to begin with; wait for {self.settings.least}")
        cut = len(seen) - max(len(seen) // 5, self.settings.window // 4)
        first, rest = seen.part(0, cut), seen.part(cut, len(seen))
        self._norm.fit(first)
        self._trees.fit(first)
        both = self._norm.score(rest), self._trees.score(rest, np.zeros(len(rest), bool))
        middle, high = np.quantile(np.stack(both), (0.5, _HIGH), axis=1)
        self._scales = np.stack([middle, np.maximum(high - middle, 1e-3)], axis=1).astype(np.float32)

    def score(self, seen: Seen, learn: Mask | None = None) -> F32:
        """The stranger of both; of the rows of the mask the trees learn, all where there is none."""
        both = np.stack([self._norm.score(seen), self._trees.score(seen, learn)])
        scaled: F32 = ((both - self._scales[:, :1]) / self._scales[:, 1:]).max(axis=0)
        return scaled

    def snapshot(self) -> bytes:
        """Both, and what they are measured by."""
        states = {name: np.frombuffer(part.snapshot(), np.uint8) for name, part in self._parts().items()}
        return packed({**states, "scales": self._scales})

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot` of the same settings. Raises InputError where it does not fit."""
        nothing: dict[str, npt.NDArray[Any]] = dict.fromkeys(self._parts(), np.zeros(0, np.uint8))
        kept = unpacked(state, {**nothing, "scales": self._scales})
        for name, part in self._parts().items():
            part.restore(kept[name].tobytes())
        self._scales = kept["scales"]

    def _parts(self) -> dict[str, RobustNorm | HalfSpaceTrees]:
        return {"norm": self._norm, "trees": self._trees}
