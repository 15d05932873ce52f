"""Training of a graph model: from edges that are held to be usual to one file that scores without torch.

Called by `origami.train`, the bench and `python -m loomidi.origami.model`. In: batches of EDGE_FEATURES or
SHAPED_FEATURES, settings, a seed. Out: `TrainedModel`. torch is imported when a training begins. Experiments,
registries and gates are left to `origami.train`.
"""

import dataclasses
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from loomidi.contracts.errors import EnvironmentLacks, UsageError
from loomidi.origami.features import CAUSAL, SHAPE
from loomidi.origami.model.samples import Heads, metered, parted, seen_of
from loomidi.origami.model.settings import ModelSettings
from loomidi.origami.online.seen import Seen
from loomidi.origami.scoring.calibrating import Calibration, CalibrationSettings
from loomidi.origami.scoring.cards import ATTACK, FORECAST, Card
from loomidi.origami.scoring.graphs import GraphModel

_KEPT = 20_000  # scores in the calibration table of a file: 107 kB
_LEAST = 1000  # edges, to learn from and to calibrate on


@dataclasses.dataclass(frozen=True, slots=True)
class TrainedModel:
    """What a training gives."""

    data: bytes  # the ONNX file, with its card and calibration as metadata
    card: Card
    metrics: dict[str, float]  # what was met on the way; `seconds` is CPU time
    module: Any  # the torch module behind it: the plain path of tests

    def export(self, path: Path) -> None:
        """Write the file. Raises UsageError when it cannot be written."""
        try:
            Path(path).write_bytes(self.data)
        except OSError as error:
            raise UsageError(f"the model cannot be written to {path}: {error.strerror}; name another file") from error


def train(
    batches: Iterable[pa.RecordBatch], settings: ModelSettings, seed: int, nodes: Iterable[pa.RecordBatch] = ()
) -> TrainedModel:
    """Learn from the first ticks, calibrate on the last. Raises UsageError when there are too few edges.

    A column `attack` (true, false) in the batches trains the supervised head beside. `nodes` (time, end, and a number
    in each further column: a metric of that node or workload) train the forecast.
    """
    every = list(batches)
    if not every:
        raise UsageError("there is nothing to train on: no batch was given; give edges of at least a day")
    labels = None
    if "attack" in every[0].schema.names:
        labels = np.concatenate([batch.column("attack").to_numpy(zero_copy_only=False) for batch in every]).astype(bool)
    metrics = list(nodes)
    names = tuple(name for name in metrics[0].schema.names if name not in ("time", "end")) if metrics else ()
    seen = seen_of(every, settings.hash_seed)
    return learn(
        seen, settings, seed, heads=Heads(labels, metered(metrics, names, settings) if metrics else None, names)
    )


def learn(seen: Seen, settings: ModelSettings, seed: int, *, heads: Heads | None = None) -> TrainedModel:
    """The same from edges as detectors see them. Raises EnvironmentLacks without torch, UsageError without `device`."""
    settings.check()
    features = {len(CAUSAL): CAUSAL, len(CAUSAL) + len(SHAPE): (*CAUSAL, *SHAPE)}.get(seen.values.shape[1])
    if features is None:
        raise UsageError(
            f"edges have {len(CAUSAL)} features, or those and {len(SHAPE)} of shape, not {seen.values.shape[1]}"
        )
    first, last = halves(seen, settings)
    if heads and heads.labels is not None:
        parted(seen, heads.labels)  # said before the minutes of a training
    began = time.process_time()
    try:
        from loomidi.origami.model import exporting, learning, steps
    except ImportError as error:
        raise EnvironmentLacks("a graph model is trained with torch: pip install 'loomidi[train]'") from error
    learning.available(settings.device)
    learner = learning.Learner(first, settings, seed)
    network = learner.learn()
    card = carded(settings, features, (learner.middle, learner.spread), seed)
    card = (
        dataclasses.replace(card, metrics=heads.metrics, horizons_s=settings.horizons_s)
        if heads and heads.nodes
        else card
    )
    step = steps.ScoreStep(network)
    graph = exporting.exported(step, shapes(card, step.inputs), step.outputs)
    plain = exporting.described(graph, card.metadata(Calibration().snapshot(), {}))
    graphs, found = further(network, GraphModel.of(plain), seen, settings, heads or Heads())
    calibration, told = calibrated(GraphModel.of(plain), first, last)
    data = exporting.described(graph, card.metadata(calibration.snapshot(), graphs))
    metrics = {**learner.metrics, **told, **found, "seconds": time.process_time() - began}
    return TrainedModel(data, card, metrics, step)


def further(
    network: Any, model: GraphModel, seen: Seen, settings: ModelSettings, heads: Heads
) -> tuple[dict[str, bytes], dict[str, float]]:
    """The heads that there are labels or metrics for, as ONNX by name; and how good they are."""
    from loomidi.origami.model import attacks, exporting, forecasting

    graphs, told = dict[str, bytes](), dict[str, float]()
    if heads.nodes is not None:
        forecast, found = forecasting.forecasting(model, seen, heads.nodes, settings, model.card.seed)
        many = {"memory": (model.card.width,), "metrics": (len(heads.metrics),)}
        graphs[FORECAST], told = exporting.exported(forecast, many, forecast.outputs), told | found
    if heads.labels is not None:
        attack, found = attacks.supervised(network, model, seen, heads.labels, model.card.seed)
        graphs[ATTACK] = exporting.exported(attack, shapes(model.card, attack.inputs), attack.outputs)
        told = told | found
    return {name: exporting.described(data, {}) for name, data in graphs.items()}, told


def halves(seen: Seen, settings: ModelSettings) -> tuple[Seen, Seen]:
    """What is learned from and what is calibrated on, cut between two ticks."""
    times = np.maximum.accumulate(seen.times_ns) // int(settings.tick_s * 1e9)
    starts = np.flatnonzero(np.diff(times, prepend=-1))
    cut = int(starts[int(len(starts) * (1 - settings.calibrate))]) if len(starts) else 0
    if min(cut, len(seen) - cut) < _LEAST:
        raise UsageError(
            f"{cut} edges to learn from and {len(seen) - cut} to calibrate on are too few; give {_LEAST} of each"
        )
    return seen.part(0, cut), seen.part(cut, len(seen))


def carded(settings: ModelSettings, features: tuple[str, ...], scale: tuple[Any, Any], seed: int) -> Card:
    """What the file will say of itself."""
    return Card(
        features=features,
        middle=tuple(scale[0].tolist()),
        spread=tuple(scale[1].tolist()),
        members=settings.members,
        width=settings.members * settings.dim,
        tick_s=settings.tick_s,
        horizon_s=settings.horizon_s,
        ends=settings.ends,
        remember=settings.remember,
        fading=settings.fading,
        gate=settings.gate,
        graph=settings.graph,
        hash_seed=settings.hash_seed,
        seed=seed,
    )


def shapes(card: Card, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Of inputs of exported graphs: by name what follows the first dimension."""
    features = len(card.features)
    wide = {"values": (features,), "memory": (card.width,), "past": (2 * features,), "age": (2,), "news": (features,)}
    return {name: wide.get(name, ()) for name in names}


def calibrated(model: GraphModel, first: Seen, last: Seen) -> tuple[Calibration, dict[str, float]]:
    """What was exported, scored by the runtime that will: p-values by the slice that was kept back."""
    model.fit(first)
    scores = model.score(last)
    calibration = Calibration(CalibrationSettings(kept=_KEPT))
    calibration.fit(scores)
    told = {f"score_{name}": float(np.quantile(scores, at)) for name, at in (("median", 0.5), ("p999", 0.999))}
    return calibration, {"calibrated": float(len(last)), "ends_remembered": float(model.remembered["ends"]), **told}
