"""What is believed about each kind of fold: a linear model of its reward, with how sure it is.

Called by `choosing` and `estimating`. In: features, what the rules expect, rewards. Out: means and deviations. The
model learns how far the reward is off from what the rules expect, so it begins as the rules (ridge regression per arm:
disjoint LinUCB, Li et al. 2010, arXiv:1003.0146, with a prior mean that is not zero).
"""

import numpy as np
import numpy.typing as npt

from loomidi.contracts import UsageError
from loomidi.origami.online.seen import packed, unpacked
from loomidi.origami.policy.candidates import ARMS

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


class LinearArms:
    """One ridge regression per arm, updated in place, the same to the bit in whatever pieces it is fed."""

    def __init__(self, features: int, ridge: float = 1.0) -> None:
        """`ridge`: how many outcomes the rules' expectation weighs; the larger, the slower it is given up."""
        if features < 1 or ridge <= 0:
            raise UsageError(f"{features} features with a ridge of {ridge:g}: both must be above zero")
        self.features, self.ridge = features, ridge
        self._inverse: F64 = np.repeat(np.eye(features)[None] / ridge, len(ARMS), axis=0)
        self._sums: F64 = np.zeros((len(ARMS), features))
        self._counts: I64 = np.zeros(len(ARMS), np.int64)

    @property
    def counts(self) -> dict[str, int]:
        """Outcomes learned, by arm."""
        return dict(zip(ARMS, map(int, self._counts), strict=True))

    def learn(self, arm: int, features: F64, surprise: float) -> None:
        """One outcome. `surprise`: the reward less what was expected. Sherman and Morrison's update of the inverse."""
        inverse = self._inverse[arm]
        along = inverse @ features
        inverse -= np.outer(along, along) / (1.0 + float(features @ along))
        self._sums[arm] += surprise * features
        self._counts[arm] += 1

    def means(self, arms: I64, features: F64, expected: F64) -> F64:
        """Rewards that are expected now, a row each."""
        weights = np.einsum("aij,aj->ai", self._inverse, self._sums)
        off: F64 = np.einsum("rf,rf->r", features, weights[arms])
        return expected + off

    def deviations(self, arms: I64, features: F64) -> F64:
        """How unsure each mean is: the square root of x' A^-1 x."""
        widths: F64 = np.sqrt(np.maximum(np.einsum("rf,rfg,rg->r", features, self._inverse[arms], features), 0.0))
        return widths

    def snapshot(self) -> bytes:
        """Everything that is needed to go on."""
        return packed(self._arrays())

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot` of as many features. Raises InputError where it does not fit."""
        kept = unpacked(state, self._arrays())
        self._inverse, self._sums, self._counts = kept["inverse"], kept["sums"], kept["counts"]

    def _arrays(self) -> dict[str, npt.NDArray[np.float64] | npt.NDArray[np.int64]]:
        return {"inverse": self._inverse, "sums": self._sums, "counts": self._counts}
