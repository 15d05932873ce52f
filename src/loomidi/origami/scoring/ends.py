"""What is remembered of each end, in a table of fixed size, and the edges of one tick by their ends.

Called by `graphs` and by training, so that both see a stream alike. In: hashed ends in order of time. Out: `Layout`,
and rows of state: the memory of an end, slow means of its edges as source and as destination, in how many ticks it was
either. The least recently seen end
makes room and is counted. What the memory means is left to the callers.
"""

import dataclasses
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from loomidi.contracts.errors import InputError
from loomidi.origami.online.seen import F32, I64, U64, Mask, Seen

_BULK = 32
"""A full table makes room for this part of it at once: to look for the oldest costs as much for one as for many."""


def ticks(times_ns: I64, tick_s: float, since: int = 0) -> I64:
    """The tick of each edge, none before `since`; a time before the latest counts as the latest."""
    numbers: I64 = np.maximum.accumulate(np.maximum(times_ns // int(tick_s * 1e9), since))
    return numbers


def pieces(numbers: I64, most: int) -> Iterator[tuple[slice, int]]:
    """Rows of one tick each, so many at most, and their tick."""
    starts = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()
    for start, stop in pairwise([*starts, len(numbers)]):
        for at in range(start, stop, most):
            yield slice(at, min(at + most, stop)), int(numbers[start])


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Edges of one tick, by the distinct ends that they have. The last edge of an end is what is remembered of it."""

    ends: U64  # (ends,), ascending
    source: I64  # (edges,) places in `ends`
    destination: I64  # (edges,)
    own: I64  # (told,) places of the ends of which an edge is learned
    other: I64  # (told,) place of the other end of the last such edge
    row: I64  # (told,) that edge
    role: F32  # (told,) 0: it is its source, 1: its destination
    last: tuple[I64, I64]  # each (told,): the last learned edge of which it is source, destination; -1: none


def laid_out(seen: Seen, learned: I64) -> Layout:
    """The edges of a tick; `learned` are the rows that may be remembered, ascending."""
    count = len(seen)
    ends, places = np.unique(np.concatenate([seen.sources, seen.destinations]), return_inverse=True)
    source, destination = places[:count], places[count:]
    last = np.full((2, len(ends)), -1, np.int64)  # of repeated places the last assignment stays
    last[0, source[learned]] = learned
    last[1, destination[learned]] = learned
    row = last.max(axis=0)
    own = np.flatnonzero(row >= 0)
    role = last[1, own] == row[own]
    row = row[own]
    return Layout(
        ends=ends,
        source=source,
        destination=destination,
        own=own,
        other=np.where(role, source[row], destination[row]),
        row=row,
        role=role.astype(np.float32),
        last=(last[0, own], last[1, own]),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Learned:
    """What a tick, or a piece of one, tells of its ends."""

    ends: U64  # (told,), ascending
    state: F32  # (told, width + 2 features + 2): memory, means as source and as destination, ticks as either
    known: tuple[Mask, Mask]  # (told,) each: where this tells such an edge

    @classmethod
    def of(cls, seen: Seen, layout: Layout, memory: F32, before: F32, fading: float) -> "Learned":
        """Of edges, their layout, the renewed memories of those that are told, and the state of all ends before.

        The last edge of the tick has the share `fading` in a mean, and a greater one while the end is young.
        """
        state, width, features = before[layout.own], memory.shape[1], seen.values.shape[1]
        state[:, :width] = memory
        known = layout.last[0] >= 0, layout.last[1] >= 0
        for role in (0, 1):
            start, age = width + role * features, width + 2 * features + role
            mean = state[known[role], start : start + features]
            share = np.maximum(np.float32(fading), 1 / (state[known[role], age] + 1))[:, None]
            news = seen.values[layout.last[role][known[role]]]
            state[known[role], start : start + features] = mean + share * (news - mean)
            state[known[role], age] += 1
        return cls(layout.ends[layout.own], state, known)

    def into(self, ends: U64, state: F32, width: int) -> None:
        """Write over the state of `ends`; of others nothing is kept."""
        at = np.minimum(np.searchsorted(ends, self.ends), len(ends) - 1)
        fits = ends[at] == self.ends
        state[at[fits], :width] = self.state[fits, :width]
        features = (state.shape[1] - width - 2) // 2
        for role in (0, 1):
            known = fits & self.known[role]
            columns = slice(width + role * features, width + (role + 1) * features)
            state[at[known], columns] = self.state[known, columns]
            state[at[known], width + 2 * features + role] = self.state[known, width + 2 * features + role]


class EndTable:
    """Rows of state by hashed end."""

    def __init__(self, most: int, start: F32) -> None:
        """At most so many ends; `start` is the state of one that is not known."""
        self._start, self._most = start, most
        self._keys: U64 = np.zeros(0, np.uint64)  # ascending
        self._rows: I64 = np.zeros(0, np.int64)  # of each key
        self._free: I64 = np.arange(most)
        self._state: F32 = np.zeros((most, len(start)), np.float32)
        self._seen: I64 = np.zeros(most, np.int64)
        self.counts = {"forgotten": 0, "crowded_out": 0}

    def __len__(self) -> int:
        return len(self._keys)

    def look(self, ends: U64) -> tuple[F32, I64]:
        """State of each end and the tick at which it was last written; -1 where it is not known."""
        rows = self._places(ends)
        known = rows >= 0
        state: F32 = np.where(known[:, None], self._state[rows], self._start)
        return state, np.where(known, self._seen[rows], -1)

    def write(self, ends: U64, state: F32, tick: int) -> None:
        """Distinct ends, ascending. Those beyond the size of the table are not kept."""
        self.counts["crowded_out"] += max(len(ends) - self._most, 0)
        ends, state = ends[: self._most], state[: self._most]
        rows = self._places(ends)
        known = rows >= 0
        self._seen[rows[known]] = tick
        if not known.all():
            rows[~known] = self._room(ends[~known], int(known.sum()))
        self._state[rows] = state
        self._seen[rows] = tick

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything, by key."""
        return {"keys": self._keys, "state": self._state[self._rows], "seen": self._seen[self._rows]}

    def take(self, keys: U64, state: F32, seen: I64) -> None:
        """Go on from `arrays`. Raises InputError when they are of a larger table."""
        if len(keys) > self._most:
            raise InputError(f"a snapshot of {len(keys)} ends does not fit a table of {self._most}; start anew")
        self._keys, self._rows = keys, np.arange(len(keys))
        self._free = np.arange(len(keys), self._most)
        self._state[: len(keys)], self._seen[: len(keys)] = state, seen

    def _places(self, ends: U64) -> I64:
        if not len(self._keys):
            return np.full(len(ends), -1, np.int64)
        at = np.minimum(np.searchsorted(self._keys, ends), len(self._keys) - 1)
        return np.where(self._keys[at] == ends, self._rows[at], -1)

    def _room(self, fresh: U64, known: int) -> I64:
        """Rows for new ends; `known` others are of this tick and stay."""
        lacking = len(fresh) - len(self._free)
        if lacking > 0:
            self._forget(min(max(lacking, self._most // _BULK), len(self._keys) - known))
        rows, self._free = np.split(self._free, [len(fresh)])
        at = np.searchsorted(self._keys, fresh)
        self._keys, self._rows = np.insert(self._keys, at, fresh), np.insert(self._rows, at, rows)
        return rows

    def _forget(self, count: int) -> None:
        oldest = np.argsort(self._seen[self._rows], kind="stable")[:count]
        self._free = np.concatenate([self._free, self._rows[oldest]])
        self._keys, self._rows = np.delete(self._keys, oldest), np.delete(self._rows, oldest)
        self.counts["forgotten"] += count
