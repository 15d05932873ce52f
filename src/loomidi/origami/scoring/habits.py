"""What is usual of each end of edges, learned as it goes on: a slow memory, and how far an edge is from it.

Called by `manifests` and the bench. In: `Seen`. Out: scores. Of each end the mean of its edges' features
is kept, as source and as destination; from both means a linear map, fitted once, tells what the next edge should look
like. No network and no seed. An edge that is stranger than nearly all that were fitted is not remembered, so that an
attack does not become usual by going on. Memory is fixed.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from loomidi.contracts.errors import UsageError
from loomidi.origami.online.seen import F32, I64, U64, Mask, Seen, packed, unpacked
from loomidi.origami.scoring.ends import EndTable, pieces, ticks

F64 = npt.NDArray[np.float64]
_TAIL, _SIGMAS = 0.05, 3.289707  # a quantile, and the deviations of a normal distribution between it and its mirror
_GRID = 4096.0
"""Features are summed as whole numbers of this part of a deviation: no order of summing then changes a bit."""
_BLOCK = 64
"""Rows are multiplied in blocks of this size: arithmetic is then the same however a stream is cut."""
_PIECE = 1 << 16
_ENOUGH = 100.0
"""Ticks after which it makes no difference any more for how long an end is known."""
_LEAST = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class HabitSettings:
    """How fast it forgets, and what it does not learn."""

    fading: float = 0.02
    # Share that one tick of an end has in its means: what was before fades within some fifty ticks with edges of it.
    gate: float = 0.99
    # Quantile of the fitted edges' scores; what scores higher later is not remembered.
    least: float = 0.1
    # The least spread, in log1p: a feature that never changed must not be infinitely strange when it does.
    clip: float = 8.0
    # Deviations beyond which a feature is not remembered as it is.
    ridge: float = 1e-3
    # Of the map, by the mean square of what it maps from.
    sample: int = 100_000
    # Edges that the map is fitted to: 24 features are 30 MB while it lasts.
    tick_s: float = 1.0
    # Edges of one tick are judged by what was before it. At most the size of a window.
    ends: int = 65_536
    # That are remembered: 50 numbers each are 13 MB.


class Habits:
    """A `Detector`: sum over features of log1p(z^2), z the deviation from what both ends let expect; its mean."""

    def __init__(self, settings: HabitSettings | None = None, features: int = 24) -> None:
        self.settings = settings or HabitSettings()
        self._features = features
        self._scale = np.tile(np.array([[0.0], [1.0]], np.float32), features)  # middle and spread
        self._rest = self._scale.copy()  # the same of what the map leaves
        self._map: F32 = np.zeros((2 * features + 5, features), np.float32)
        self._limit = np.full(1, np.inf, np.float32)
        self._width = 2 * features + 2
        self._tick, self._ends = 0, EndTable(self.settings.ends, np.zeros(self._width, np.float32))
        self._open: tuple[U64, F64] = np.zeros(0, np.uint64), np.zeros((0, self._width))  # of the tick that is not over

    def fit(self, seen: Seen) -> None:
        """1 scale, 2 memory of all edges, 3 map from memory to edge, 4 what the map leaves, 5 the gate."""
        if len(seen) < _LEAST:
            raise UsageError(f"{len(seen)} edges are too few to tell what is usual of their ends; give {_LEAST}")
        self._check(seen)
        s = self.settings
        every = -(-len(seen) // s.sample)
        self._scale = _scale(seen.values[::every], s.least)  # 1
        self._limit[0] = np.inf
        self._forget()
        known, rows = list[F32](), list[I64]()
        for part, at in self._pieces(seen):  # 2
            told, places = self._known(part)
            taken = np.arange(-at % every, len(part), every)
            taken = taken[taken + at >= len(seen) // 10]  # the first have nothing before them
            known.append(told[taken])
            rows.append(taken + at)
            self._take(part, places, np.ones(len(part), bool))
        told, values = np.concatenate(known), (seen.values[np.concatenate(rows)] - self._scale[0]) / self._scale[1]
        self._map = _solved(told, np.clip(values, -s.clip, s.clip), s.ridge)  # 3
        self._rest = _scale(values - self._expected(told), s.least)  # 4
        self._limit[0] = np.quantile(self._strange(values, told), s.gate)  # 5

    def score(self, seen: Seen, learn: Mask | None = None) -> F32:
        """Of the rows of the mask, all without one, those under the gate are remembered."""
        self._check(seen)
        out = np.empty(len(seen), np.float32)
        for part, at in self._pieces(seen):
            known, places = self._known(part)
            told = self._strange((part.values - self._scale[0]) / self._scale[1], known)
            out[at : at + len(part)] = told
            usual = told <= self._limit[0]
            self._take(part, places, usual if learn is None else usual & learn[at : at + len(part)])
        return out

    @property
    def remembered(self) -> dict[str, int]:
        """Ends in the table, those that were forgotten, and those that found no room in their tick."""
        return {"ends": len(self._ends), **self._ends.counts}

    def snapshot(self) -> bytes:
        """The memory of all ends, the map, the scales."""
        return packed(self._arrays())

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot` of the same settings. Raises InputError where it does not fit."""
        kept = unpacked(state, self._arrays())
        self._forget()
        self._scale, self._rest, self._map, self._limit = (kept[name] for name in ("scale", "rest", "map", "limit"))
        self._ends.take(kept["keys"], kept["state"], kept["seen"])
        self._tick, self._open = int(kept["tick"][0]), (kept["open_keys"], kept["open_sums"])

    def _forget(self) -> None:
        self._tick, self._ends = 0, EndTable(self.settings.ends, np.zeros(self._width, np.float32))
        self._open = np.zeros(0, np.uint64), np.zeros((0, self._width))

    def _check(self, seen: Seen) -> None:
        if seen.values.shape[1] != self._features:
            raise UsageError(f"these habits are of {self._features} features, not {seen.values.shape[1]}")

    def _pieces(self, seen: Seen) -> Iterator[tuple[Seen, int]]:
        """Rows of one tick each, and where they begin; the tick before is remembered by then."""
        for rows, tick in pieces(ticks(seen.times_ns, self.settings.tick_s, self._tick), _PIECE):
            self._turn(tick)
            yield seen.part(rows.start, rows.stop), rows.start

    def _known(self, part: Seen) -> tuple[F32, tuple[U64, I64]]:
        """What the map takes, by edge: means of both ends and for how long they are known; the ends and their places"""
        ends, places = np.unique(np.concatenate([part.sources, part.destinations]), return_inverse=True)
        state, _ = self._ends.look(ends)
        source, destination = np.split(state[places], 2)
        many = self._features
        ages = np.stack([source[:, 2 * many], destination[:, 2 * many + 1]], axis=1)
        told = (source[:, :many], destination[:, many : 2 * many], ages > 0, np.log1p(np.minimum(ages, _ENOUGH)))
        ones = np.ones((len(part), 1), np.float32)
        return np.concatenate([*told, ones], axis=1, dtype=np.float32), (ends, places)

    def _expected(self, known: F32) -> F32:
        """Scaled features that the ends let expect."""
        blocks = np.zeros((-(-len(known) // _BLOCK), _BLOCK, known.shape[1]), np.float32)
        blocks.reshape(-1, known.shape[1])[: len(known)] = known
        told: F32 = np.matmul(blocks, self._map).reshape(-1, self._features)[: len(known)]
        return told

    def _strange(self, values: F32, known: F32) -> F32:
        off = (values - self._expected(known) - self._rest[0]) / self._rest[1]
        told: F32 = np.mean(np.log1p(off * off), axis=1)
        return told

    def _take(self, part: Seen, places: tuple[U64, I64], learn: Mask) -> None:
        """Add edges to the tick that is not over: sums of features by end and role, and how many."""
        if not learn.any():
            return
        many, clip = self._features, self.settings.clip
        values = np.clip((part.values[learn] - self._scale[0]) / self._scale[1], -clip, clip)
        whole = np.rint(values * np.float32(_GRID)).astype(float)
        ends, sums = places[0], np.zeros((len(places[0]), self._width))
        for role, at in enumerate(np.split(places[1], 2)):
            own = at[learn]
            for feature in range(many):
                sums[:, role * many + feature] = np.bincount(own, whole[:, feature], len(ends))
            sums[:, 2 * many + role] = np.bincount(own, minlength=len(ends))
        told = sums[:, 2 * many :].any(axis=1)
        self._open = self._joined(ends[told], sums[told])

    def _joined(self, ends: U64, sums: F64) -> tuple[U64, F64]:
        """With what the tick has so far; more ends than the table has room for are not kept, the same however cut."""
        keys, before = self._open
        if len(keys):
            every, places = np.unique(np.concatenate([keys, ends]), return_inverse=True)
            both = np.zeros((len(every), sums.shape[1]))
            both[places[: len(keys)]] = before
            both[places[len(keys) :]] += sums
            ends, sums = every, both
        return ends[: self.settings.ends], sums[: self.settings.ends]

    def _turn(self, tick: int) -> None:
        """What the tick before told becomes what is remembered."""
        if tick <= self._tick:
            return
        (ends, sums), many = self._open, self._features
        if len(ends):
            state, _ = self._ends.look(ends)
            for role in (0, 1):
                count, age = sums[:, 2 * many + role], state[:, 2 * many + role]
                share = np.where(count > 0, np.maximum(self.settings.fading, 1 / (age + 1.0)), 0.0)[:, None]
                columns = slice(role * many, (role + 1) * many)
                mean = sums[:, columns] / (_GRID * np.maximum(count, 1.0))[:, None]
                state[:, columns] += share * (mean - state[:, columns])
                state[:, 2 * many + role] += count > 0
            self._ends.write(ends, state, self._tick)
        self._tick, self._open = tick, (np.zeros(0, np.uint64), np.zeros((0, self._width)))

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        own = {"scale": self._scale, "rest": self._rest, "map": self._map, "limit": self._limit}
        opened = {"open_keys": self._open[0], "open_sums": self._open[1], "tick": np.array([self._tick], np.int64)}
        return {**own, **opened, **self._ends.arrays()}


def _scale(values: F32, least: float) -> F32:
    """Middle and spread by quantiles: a few strange edges do no harm."""
    low, middle, high = np.quantile(values, (_TAIL, 0.5, 1 - _TAIL), axis=0)
    return np.stack([middle, np.maximum((high - low) / _SIGMAS, least)]).astype(np.float32)


def _solved(known: F32, values: F32, ridge: float) -> F32:
    """The linear map with the least squares, shrunk a little."""
    square = known.T.astype(float) @ known
    square[np.diag_indices_from(square)] += ridge * np.trace(square) / len(square)
    return np.linalg.solve(square, known.T.astype(float) @ values).astype(np.float32)
