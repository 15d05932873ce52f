"""What snapshots usually look like: learned from past windows once, then asked about any snapshot, by anybody.

Called by `services.transformer_api`. In: EDGE_WINDOWS of the past; later those of one snapshot, or a metrics vector.
Out: p-values with the features that they rest on. What is asked about is never learned: whoever may ask could teach
otherwise. The first part of the past is learned from, the rest sets the scale of the p-values.
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loomidi.contracts.errors import EnvironmentLacks, InputError, UsageError
from loomidi.origami.features.snapshots import SNAPSHOT, VECTOR, edge_values, pairs, vector_values, vectors
from loomidi.origami.online.norms import RobustNorm
from loomidi.origami.online.seen import Seen, packed, unpacked
from loomidi.origami.scoring.calibrating import Calibration, CalibrationSettings

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Contributions = tuple[tuple[str, float, float, float], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ReferenceSettings:
    """How much of the past is needed, and how it is parted."""

    learned: float = 0.6
    # Share of the windows that is learned from; the later ones set the scale of the p-values.
    edges: CalibrationSettings = dataclasses.field(default_factory=CalibrationSettings)
    # Of the edges: a thousand in the later windows at least.
    windows: CalibrationSettings = dataclasses.field(default_factory=lambda: CalibrationSettings(least=30, tail=0.9))
    # Of whole snapshots: with fewer windows metrics vectors are not judged.
    pairs: int = 1_000_000
    # Who talks to whom, remembered; 8 octets each.
    told: int = 5
    # Features that are named as the reason.


@dataclasses.dataclass(frozen=True, slots=True)
class Strange:
    """How strange one thing is."""

    p_value: float  # how often a usual one is as strange; 0..1
    contributions: Contributions  # feature, share of the score, its value, its usual value; the greatest first


class Reference:
    """Of one installation. `fit` or `load` first."""

    def __init__(self, settings: ReferenceSettings | None = None) -> None:
        self.settings = settings or ReferenceSettings()
        self._edges = RobustNorm(features=len(SNAPSHOT)), Calibration(self.settings.edges)
        self._whole = RobustNorm(features=len(VECTOR)), Calibration(self.settings.windows)
        self._known = np.zeros(0, np.uint64)
        self._facts: dict[str, int] = {"from_ns": 0, "until_ns": 0, "edges": 0, "windows": 0, "vectors": 0}
        self.id = ""

    def fit(self, windows: pa.RecordBatch) -> None:
        """From windows of one size, aligned. Raises UsageError when they are too few, saying how many are needed."""
        at: I64 = windows.column("window_end").cast(pa.int64()).to_numpy()
        moments = np.unique(at)
        if len(moments) < 2:
            raise UsageError(f"{len(moments)} windows with traffic are too few to learn from; let the pipeline run on")
        since = moments[min(int(len(moments) * self.settings.learned), len(moments) - 1)]
        past, later = (windows.filter(pa.array(which)) for which in (at < since, at >= since))
        self._known = np.unique(pairs(past))[: self.settings.pairs]
        self._learn(*self._edges, edge_values(past, self._known), edge_values(later, self._known))
        whole = vectors(past), vectors(later)
        judged = len(whole[1]) >= self.settings.windows.least
        if judged:
            self._learn(*self._whole, *whole)
        times = {"from_ns": int(moments[0]), "until_ns": int(moments[-1])}
        counts = {"edges": windows.num_rows, "windows": len(moments), "vectors": int(judged)}
        self._facts = times | counts
        self.id = self._identity()

    @property
    def facts(self) -> dict[str, Any]:
        """What it was learned from."""
        return {"id": self.id, **self._facts}

    @property
    def judges_vectors(self) -> bool:
        """Whether there were windows enough for that."""
        return bool(self._facts["vectors"])

    def edges(self, windows: pa.RecordBatch) -> tuple[F64, list[Contributions]]:
        """p-values of all edges of a snapshot, and the reasons of each."""
        values = edge_values(windows, self._known)
        norm, calibration = self._edges
        return calibration.p_values(norm.score(_seen(values))), self._reasons(norm, values, SNAPSHOT)

    def vector(self, numbers: list[float]) -> Strange:
        """Of a snapshot as a whole, in the order of VECTOR. Raises UsageError where vectors are not judged."""
        if not self.judges_vectors or len(numbers) != len(VECTOR):
            raise UsageError(f"a metrics vector needs {len(VECTOR)} numbers, and a reference of more windows")
        norm, calibration = self._whole
        values = vector_values(np.array([numbers], np.float64))
        p_value = float(calibration.p_values(norm.score(_seen(values)))[0])
        return Strange(p_value, self._reasons(norm, values, VECTOR)[0])

    def snapshot(self) -> bytes:
        """Everything, without the id, which follows from it."""
        states = {name: np.frombuffer(part.snapshot(), np.uint8) for name, part in self._parts().items()}
        facts = np.frombuffer(json.dumps(self._facts).encode(), np.uint8)
        return packed({**states, "known": self._known, "facts": facts})

    def save(self, path: Path) -> None:
        """Whole or not at all. Raises EnvironmentLacks."""
        aside = path.with_suffix(".new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as file:
                file.write(self.snapshot())
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except OSError as error:
            raise EnvironmentLacks(f"{path}: {error.strerror}; name a state folder that can be written") from error

    @classmethod
    def load(cls, path: Path, settings: ReferenceSettings | None = None) -> "Reference":
        """Raises InputError for a file that is none."""
        try:
            state = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; remove it, and it is learned anew") from error
        made = cls(settings)
        like: dict[str, npt.NDArray[Any]] = dict.fromkeys((*made._parts(), "facts"), np.zeros(0, np.uint8))
        kept = unpacked(state, {**like, "known": made._known})
        for name, part in made._parts().items():
            part.restore(kept[name].tobytes())
        made._known = kept["known"]
        made._facts = {name: int(value) for name, value in json.loads(kept["facts"].tobytes()).items()}
        made.id = made._identity()
        return made

    def _identity(self) -> str:
        """Of what it was learned from and what came of it."""
        parts = (self._known, self._edges[0].middle, self._whole[0].middle)
        content = b"".join(part.tobytes() for part in parts) + json.dumps(self._facts, sort_keys=True).encode()
        return f"reference-{hashlib.sha256(content).hexdigest()[:16]}"

    def _learn(self, norm: RobustNorm, calibration: Calibration, past: F32, later: F32) -> None:
        norm.fit(_seen(past))
        calibration.fit(norm.score(_seen(later)))

    def _reasons(self, norm: RobustNorm, values: F32, names: tuple[str, ...]) -> list[Contributions]:
        off = norm.deviations(values)
        shares = off / np.maximum(off.sum(axis=1, keepdims=True), 1e-12)
        order = np.argsort(-shares, axis=1, kind="stable")[:, : self.settings.told]
        plain, usual = np.expm1(values), np.expm1(norm.middle)
        return [
            tuple((names[at], _told(shares[row, at]), _told(plain[row, at]), _told(usual[at])) for at in order[row])
            for row in range(len(values))
        ]

    def _parts(self) -> dict[str, RobustNorm | Calibration]:
        return dict(
            zip(("norm", "calibration", "whole", "whole_calibration"), (*self._edges, *self._whole), strict=True)
        )


def _told(value: Any) -> float:
    return float(f"{float(value):.4g}")


def _seen(values: F32) -> Seen:
    """A norm looks at nothing but the values."""
    none = np.zeros(len(values), np.uint64)
    return Seen(none.astype(np.int64), none, none, values)
