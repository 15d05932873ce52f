"""The graph model and its ablations as detectors of bench/anomaly_edges.py.

Called by that bench. In: its parts of the stream, a seed. Out: scores of the calibration slice and of the test.
Training needs torch (`make train-tools`); the scores are those of the exported file, by ONNX Runtime. The network
learns from the train part alone, and remembers the ends of all that came before an edge.
"""

import dataclasses
import importlib.util
import sys

import numpy as np
import numpy.typing as npt

from loomidi.origami.model import ModelSettings, learn
from loomidi.origami.online import Seen
from loomidi.origami.scoring import GraphModel

F32 = npt.NDArray[np.float32]
SETTINGS = ModelSettings(tick_s=60.0, epochs=3)  # the stream tells minutes
VARIANTS = {
    "graph model": SETTINGS,
    "graph model, zeroed memory": dataclasses.replace(SETTINGS, remember="nothing"),
    "graph model, no graph": dataclasses.replace(SETTINGS, graph=False),
}
NEEDED = ("torch", "onnx", "onnxruntime")
_SCORED: dict[tuple[str, int], tuple[F32, F32]] = {}


def lacking() -> list[str]:
    """The libraries that this environment does not have."""
    return [name for name in NEEDED if not importlib.util.find_spec(name)]


def scored(name: str, before: Seen, cut: int, test: Seen, seed: int) -> tuple[F32, F32]:
    """Scores of what follows `cut` before the test, and of the test; one training for each variant and seed."""
    if (name, seed) not in _SCORED:
        trained = learn(before, VARIANTS[name], seed)
        model = GraphModel.of(trained.data)
        model.fit(before.part(0, cut))
        _SCORED[name, seed] = model.score(before.part(cut, len(before))), model.score(test)
        told = ", ".join(f"{what} {value:.4g}" for what, value in trained.metrics.items())
        print(f"  {name}, seed {seed}: {told}", file=sys.stderr, flush=True)
    return _SCORED[name, seed]
