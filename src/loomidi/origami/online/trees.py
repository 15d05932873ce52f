"""Half-space trees: rows that fall where few fell before, in bounded memory and one pass.

Called by `scoring` and the bench. In: `Seen`. Out: scores in bits. Features are brought to 0..1 by the quantiles of
what the trees were fitted to, twice as wide, so that there is room for the strange. Walked in bpf/trees.c.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from loomidi.contracts.errors import InputError, UsageError
from loomidi.origami import native
from loomidi.origami.online.seen import F32, Mask, Seen, packed, unpacked


@dataclasses.dataclass(frozen=True, slots=True)
class TreesSettings:
    """The forest."""

    trees: int = 50
    # Twice as many as the method's authors have: one seed's luck counts less.
    depth: int = 12
    # Of a tree: 4096 places. 50 trees are 11.5 MB.
    window: int = 16_384
    # Rows after which what was learned becomes what is usual.
    enough: int = 16
    # A place with fewer rows is not looked into more closely.
    seed: int = 0
    # Of the cuts.


class HalfSpaceTrees:
    """How little of the last window of learned rows is near a row, in bits."""

    def __init__(self, settings: TreesSettings | None = None, features: int = 24) -> None:
        self.settings = settings or TreesSettings()
        self._features = features
        self._low, self._width = np.zeros((2, features), np.float32)
        self._counter = self._grown()

    def fit(self, seen: Seen) -> None:
        """Choose the range of each feature, then learn all rows."""
        if len(seen) < self.settings.window:
            raise UsageError(f"half-space trees need {self.settings.window} edges to begin with, not {len(seen)}")
        low, high = np.quantile(seen.values, (0.001, 0.999), axis=0)
        width = np.maximum(high - low, 1e-3)
        self._low, self._width = (low - width / 2).astype(np.float32), (2 * width).astype(np.float32)
        self._counter = self._grown()
        self.score(seen)

    def score(self, seen: Seen, learn: Mask | None = None) -> F32:
        """Rows of the mask are learned after they were scored, all where there is none."""
        if seen.values.shape[1] != self._features:
            raise UsageError(f"these trees look at {self._features} features, not {seen.values.shape[1]}")
        rows = np.clip((seen.values - self._low) / np.maximum(self._width, 1e-3), 0.0, 1.0)
        out = np.empty(len(seen), np.float32)
        mask = None if learn is None else np.ascontiguousarray(learn).view(np.uint8)
        self._counter.run("score", len(seen), np.ascontiguousarray(rows), mask, out)
        return out

    def snapshot(self) -> bytes:
        """Ranges and counts of all places."""
        return packed(self._arrays(np.frombuffer(self._counter.save(), np.uint8)))

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot`."""
        kept = unpacked(state, self._arrays(np.zeros(0, np.uint8)))
        if len(kept["low"]) != self._features:
            raise InputError(f"a snapshot of trees over {len(kept['low'])} features does not fit {self._features}")
        self._counter.load(kept["forest"].tobytes())
        self._low, self._width = kept["low"], kept["width"]

    def _arrays(self, forest: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32] | npt.NDArray[np.uint8]]:
        return {"low": self._low, "width": self._width, "forest": forest}

    def _grown(self) -> native.Counter:
        s = self.settings
        return native.Counter(
            "trees", native.TreesSettings(s.seed, s.trees, s.depth, s.window, self._features, s.enough, 0)
        )
