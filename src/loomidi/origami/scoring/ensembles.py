"""Several detectors as one: how rare each finds an edge, averaged.

Called by `manifests` and the bench. In: `Seen`. Out: scores, a logarithm of the share of usual edges that are as
strange. Half-space trees find what is far from everything, habits what is unlike its own two ends; the mean counts an
edge for more that both find rare, and evens out the luck of a seed. All are measured on the last quarter of what is
fitted, beyond it by a fitted tail, so that no scale drowns another and no two strange edges are alike.
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from loomidi.contracts.errors import UsageError
from loomidi.origami.online import HalfSpaceTrees, Seen, TreesSettings
from loomidi.origami.online.seen import F32, Detector, Mask, packed, unpacked
from loomidi.origami.online.tails import pareto
from loomidi.origami.scoring.habits import Habits, HabitSettings

_TAIL = 0.99  # quantile from which the fitted tail is used
_MEASURED = 0.25  # share of the fitted edges, the last ones
_KEPT = 20_000


@dataclasses.dataclass(frozen=True, slots=True)
class EnsembleSettings:
    """Its members."""

    forests: int = 3
    # Of half-space trees, each of another seed: one seed's luck counts less.
    window: int = 16_384
    # Rows after which the trees take over what they learned.
    tick_s: float = 1.0
    # Of the habits.
    seed: int = 0
    # Of the first forest.

    @property
    def least(self) -> int:
        """Rows that `fit` asks for."""
        return int(self.window / (1 - _MEASURED)) + 1


class Rareness:
    """Scores of one detector as how rare they are: minus the decimal logarithm of the share that scores as high."""

    def __init__(self) -> None:
        self._sorted: F32 = np.zeros(0, np.float32)
        self._tail = np.array([0.0, 0.0, 1.0])  # its start, shape, scale

    def fit(self, scores: F32) -> None:
        """From usual edges. The tail has no end, even where the fitted one had: what is stranger must score higher."""
        self._sorted = np.sort(scores[:: -(-len(scores) // _KEPT)]).astype(np.float32)
        start = float(np.quantile(self._sorted, _TAIL))
        over = self._sorted[self._sorted > start].astype(float) - start
        shape, scale = pareto(over) if len(over) else (0.0, 1e-6)
        if shape <= 0:
            shape, scale = 0.0, float(over.mean()) if len(over) else 1e-6
        self._tail = np.array([start, shape, max(scale, 1e-6)])

    def of(self, scores: F32) -> F32:
        """2 is one in a hundred, 3 one in a thousand."""
        start, shape, scale = self._tail
        count = len(self._sorted)
        above = 1.0 + count - np.searchsorted(self._sorted, scores, side="left")
        inside = np.minimum(-np.log10(above / (count + 1)), -np.log10(1 - _TAIL))
        over = np.maximum(scores - start, 0.0).astype(float) / scale
        beyond = (np.log1p(shape * over) / shape if shape > 1e-9 else over) / np.log(10) - np.log10(1 - _TAIL)
        told: F32 = np.where(scores > start, beyond, inside).astype(np.float32)
        return told

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything."""
        return {"sorted": self._sorted, "tail": self._tail}

    def take(self, kept: dict[str, npt.NDArray[Any]]) -> None:
        """Go on from `arrays`."""
        self._sorted, self._tail = kept["sorted"], kept["tail"]


class Ensemble:
    """A `Detector`: half of its score is that of the habits, half the mean of the forests."""

    def __init__(self, settings: EnsembleSettings | None = None, features: int = 24) -> None:
        self.settings = s = settings or EnsembleSettings()
        self._forests = [
            HalfSpaceTrees(TreesSettings(window=s.window, seed=s.seed * s.forests + at), features)
            for at in range(s.forests)
        ]
        self._habits = Habits(HabitSettings(tick_s=s.tick_s), features)
        self._rareness = [Rareness() for _ in self._members()]

    def fit(self, seen: Seen) -> None:
        """1 learn from the first three quarters, trees from rows evenly over them, 2 measure by the last.

        Raises UsageError when there are too few.
        """
        if len(seen) < self.settings.least:
            raise UsageError(f"{len(seen)} edges are too few to begin with; wait for {self.settings.least}")
        cut = int(len(seen) * (1 - _MEASURED))
        first, rest = seen.part(0, cut), seen.part(cut, len(seen))
        self._habits.fit(first)  # 1
        window = self.settings.window
        some = np.linspace(0, cut - 1, window).astype(np.int64)
        for forest in self._forests:
            forest.fit(Seen(first.times_ns[some], first.sources[some], first.destinations[some], first.values[some]))
        for rareness, scores in zip(self._rareness, self._scored(rest, None), strict=True):  # 2
            rareness.fit(scores)

    def score(self, seen: Seen, learn: Mask | None = None) -> F32:
        """Trees learn the rows of the mask, none without one; habits those of them that are under their gate."""
        told = [rareness.of(one) for rareness, one in zip(self._rareness, self._scored(seen, learn), strict=True)]
        score: F32 = (np.mean(told[1:], axis=0) + told[0]) / 2 if len(told) > 1 else told[0]
        return score

    def snapshot(self) -> bytes:
        """All members, and what they are measured by."""
        return packed(self._arrays([np.frombuffer(one.snapshot(), np.uint8) for one in self._members()]))

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot` of the same settings. Raises InputError where it does not fit."""
        kept = unpacked(state, self._arrays([np.zeros(0, np.uint8) for _ in self._members()]))
        for at, (one, rareness) in enumerate(zip(self._members(), self._rareness, strict=True)):
            one.restore(kept[f"member{at}"].tobytes())
            rareness.take({"sorted": kept[f"sorted{at}"], "tail": kept[f"tail{at}"]})

    def _members(self) -> list[Detector]:
        return [self._habits, *self._forests]

    def _scored(self, seen: Seen, learn: Mask | None) -> list[F32]:
        grown = np.zeros(len(seen), bool) if learn is None else learn
        return [self._habits.score(seen, learn), *(forest.score(seen, grown) for forest in self._forests)]

    def _arrays(self, states: list[npt.NDArray[np.uint8]]) -> dict[str, npt.NDArray[Any]]:
        told = dict[str, npt.NDArray[Any]]()
        for at, (state, rareness) in enumerate(zip(states, self._rareness, strict=True)):
            told |= {f"member{at}": state, **{f"{name}{at}": one for name, one in rareness.arrays().items()}}
        return told
