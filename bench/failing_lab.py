"""A recording of the lab as a run of series that may be exhausted.

Called by `bench.failing`. In: a folder that `loomidi-lab record` made. Out: `Run`, one column for each series: memory
of pods by their limit (cAdvisor), descriptors, the mailer's spool, the pool of connections, and the mail queue, which
is taken to be full at `QUEUE`. Readings are laid on a grid of five seconds, the last one held. Exhausted is what
reaches `FULL` of its capacity: a process that has no descriptor left can no longer say so.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench.failing_faults import EVERY_S, F64, Run
from loomidi_lab.recording import load

QUEUE, FULL = 100.0, 0.95
HELD_S = 20.0  # that a reading counts for; then the series has a gap, and is cut there
# what may be exhausted: what is used, what there is (a metric of the same target, or a number)
PAIRS: dict[str, tuple[str, str | float]] = {
    "memory": ("container_memory_working_set_bytes", "container_spec_memory_limit_bytes"),
    "descriptors": ("process_open_fds", "process_max_fds"),
    "pool": ("shop_pool_in_use", "shop_pool_size"),
    "queue": ("shop_queue_depth", QUEUE),
}
SPOOL, FREE = "shop_spool_bytes", "shop_spool_free_bytes"


def run_of(folder: Path) -> Run:
    """All series of a recording that have a capacity. Raises InputError when it is no recording."""
    recording = load(folder)
    names = [*(one for pair in PAIRS.values() for one in pair if isinstance(one, str)), SPOOL, FREE]
    table = recording.metrics.to_table(
        columns=["time_ns", "instance", "name", "labels", "value"], filter=pc.field("name").isin(names)
    )
    begin_s, end_s = recording.times.begin_ns / 1e9, recording.times.end_ns / 1e9
    grid = np.arange(0.0, end_s - begin_s, EVERY_S)
    found = [one for kind in (*PAIRS, "disk") for one in _of_kind(kind, _by_series(table), grid + begin_s)]
    values = np.stack([one[0] for one in found], axis=1) if found else np.zeros((len(grid), 0))
    capacities = np.array([one[1] for one in found])
    over = values >= FULL * capacities
    exhausted = np.where(over.any(axis=0), np.argmax(over, axis=0), len(grid))
    kinds = tuple(one[2] for one in found)
    return Run(folder.name, grid, values, FULL * capacities, exhausted, ("recorded",) * len(kinds), kinds)


Read = dict[tuple[str, str], dict[str, tuple[F64, F64]]]  # (instance, labels) -> name -> times in s, values


def _by_series(table: pa.Table) -> Read:
    out: Read = {}
    ordered = table.sort_by([("time_ns", "ascending")])
    keys = pc.binary_join_element_wise(ordered["instance"], ordered["labels"], ordered["name"], "\n")
    keys = keys.combine_chunks().dictionary_encode()
    places, times = keys.indices.to_numpy(), ordered["time_ns"].to_numpy() / 1e9
    values = ordered["value"].to_numpy()
    for at, key in enumerate(keys.dictionary.to_pylist()):
        instance, labels, name = key.split("\n")
        rows = places == at
        out.setdefault((instance, labels), {})[name] = times[rows], values[rows]
    return out


def _of_kind(kind: str, read: Read, grid_s: F64) -> list[tuple[F64, float, str]]:
    out = list[tuple[F64, float, str]]()
    for series in read.values():
        used, capacity = _disk(series) if kind == "disk" else _pair(series, *PAIRS[kind])
        if used is None or not np.isfinite(capacity) or not 0 < capacity < 2**60:  # an absent limit is 0 or huge
            continue
        at = np.searchsorted(used[0], grid_s, side="right") - 1
        age = grid_s - used[0][np.maximum(at, 0)]
        held = (at >= 0) & (age <= HELD_S)
        if held.sum() >= 12:
            first, last = np.flatnonzero(held)[[0, -1]]
            values = np.where(held, used[1][np.maximum(at, 0)], np.nan)
            values[:first], values[last + 1 :] = values[first], values[last]
            out.append((_filled(values), capacity, kind))
    return out


def _filled(values: F64) -> F64:
    """Gaps hold the reading before them."""
    at = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(len(values)), 0))
    return values[at]


def _pair(series: dict[str, Any], used: str, limit: str | float) -> tuple[tuple[F64, F64] | None, float]:
    if isinstance(limit, str):
        return series.get(used), float(series[limit][1][-1]) if limit in series else np.nan
    return series.get(used), limit


def _disk(series: dict[str, Any]) -> tuple[tuple[F64, F64] | None, float]:
    """What is not free, of what was free and spooled at first."""
    if SPOOL not in series or FREE not in series:
        return None, np.nan
    capacity = float(series[FREE][1][0] + series[SPOOL][1][0])
    return (series[FREE][0], capacity - series[FREE][1]), capacity
