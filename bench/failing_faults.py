"""Synthetic faults on real metrics: leaks of many shapes and look-alikes, over what pods of a real cluster measured.

Called by `bench.failing` until the lab's recordings are long enough. In: `ms-ddos.tar.xz`: TrainTicket on Kubernetes,
five runs of 20 to 30 minutes, each pod's memory, file system, network and CPU every 5 s. Out: `Run`s. The noise, its
steps and its bursts are real; growth, collections, rotations, jobs and capacities are drawn. A run takes its noise from
one of the recorded runs, so that a split by run splits the noise as well.
"""

import csv
import dataclasses
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
ROOT = Path(__file__).resolve().parent.parent
ARCHIVE = "ms-ddos.tar.xz"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "loomidi" / "data"
DEVELOPMENT, TEST = ("No attacks", "Slow DDoS"), ("Classic DDoS", "SYN Flood", "GET Flood")
EVERY_S = 5.0
SHARE = 0.2  # of the series that have a fault
FAULTS = ("linear", "accelerating", "slowing", "steps", "bursts", "by traffic", "under a saw")
BENIGN = ("flat", "warm-up", "saw", "rotation", "batch job", "wave", "new level")
KINDS = {"memory": "MemoryUsage", "disk": "ContainerUsage", "queue": "NetworkIO", "pool": "CPUUsage"}
_UNITS = {"kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 1e3, "mb": 1e6, "gb": 1e9, "b": 1.0, "%": 1.0, "": 1.0}
_NUMBER = re.compile(r"([-\d.]+)\s*([a-z%]*)", re.IGNORECASE)


class DataMissing(Exception):
    """The archive is not there; the message says which."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One run: series side by side."""

    name: str
    times_s: F64  # (readings,)
    values: F64  # (readings, series)
    capacities: F64  # (series,)
    exhausted: I64  # the reading at which a series reaches its capacity; the number of readings: never
    shapes: tuple[str, ...]
    kinds: tuple[str, ...]


def recorded() -> dict[str, dict[str, F64]]:
    """Of each recorded run and kind the measured series, (readings, series). Raises DataMissing."""
    folder = _unpacked()
    return {
        name: {kind: _read(folder / name / "Idle" / f"{file}.csv") for kind, file in KINDS.items()}
        for name in (*DEVELOPMENT, *TEST)
    }


def _unpacked() -> Path:
    source = Path(os.environ.get("LOOMIDI_DATA", ROOT.parent / "shared" / "data")) / ARCHIVE
    if not source.is_file():
        raise DataMissing(f"{ARCHIVE} is missing in the folder that LOOMIDI_DATA names")
    folder = CACHE / f"ms-ddos-{source.stat().st_size}"
    if not folder.is_dir():
        partial = folder.with_name(f"{folder.name}.{os.getpid()}")
        with tarfile.open(source) as packed:
            packed.extractall(partial, filter="data")
        partial.rename(folder)
    return folder / "ms-ddos"


def _read(path: Path) -> F64:
    """All columns that were measured throughout and are not nothing."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.reader(lines))
    width = len(rows[0]) - 1
    values = np.array([[_number(text) for text in row[1 : width + 1]] for row in rows[1:] if len(row) > width])
    whole = np.isfinite(values).all(axis=0) & (np.median(values, axis=0) > 0)
    return values[:, whole]


def _number(text: str) -> float:
    found = _NUMBER.fullmatch(text.strip())
    return float(found[1]) * _UNITS.get(found[2].lower(), np.nan) if found else np.nan


def runs(real: dict[str, dict[str, F64]], names: tuple[str, ...], seed: int, series: int = 60) -> list[Run]:
    """A run over each of these recorded ones."""
    return [
        _run(f"{name} {seed}", real[name], np.random.default_rng([seed, at]), series) for at, name in enumerate(names)
    ]


def _run(name: str, real: dict[str, F64], draw: np.random.Generator, series: int) -> Run:
    length = min(len(one) for one in real.values())
    times = np.arange(length) * EVERY_S
    made = [_series(real, times, draw) for _ in range(series)]
    values, capacities, shapes, kinds = zip(*made, strict=True)
    columns, capacity = np.stack(values, axis=1), np.array(capacities)
    over = columns >= capacity
    exhausted = np.where(over.any(axis=0), np.argmax(over, axis=0), length)
    return Run(name, times, np.minimum(columns, capacity), capacity, exhausted, shapes, kinds)


def _series(real: dict[str, F64], times: F64, draw: np.random.Generator) -> tuple[F64, float, str, str]:
    kind = str(draw.choice(list(KINDS)))
    noise = _noise(real[kind], len(times), kind, draw)
    base = draw.uniform(0.15, 0.55)
    if draw.random() < SHARE:
        shape = str(draw.choice(FAULTS))
        share = base + noise + _fault(shape, times, 1 - base, _noise(real["pool"], len(times), "pool", draw), draw)
    else:
        shape = str(draw.choice(BENIGN))
        share = base + noise + _benign(shape, times, 1 - base, draw)
        share = np.minimum(share, 0.97)  # what is benign is never exhausted, however noisy
    capacity = float(draw.integers(20, 200)) if kind == "pool" else float(10 ** draw.uniform(2, 9))
    values = np.maximum(share, 0.0) * capacity
    if kind in ("pool", "queue"):
        values = np.floor(values)  # pieces
    return values, capacity, shape, kind


def _noise(real: F64, length: int, kind: str, draw: np.random.Generator) -> F64:
    """What one pod measured, as shares of a capacity: memory and disk as they are, rates brought to a few percent."""
    one = real[:length, draw.integers(real.shape[1])]
    off = one / np.median(one) - 1
    if kind in ("memory", "disk"):
        return np.clip(0.4 * off, -0.1, 0.1)
    spread = np.median(np.abs(off)) + 1e-9
    return np.clip(off / spread * draw.uniform(0.003, 0.02), -0.08, 0.08)


def _fault(shape: str, times: F64, room: float, traffic: F64, draw: np.random.Generator) -> F64:
    """Growth that reaches the capacity some time after its onset, perhaps after the end of the run."""
    lasting = np.exp(draw.uniform(np.log(240.0), np.log(1800.0)))
    onset = draw.uniform(60.0, max(times[-1] - 300.0, 120.0))
    past = np.maximum(times - onset, 0.0) / lasting
    if shape == "accelerating":
        return room * past ** draw.uniform(1.6, 3.0)
    if shape == "slowing":
        return room * past ** draw.uniform(0.5, 0.8)
    if shape == "steps":
        each = draw.uniform(0.04, 0.15)
        return room * np.floor(past / each) * each
    if shape in ("bursts", "by traffic"):
        weight = draw.gamma(0.3, 1.0, len(times)) if shape == "bursts" else np.maximum(0.2 + 8 * traffic, 0.0)
        grown = np.cumsum(weight * (times > onset))
        after = min(len(times) - 1, int((onset + lasting) / EVERY_S))
        mean = max(grown[after], 1e-9) / max(min(past[after], 1.0), 1e-9)
        return room * grown / mean
    if shape == "under a saw":
        period, high = draw.uniform(40.0, 240.0), draw.uniform(0.08, 0.3) * room
        return room * past + high * ((times / period + draw.random()) % 1.0)
    return room * past


def _benign(shape: str, times: F64, room: float, draw: np.random.Generator) -> F64:
    """Growth that ends before the capacity."""
    onset, high = draw.uniform(0.0, times[-1] - 200.0), draw.uniform(0.45, 0.93) * room
    past = np.maximum(times - onset, 0.0)
    if shape == "warm-up":
        return high * (1 - np.exp(-past / draw.uniform(40.0, 400.0)))
    if shape == "saw":
        period = draw.uniform(40.0, 300.0)
        return high * ((times / period + draw.random()) % 1.0)
    if shape == "rotation":
        period = draw.uniform(180.0, 900.0)
        return high * ((times / period + draw.random()) % 1.0) ** draw.uniform(0.8, 1.2)
    if shape == "batch job":
        rises, holds = draw.uniform(30.0, 300.0), draw.uniform(60.0, 400.0)
        return high * np.clip(past / rises, 0.0, 1.0) * (past < rises + holds)
    if shape == "wave":
        return high * 0.5 * (1 + np.sin(2 * np.pi * (times / draw.uniform(300.0, 1500.0) + draw.random())))
    if shape == "new level":
        return high * (past > 0)
    return np.zeros(len(times))
