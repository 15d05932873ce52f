"""A model as a folder: what it is, what it was made for, its files with their hashes, written and read without MLflow.

Called by training (`save`), by the live loop and `loomidi model` (`load`). In: a detector that was fitted, its
calibration. Out: `Model`, from which detectors are made as often as wanted. A folder that was changed, was made for
other features or needs what is not installed is refused, never half used. Leaves promotion to `champions`.
"""

import dataclasses
import hashlib
import importlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from loomidi.contracts.errors import EnvironmentLacks, InputError, UsageError
from loomidi.origami.features import CAUSAL, EDGE_FEATURES, SHAPE, SHAPED_FEATURES
from loomidi.origami.online.norms import NormSettings, RobustNorm
from loomidi.origami.online.seen import Detector
from loomidi.origami.online.sketches import EdgeSketch, SketchSettings
from loomidi.origami.online.trees import HalfSpaceTrees, TreesSettings
from loomidi.origami.scoring.calibrating import Calibration
from loomidi.origami.scoring.guarding import Guarded, GuardSettings
from loomidi.origami.scoring.habits import Habits, HabitSettings

FORMAT = 1
MANIFEST, STATE, CALIBRATION, REASONS = "manifest.json", "detector.bin", "calibration.npz", "reasons.npz"
GRAPH = "graph.onnx"
FLOOR = ("robust-norm", "half-space-trees", "edge-sketch", "habits")
KINDS = (*FLOOR, "graph")
_SETTINGS: dict[str, Callable[..., Any]] = {
    "robust-norm": NormSettings,
    "half-space-trees": TreesSettings,
    "edge-sketch": SketchSettings,
    "habits": HabitSettings,
}
_MADE: dict[str, Callable[[Any, int], Detector]] = {  # of settings and how many features
    "robust-norm": RobustNorm,
    "half-space-trees": HalfSpaceTrees,
    "edge-sketch": lambda settings, _: EdgeSketch(settings),
    "habits": Habits,
}


class Misfit(InputError):
    """A model that was made for something else than what is here."""


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """What a model is."""

    kind: str  # one of KINDS
    name: str  # of the registered model, such as edges
    features: tuple[str, ...]  # in the order of the matrix
    schema_hash: str  # of the schema of features
    settings: Mapping[str, Any]  # of the detector
    seed: int
    risk: float  # p-value up to which an edge may be told: the budget, as the calibration slice has it
    hubs: tuple[str, ...]  # ends that join no incidents
    made_ns: int  # since the epoch
    data: Mapping[str, Any]  # source and snapshot of what it learned from
    run: str = ""  # of MLflow
    version: str = ""  # of the registry
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)  # path within the folder -> SHA-256
    format: int = FORMAT

    @property
    def id(self) -> str:
        """By its content: two models of the same bits and origin are one."""
        plain = dataclasses.asdict(self) | {"version": ""}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """A folder that was read and found sound."""

    manifest: Manifest
    folder: Path

    def detector(self) -> Detector:
        """A fresh one that goes on from the model's state."""
        if self.manifest.kind == "graph":
            one = cast(Detector, graph_model().load(self.folder / GRAPH))
        else:
            one = blank(self.manifest.kind, len(self.manifest.features), self.manifest.settings)
        one.restore((self.folder / STATE).read_bytes())
        return one

    def calibration(self) -> Calibration:
        """The scores of usual edges."""
        one = Calibration()
        one.restore((self.folder / CALIBRATION).read_bytes())
        return one

    def guarded(self, settings: GuardSettings | None = None) -> Guarded:
        """As the live loop uses it: one that stays as it is, one that goes on learning."""
        one = Guarded(self.detector, settings)
        one.calibration = self.calibration()
        return one

    def reasons(self) -> RobustNorm:
        """Which feature is how far from usual: what explains an edge, whatever the kind of the model."""
        one = RobustNorm(features=len(self.manifest.features))
        one.restore((self.folder / REASONS).read_bytes())
        return one


@dataclasses.dataclass(frozen=True, slots=True)
class Fitted:
    """What training hands over to be saved."""

    detector: Detector  # as it was fitted; of kind graph, one that has `export(path)` too
    calibration: Calibration
    reasons: RobustNorm


def schema_hash(schema: pa.Schema) -> str:
    """SHA-256 over names, types and order of the columns of a schema of features."""
    lines = [f"{field.name} {field.type} {'null' if field.nullable else 'set'}" for field in schema]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def schema_of(features: tuple[str, ...]) -> pa.Schema:
    """The schema whose features these are. Raises Misfit."""
    known = {CAUSAL: EDGE_FEATURES, (*CAUSAL, *SHAPE): SHAPED_FEATURES}
    if features not in known:
        raise Misfit(f"{len(features)} features that this version does not tell; train the model anew")
    return known[features]


def blank(kind: str, features: int, settings: Mapping[str, Any] | None = None) -> Detector:
    """A detector of the floor that has learned nothing. Raises UsageError for what is none."""
    if kind not in FLOOR:
        raise UsageError(f"{kind!r} is no detector of the floor; there are {', '.join(FLOOR)}")
    try:
        made = _SETTINGS[kind](**(settings or {}))
    except TypeError as error:
        raise Misfit(f"settings of a {kind} that this version does not know: {error}; train the model anew") from error
    return _MADE[kind](made, features)


def save(folder: Path, manifest: Manifest, fitted: Fitted) -> Manifest:
    """Write a model; the folder is there as a whole or not at all. Returns the manifest with the files in it."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        if manifest.kind == "graph":
            cast(Any, fitted.detector).export(partial / GRAPH)
        (partial / STATE).write_bytes(fitted.detector.snapshot())
        (partial / CALIBRATION).write_bytes(fitted.calibration.snapshot())
        (partial / REASONS).write_bytes(fitted.reasons.snapshot())
        manifest = dataclasses.replace(manifest, files=_hashes(partial))
        write_manifest(partial, manifest)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put it beside its files, on the disk when it returns."""
    text = json.dumps(dataclasses.asdict(manifest), indent=1, sort_keys=True)
    partial = folder / f".{MANIFEST}.{os.getpid()}"
    with partial.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / MANIFEST)


def load(folder: Path) -> Model:
    """Read and check a model: 1 manifest, 2 format and kind, 3 files by hash, 4 features. Raises Misfit, InputError."""
    folder = folder.resolve()  # a link that is turned over meanwhile does not mix two models
    manifest = _manifest(folder)  # 1
    if manifest.format != FORMAT or manifest.kind not in KINDS:  # 2
        raise Misfit(f"{folder}: a {manifest.kind!r} in format {manifest.format}; update loomidi, or train it anew")
    found = _hashes(folder)  # 3
    for name, digest in manifest.files.items():
        if found.get(name) != digest:
            raise Misfit(f"{folder / name} is {'changed' if name in found else 'missing'}; promote the model anew")
    if set(found) - set(manifest.files):
        raise Misfit(f"{folder} holds files that its manifest does not name; promote the model anew")
    if schema_hash(schema_of(manifest.features)) != manifest.schema_hash:  # 4
        raise Misfit(f"{folder}: made for another schema of features than this version tells; train the model anew")
    return Model(manifest, folder)


def _manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        lists = {name: tuple(plain[name]) for name in ("features", "hubs")}
        return Manifest(**(plain | lists))
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = getattr(error, "strerror", None) or f"not a manifest ({error})"
        raise InputError(f"{path}: {reason}; `loomidi model promote` writes one") from error


def _hashes(folder: Path) -> dict[str, str]:
    """All files but the manifest; no links are followed out of the folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(f".{MANIFEST}"))
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path != folder / MANIFEST
    }


def graph_model() -> Any:
    """The scorer of graph models. Raises EnvironmentLacks where this installation has none."""
    try:
        return importlib.import_module("loomidi.origami.scoring").GraphModel
    except (AttributeError, ModuleNotFoundError) as error:
        raise EnvironmentLacks("graph models need onnxruntime: pip install 'loomidi[pipeline]'") from error
