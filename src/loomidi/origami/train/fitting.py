"""One seed of one kind of model: learned from the first part of a stream, calibrated on the next, saved.

Called by `seeding`, seed by seed, here or on other machines. In: `Stream`, what is to be trained, a folder. Out:
`Trained`. The floor needs no heavy library; the graph model is trained by `origami.model` and calibrated by the scores
of its exported file, which is what will score live.
"""

import contextlib
import dataclasses
import importlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from loomidi.contracts.errors import EnvironmentLacks, UsageError
from loomidi.origami.online import Detector, RobustNorm, Seen
from loomidi.origami.scoring import Calibration, CalibrationSettings, manifests
from loomidi.origami.scoring.judging import hubs
from loomidi.origami.scoring.manifests import Fitted, Manifest, Model
from loomidi.origami.train.streams import Stream

_SEEDLESS = ("robust-norm", "habits")  # kinds without randomness: all seeds are the same


@dataclasses.dataclass(frozen=True, slots=True)
class FitSettings:
    """What is trained."""

    kind: str = "robust-norm"
    # One of robust-norm, half-space-trees, edge-sketch, habits, graph.
    name: str = "edges"
    # Of the registered model.
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    # Of the detector, by name; the rest keeps its default.
    nominal: float = 1e-3
    # p-value up to which an edge counts as strange: the rate of alarms that the calibration is held to.
    hub: float = 0.5
    # Share of all sources that talk to a hub as usual.
    calibration: CalibrationSettings = dataclasses.field(default_factory=CalibrationSettings)
    # How the slice is read.
    without: tuple[str, ...] = ()
    # Features that are held at 0: an ablation, never a model to be promoted.


@dataclasses.dataclass(frozen=True, slots=True)
class Trained:
    """One seed."""

    model: Model
    seconds: float  # of learning and calibrating
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)  # of the trainer itself


class _Exported:
    """A graph model as its file and its memory: what is saved is what was calibrated."""

    def __init__(self, path: Path, state: bytes) -> None:
        self._path, self._state = path, state

    def export(self, path: Path) -> None:
        """Copy the file."""
        shutil.copy2(self._path, path)

    def snapshot(self) -> bytes:
        """The memory of all ends, after what was learned."""
        return self._state


def fit(stream: Stream, wanted: FitSettings, seed: int, folder: Path) -> Trained:
    """Learn, calibrate, save. Raises UsageError, EnvironmentLacks where the kind needs what is not installed."""
    began = time.perf_counter()
    if wanted.kind not in manifests.KINDS:
        raise UsageError(f"no kind of model {wanted.kind!r}; there are {', '.join(manifests.KINDS)}")
    learn = blanked(stream.learnable(), stream, wanted.without)
    slice_ = blanked(stream.seen.part(stream.train, stream.calibrate), stream, wanted.without)
    settings = dict(wanted.settings) | ({} if wanted.kind in _SEEDLESS else {"seed": seed})
    reasons = RobustNorm(features=len(stream.features))
    reasons.fit(learn)
    with _learned(stream, wanted, settings, learn) as (detector, saved, metrics):
        calibration = Calibration(wanted.calibration)
        calibration.fit(detector.score(slice_, np.zeros(len(slice_), bool)))
        fitted = Fitted(saved, calibration, reasons)
        manifest = manifests.save(folder, _manifest(stream, wanted, settings, seed), fitted)
    return Trained(Model(manifest, folder), time.perf_counter() - began, metrics)


def _manifest(stream: Stream, wanted: FitSettings, settings: Mapping[str, Any], seed: int) -> Manifest:
    return Manifest(
        kind=wanted.kind,
        name=wanted.name,
        features=stream.features,
        schema_hash=manifests.schema_hash(manifests.schema_of(stream.features)),
        settings=settings,
        seed=seed,
        risk=wanted.nominal,
        hubs=tuple(sorted(hubs([stream.rows.slice(0, stream.train)], wanted.hub))),
        made_ns=time.time_ns(),
        data=stream.data,
    )


@contextlib.contextmanager
def _learned(
    stream: Stream, wanted: FitSettings, settings: Mapping[str, Any], learn: Seen
) -> Iterator[tuple[Detector, Detector, Mapping[str, float]]]:
    """What scores, what is saved, what the trainer says of itself."""
    if wanted.kind != "graph":
        detector = manifests.blank(wanted.kind, len(stream.features), settings)
        detector.fit(learn)
        before = manifests.blank(wanted.kind, len(stream.features), settings)
        before.restore(detector.snapshot())  # as it was fitted: calibrating must not leave a trace in it
        yield detector, before, {}
        return
    trained = _train_graph(stream, settings)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / manifests.GRAPH
        trained.export(path)
        metrics = {name: float(value) for name, value in dict(trained.metrics).items() if _number(value)}
        detector = manifests.graph_model().load(path)
        detector.fit(learn)
        yield detector, cast(Detector, _Exported(path, detector.snapshot())), metrics


def blanked(seen: Seen, stream: Stream, without: tuple[str, ...]) -> Seen:
    """The same with some features held at 0, so that nothing can be learned from them."""
    if not without:
        return seen
    unknown = sorted(set(without) - set(stream.features))
    if unknown:
        raise UsageError(f"no feature {unknown[0]!r}; there are {', '.join(stream.features)}")
    values = seen.values.copy()
    values[:, [stream.features.index(name) for name in without]] = 0.0
    return dataclasses.replace(seen, values=values)


def _train_graph(stream: Stream, settings: Mapping[str, Any]) -> Any:
    """By `origami.model`, the only home of torch."""
    try:
        model = importlib.import_module("loomidi.origami.model")
        make, train = model.ModelSettings, model.train
    except (ModuleNotFoundError, AttributeError) as error:
        raise EnvironmentLacks("training graph models needs torch: pip install 'loomidi[train]'") from error
    try:
        made = make(**{name: value for name, value in settings.items() if name != "seed"})
    except TypeError as error:
        raise UsageError(f"a graph model has no such setting: {error}; docs/models.md lists them") from error
    rows = stream.rows.slice(0, stream.train).filter(pa.array(stream.learnable_rows()))
    return train([rows], made, settings["seed"])


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
