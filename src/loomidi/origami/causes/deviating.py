"""How far each signal is from its own past.

Called by `ranking`. In: a table of `SIGNALS` and the window. Out: `Deviations`, one row per signal, as columns. No
signal is compared with another one, so units do not matter; what the past itself does now and then is no news.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loomidi.origami.causes.observations import Observed, Role, Window
from loomidi.origami.causes.settings import CauseSettings

Array = np.ndarray[Any, np.dtype[Any]]
UP_ONLY = frozenset({Role.RESOURCE, Role.LATENCY, Role.ERRORS, Role.CLIENT, Role.SERVER, Role.GAP, Role.CHANGE})
SHARES = frozenset({Role.ERRORS, Role.CALLS, Role.BRANCH})


@dataclasses.dataclass(frozen=True, slots=True)
class Deviations:
    """Columns of equal length; entities and peers are indexes into `names`, a peer of -1 is none."""

    names: tuple[str, ...]
    entity: Array
    peer: Array
    role: tuple[Role, ...]
    signal: tuple[str, ...]
    past: Array
    now: Array
    deviation: Array
    strength: Array

    def where(self, *roles: Role) -> list[int]:
        """The rows of these roles that left their past."""
        return [row for row, role in enumerate(self.role) if role in roles and self.strength[row] > 0]

    def of(self, *roles: Role) -> list[int]:
        """All rows of these roles."""
        return [row for row, role in enumerate(self.role) if role in roles]


def deviations(observed: Observed, window: Window, settings: CauseSettings) -> Deviations:
    """Every signal against its own past."""
    grid = _grid(observed.signals, window, settings)
    keys, values, samples = _with_gaps(*grid)
    names = _names(observed, keys)
    index = {name: at for at, name in enumerate(names)}
    steps = max(1, -(-(window.end_ns - window.start_ns) // window.step_ns))
    past, now = values[:-steps], values[-steps:]
    roles = tuple(Role(key[3]) for key in keys)
    level, value, deviation, strength = _judge(past, now, samples[-steps:], roles, settings)
    return Deviations(
        names=names,
        entity=np.array([index[key[0]] for key in keys], dtype=np.int64),
        peer=np.array([index[key[1]] if key[1] else -1 for key in keys], dtype=np.int64),
        role=roles,
        signal=tuple(key[2] for key in keys),
        past=level,
        now=value,
        deviation=deviation,
        strength=strength,
    )


def _grid(signals: pa.Table, window: Window, settings: CauseSettings) -> tuple[list[list[str]], Array, Array]:
    """Keys (entity, peer, signal, role); values and samples as steps times keys, several values of a step averaged."""
    steps = max(1, -(-(window.end_ns - window.start_ns) // window.step_ns))
    since = window.start_ns - settings.past_steps * window.step_ns
    signals = signals.filter(
        pc.and_(pc.greater_equal(signals["time_ns"], since), pc.less(signals["time_ns"], window.end_ns))
    )
    step = np.floor_divide(signals["time_ns"].to_numpy() - window.start_ns, window.step_ns) + settings.past_steps
    value = signals["value"].to_numpy().astype(np.float64)
    parts = [pc.fill_null(signals[name], "") for name in ("entity", "peer", "signal", "role")]
    joined = pc.binary_join_element_wise(*parts, "\x1f").combine_chunks().dictionary_encode()
    keep = (step >= 0) & (step < settings.past_steps + steps) & np.isfinite(value)
    words = joined.dictionary.to_pylist()
    order = np.argsort(np.array(words, dtype=object)) if words else np.empty(0, dtype=np.int64)
    place = np.empty(len(words), dtype=np.int64)
    place[order] = np.arange(len(words))
    cell = (step * max(1, len(words)) + place[joined.indices.to_numpy()])[keep].astype(np.int64)
    shape = (settings.past_steps + steps, len(words))
    weight = np.nan_to_num(pc.fill_null(signals["samples"], np.nan).to_numpy().astype(np.float64)[keep])
    count, total, sampled = (
        np.bincount(cell, weights=of, minlength=shape[0] * shape[1]).reshape(shape)
        for of in (None, value[keep], weight)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return [words[at].split("\x1f") for at in order], total / count, sampled


def _with_gaps(keys: list[list[str]], values: Array, samples: Array) -> tuple[list[list[str]], Array, Array]:
    """An edge that is measured on both sides gets the signal that only an edge has: client minus server."""
    at = {tuple(key): column for column, key in enumerate(keys)}
    pairs = [
        (key, column, at[entity, peer, signal, Role.SERVER.value])
        for (entity, peer, signal, role), column in at.items()
        for key in [[entity, peer, signal, Role.GAP.value]]
        if role == Role.CLIENT and (entity, peer, signal, Role.SERVER.value) in at
    ]
    if not pairs:
        return keys, values, samples
    client, server = [pair[1] for pair in pairs], [pair[2] for pair in pairs]
    gaps = values[:, client] - values[:, server]
    keys = [*keys, *(pair[0] for pair in pairs)]
    return keys, np.concatenate([values, gaps], axis=1), np.concatenate([samples, samples[:, client]], axis=1)


def _names(observed: Observed, keys: Iterable[list[str]]) -> tuple[str, ...]:
    tables = (("calls", "caller"), ("calls", "callee"), ("places", "entity"), ("places", "host"))
    named = {name for table, column in tables for name in getattr(observed, table)[column].to_pylist()}
    return tuple(sorted({key[0] for key in keys} | {key[1] for key in keys if key[1]} | named))


def _judge(
    past: Array, now: Array, samples: Array, roles: tuple[Role, ...], settings: CauseSettings
) -> tuple[Array, Array, Array, Array]:
    """Usual value, value in the window, deviation and strength of each signal; signs as in the window."""
    if not roles:
        empty = np.empty(0)
        return empty, empty, empty, empty
    enough = np.isfinite(past).sum(axis=0) >= settings.least_past
    past = np.where(enough, past, 0.0)  # judged as nothing below
    level = _quantile(past, 0.5)
    scale = _scale(past, level, samples, roles, settings)
    up = np.array([role in UP_ONLY for role in roles])
    before, after = (past - level) / scale, (now - level) / scale
    size_before, size_after = (np.where(up, of, np.abs(of)) for of in (before, after))
    usual = np.clip(_quantile(size_before, settings.quantile), settings.usual, settings.most_usual)
    deviation, value = _upper_half(size_after, now)
    seen = enough & np.isfinite(deviation)
    deviation = np.where(seen, deviation, 0.0)
    strength = np.clip(np.log2((1 + np.maximum(deviation, 0)) / (1 + usual)), 0, settings.cap)
    return level, np.where(seen, value, level), deviation, strength


def _scale(past: Array, level: Array, samples: Array, roles: tuple[Role, ...], settings: CauseSettings) -> Array:
    """One robust standard deviation: what the past does, what counting so few requests does, and a floor."""
    spread = 1.4826 * _quantile(np.abs(past - level), 0.5)
    floors = {
        Role.ERRORS: settings.error_floor,
        Role.BRANCH: settings.count_floor,
        Role.CALLS: settings.count_floor,
        Role.CHANGE: settings.count_floor,
        Role.RESOURCE: 1e-9,
        Role.TRAFFIC: 1e-9,
    }
    floor = np.array([floors.get(role, settings.second_floor) for role in roles])
    sampling = _sampling(level, np.max(samples, axis=0), roles, settings)
    few = 1 + settings.least_past / np.isfinite(past).sum(axis=0)
    scale: Array = few * np.sqrt(spread**2 + (settings.relative_floor * level) ** 2 + sampling**2 + floor**2)
    return scale


def _sampling(level: Array, samples: Array, roles: tuple[Role, ...], settings: CauseSettings) -> Array:
    """What comes of counting few requests: shares vary as coins do, times as much as their mean."""
    each = 1 / np.maximum(samples, 1)
    share = np.where(np.abs(level) < 1, np.abs(level), 0.0)  # how counts above one vary is in their past
    coin = np.sqrt((share * (1 - share) + each) * each)
    shares = np.array([role in SHARES for role in roles])
    found: Array = np.where(samples > 0, np.where(shares, coin, settings.sampling * np.sqrt(each) * np.abs(level)), 0.0)
    return found


def _upper_half(size: Array, values: Array) -> tuple[Array, Array]:
    """Mean over the worse half of the window's steps: the first may lie before the onset."""
    order = np.argsort(np.where(np.isfinite(size), -size, np.inf), axis=0)
    there = np.isfinite(size).sum(axis=0)
    taken = np.arange(len(size))[:, None] < np.maximum(1, (there + 1) // 2)
    with np.errstate(invalid="ignore"):
        means = tuple(
            np.where(taken, np.nan_to_num(np.take_along_axis(of, order, axis=0)), 0).sum(axis=0) / taken.sum(axis=0)
            for of in (size, values)
        )
    return np.where(there > 0, means[0], np.nan), np.where(there > 0, means[1], np.nan)


def _quantile(values: Array, part: float) -> Array:
    """Of each column, its missing values left out; sorts once, which is many times faster than numpy's for gaps."""
    ordered = np.sort(values, axis=0)  # missing ones last
    last = np.maximum(np.isfinite(values).sum(axis=0) - 1, 0) * part
    low = np.floor(last).astype(np.int64)
    high = np.ceil(last).astype(np.int64)
    at_low, at_high = (np.take_along_axis(ordered, of[None, :], axis=0)[0] for of in (low, high))
    found: Array = at_low + (at_high - at_low) * (last - low)
    return found
