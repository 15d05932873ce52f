"""Half-space trees beside the method as its authors have it, row by row and node by node in plain Python."""

import math

import numpy as np
import numpy.typing as npt
import pytest

from loomidi.origami.online import HalfSpaceTrees, Seen, TreesSettings

FEATURES = 3
SETTINGS = TreesSettings(trees=3, depth=4, window=64, enough=5, seed=2)
NODE = np.dtype([("cut", "<f4"), ("dimension", "<u4"), ("usual", "<u4"), ("fresh", "<u4")])


class PlainTrees:
    """Cuts are those of a forest; what is usual and fresh is counted here."""

    def __init__(self, forest: HalfSpaceTrees) -> None:
        self.trees, self.learned, self.windows = nodes(forest), 0, 0
        self.trees["usual"] = self.trees["fresh"] = 0

    def score(self, row: npt.NDArray[np.float32], learn: bool) -> float:
        """One row, learned after it was scored."""
        most = math.log2(SETTINGS.trees * SETTINGS.window) + SETTINGS.depth
        told = most - math.log2(sum(self._mass(tree, row) for tree in self.trees) + 1) if self.windows else 0.0
        if learn:
            for tree in self.trees:
                tree["fresh"][self._way(tree, row)] += 1
            self._learned()
        return told

    def _way(self, tree: np.ndarray, row: npt.NDArray[np.float32]) -> list[int]:
        way = [1]
        while len(way) <= SETTINGS.depth:
            way.append(2 * way[-1] + int(row[tree["dimension"][way[-1]]] >= tree["cut"][way[-1]]))
        return way

    def _mass(self, tree: np.ndarray, row: npt.NDArray[np.float32]) -> float:
        for depth, node in enumerate(self._way(tree, row)):
            if depth == SETTINGS.depth or tree["usual"][node] < SETTINGS.enough:
                return float(tree["usual"][node]) * 2**depth
        raise AssertionError

    def _learned(self) -> None:
        self.learned += 1
        if self.learned == SETTINGS.window:
            self.trees["usual"], self.trees["fresh"] = self.trees["fresh"].copy(), 0
            self.learned, self.windows = 0, self.windows + 1


def nodes(forest: HalfSpaceTrees) -> np.ndarray:
    """(trees, nodes) of a snapshot's forest."""
    many = SETTINGS.trees << (SETTINGS.depth + 1)
    return np.frombuffer(forest._counter.save(), np.uint8)[-many * NODE.itemsize :].view(NODE).reshape(3, -1).copy()


def rows(count: int, seed: int) -> Seen:
    random = np.random.default_rng(seed)
    ends = np.ones(count, np.uint64)
    values = random.normal(0.5, 0.3, (count, FEATURES)).astype(np.float32)
    return Seen(np.arange(count, dtype=np.int64), ends, ends, values)


@pytest.mark.parametrize("share", [1.0, 0.4, 0.0])
def test_scores_and_counts_are_those_of_the_method_across_full_windows(share: float) -> None:
    forest, start, rest = HalfSpaceTrees(SETTINGS, FEATURES), rows(150, 1), rows(501, 2)
    learn = np.random.default_rng(3).random(len(rest)) < share
    forest.fit(start)
    found = forest.score(rest, learn)
    plain = PlainTrees(forest)

    def scaled(part: Seen) -> npt.NDArray[np.float32]:
        told: npt.NDArray[np.float32] = np.clip((part.values - forest._low) / forest._width, 0.0, 1.0)
        return told

    for row in scaled(start):
        plain.score(row, True)
    expected = [plain.score(row, bool(one)) for row, one in zip(scaled(rest), learn, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert plain.windows == 2 + (150 % 64 + int(learn.sum())) // 64
    after = nodes(forest)
    for name in ("usual", "fresh"):
        np.testing.assert_array_equal(after[name][:, 1:], plain.trees[name][:, 1:])
