"""A small result from end to end on one core: `python -m loomidi.origami.model` (half a minute, needs `train`).

In: a seed. Out: on standard output how long training took, whether torch and ONNX agree, and what the scan of a made-up
stream scores. Real streams are measured by bench/anomaly_edges.py.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from loomidi.contracts.errors import LoomidiError
from loomidi.origami.model.made import stream
from loomidi.origami.model.samples import seen_of
from loomidi.origami.model.settings import ModelSettings
from loomidi.origami.model.training import train
from loomidi.origami.scoring import GraphModel


def main() -> int:
    """Train on the first 80 % of the stream, score the rest."""
    parser = argparse.ArgumentParser(description="train and score a graph model on a small made-up stream")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    batch, truth = stream(given.seed)
    cut = int(0.8 * batch.num_rows)
    settings = ModelSettings(epochs=3, tick_s=5.0, ends=1024)
    try:
        trained = train([batch.slice(0, cut)], settings, given.seed)
    except LoomidiError as error:
        print(f"model: {error}", file=sys.stderr)
        return error.exit_code
    seen = seen_of([batch], settings.hash_seed)
    with tempfile.TemporaryDirectory() as folder:
        trained.export(Path(folder) / "graph.onnx")
        model = GraphModel.load(Path(folder) / "graph.onnx")
    model.fit(seen.part(0, cut))
    scores = model.score(seen.part(cut, len(seen)))
    limit = float(np.quantile(scores[~truth[cut:]], 0.99))
    found = float(np.mean(scores[truth[cut:]] > limit))
    print(", ".join(f"{name} {value:.4g}" for name, value in trained.metrics.items()))
    print(f"of the scan's edges {found:.0%} score above 99 % of the usual ones; schema {model.card.schema[:12]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
