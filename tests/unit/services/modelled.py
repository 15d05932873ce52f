"""Trained models on windows of a made-up shop, as `loomidi model` leaves them: one that fits, one that does not.

Read by tests of the live loop. No MLflow: folders are written as training writes them.
"""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from loomidi.origami.features import CAUSAL, SHAPE, SHAPED_FEATURES, WindowFeatures, matrix
from loomidi.origami.online import RobustNorm, Seen
from loomidi.origami.scoring import Calibration, Manifest, Model, Shelf, manifests
from loomidi.origami.scoring.manifests import Fitted
from tests.unit.origami.shops import Shop

TICKS = 200  # of windows that they learn from, half of them to calibrate by
FEATURES = (*CAUSAL, *SHAPE)


def seen_of(batches: list[pa.RecordBatch]) -> Seen:
    """All as one."""
    rows = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
    nobody = np.zeros(len(rows), np.uint64)
    return Seen(np.arange(len(rows), dtype=np.int64), nobody, nobody, matrix(rows))


def trained(folder: Path, *, seed: int = 1, scale: float = 1.0, scores: float = 1.0) -> Model:
    """A robust norm; with a `scale` other than 1 its features are another world's, `scores` spoils its calibration."""
    features = WindowFeatures()
    told = [features.feed(window) for window in Shop(seed=seed).windows(TICKS)]
    first, rest = seen_of(told[: TICKS // 2]), seen_of(told[TICKS // 2 :])
    first = Seen(first.times_ns, first.sources, first.destinations, first.values * np.float32(scale))
    norm, calibration = RobustNorm(features=len(FEATURES)), Calibration()
    norm.fit(first)
    calibration.fit(norm.score(rest) * np.float32(scores))
    digest = manifests.schema_hash(SHAPED_FEATURES)
    about = {"name": "edges", "features": FEATURES, "schema_hash": digest, "settings": {}, "seed": seed}
    manifest = Manifest(
        kind="robust-norm", risk=1e-3, hubs=(), made_ns=time.time_ns(), data={"source": "test"}, **about
    )
    return Model(manifests.save(folder, manifest, Fitted(norm, calibration, norm)), folder)


def shelf_of(state: Path) -> Shelf:
    """A shelf whose champion alarms at everything, and before it one that fits."""
    shelf = Shelf(state / "models")
    shelf.put(trained(state / "good"), "a test: it fits")
    shelf.put(trained(state / "bad", scores=0.01), "a test: it fits nothing")
    return shelf
