"""Streams of edges with known incidents, for tests of a model's life: the same seed, the same rows."""

import numpy as np
import pyarrow as pa

from loomidi.origami.features import CAUSAL, EDGE_FEATURES
from loomidi.origami.train import Stream, StreamSettings, stream_of

START = 1_700_000_000 * 10**9
SECOND = 10**9
MINUTE = 60 * SECOND
COUNT = 36_000  # edges, a second apart


def table(incidents: int = 20, seed: int = 0, *, labelled: bool = True, drift: float = 0.0) -> pa.Table:
    """Rows of features that are alike, an edge a second; in the last third incidents of five edges that are not."""
    rng = np.random.default_rng(seed)
    values = rng.exponential(size=(COUNT, len(CAUSAL)))
    values[2 * COUNT // 3 :] *= 1 + drift
    label = np.full(COUNT, "-", object)
    every = COUNT // 4 // max(incidents, 1)
    for number in range(incidents):
        at = slice(COUNT * 3 // 4 + number * every, COUNT * 3 // 4 + number * every + 5)
        values[at, :8] *= 40.0
        label[at] = ("scan", "lateral")[number % 2]
    client = rng.integers(0, 12, COUNT)
    columns = {
        "time": pa.array(START + np.arange(COUNT) * SECOND).cast(EDGE_FEATURES.field("time").type),
        "source": [f"deployment/shop/part-{one}" for one in client],
        "destination": [f"deployment/shop/part-{(one * 5 + 1) % 12}" for one in client],
        "weight": pa.array(np.ones(COUNT, np.uint32)),
        **{name: pa.array(values[:, at].astype(np.float32)) for at, name in enumerate(CAUSAL)},
    }
    return pa.table(columns | ({"label": pa.array(label.tolist())} if labelled else {}))


def stream(incidents: int = 20, *, labelled: bool = True, drift: float = 0.0, seed: int = 0) -> Stream:
    """The same, ready to be learned from; incidents are ten minutes apart at least."""
    rows = table(incidents, seed, labelled=labelled, drift=drift)
    return stream_of(rows, {"source": "test", "snapshot": "sha256:0"}, StreamSettings(gap_s=120.0))
