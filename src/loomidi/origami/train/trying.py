"""A model tried on the test part of a stream, tick by tick as it would have come: scores, times, broken promises.

Called by `promoting`, `seeding` and `services.anomalies.modelling`. In: `Model`, `Stream`. Out: `Trial`. Each tick is
scored with what came before it alone, then learned from as the live loop does. What a model must keep to is counted,
never mended.
"""

import dataclasses
import itertools
import time
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from loomidi.origami.online import Detector, Seen
from loomidi.origami.scoring.manifests import Model
from loomidi.origami.train.streams import Stream

F64 = npt.NDArray[np.float64]
_PROBE = 4096  # rows that are scored in one piece and in several
_PIECES = 7
PROMISES = ("schema", "length", "not a number", "order")


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """One model over the test part of one stream."""

    strange: F64  # -log10 of the p-value of each edge
    latencies_ms: F64  # of each tick
    broken: Mapping[str, int]  # promise -> how often
    before: F64 = dataclasses.field(default_factory=lambda: np.zeros(0))  # the same of the calibration slice
    apart: float = 0.0  # share of the strange edges that only the frozen or only the learning one finds

    def alarms(self, nominal: float) -> npt.NDArray[np.bool_]:
        """Edges whose p-value is at most this."""
        told: npt.NDArray[np.bool_] = self.strange >= -np.log10(nominal)
        return told


def try_out(model: Model, stream: Stream) -> Trial:
    """Score the test part. A model for other features is not scored at all: everything about it is then undefined."""
    broken = dict.fromkeys(PROMISES, 0)
    count = len(stream.seen) - stream.calibrate
    if model.manifest.features != stream.features:
        broken["schema"] = 1
        return Trial(np.full(count, np.nan), np.zeros(0), broken)
    guarded = model.guarded()
    passed = [
        _strange(guarded.p_values(stream.seen.part(start, stop)))  # what passed since it was fitted
        for start, stop in stream.ticks(stream.train, stream.calibrate)
    ]
    guarded.counts = dict.fromkeys(guarded.counts, 0)
    out, latencies = np.full(count, np.nan), list[float]()
    for start, stop in stream.ticks(stream.calibrate, len(stream.seen)):
        part = stream.seen.part(start, stop)
        began = time.perf_counter()
        p_values = guarded.p_values(part)
        latencies.append((time.perf_counter() - began) * 1e3)
        if len(p_values) != stop - start:
            broken["length"] += 1
            continue
        sound = np.isfinite(p_values) & (p_values >= 0) & (p_values <= 1)
        broken["not a number"] += int(np.sum(~sound))
        out[start - stream.calibrate : stop - stream.calibrate] = np.where(sound, _strange(p_values), np.nan)
    broken["order"] = _by_cut(model, stream)
    return Trial(out, np.array(latencies), broken, np.concatenate(passed), guarded.apart)


def _strange(p_values: F64) -> F64:
    told: F64 = -np.log10(np.maximum(p_values, 1e-300))
    return told


def _by_cut(model: Model, stream: Stream) -> int:
    """Edges that score otherwise when the stream is cut otherwise, over the first rows of the test."""
    stop = min(stream.calibrate + _PROBE, len(stream.seen))
    edges = np.linspace(stream.calibrate, stop, _PIECES + 1).astype(int).tolist()
    whole, pieces = model.detector(), model.detector()
    one = _scored(whole, stream.seen.part(stream.calibrate, stop))
    parts = [_scored(pieces, stream.seen.part(a, b)) for a, b in itertools.pairwise(edges) if b > a]
    other = np.concatenate(parts)
    return int(np.sum(one != other)) if len(one) == len(other) else len(one)


def _scored(detector: Detector, seen: Seen) -> npt.NDArray[np.float32]:
    return detector.score(seen, np.zeros(len(seen), bool))
