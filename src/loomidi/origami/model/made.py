"""A small stream of edges that is made up: services that talk to their usual peers, and one scan at the end.

Called by `python -m loomidi.origami.model` and the tests. In: a seed. Out: EDGE_FEATURES and which edges are of the
scan. It shows that training, export and scoring work; it says nothing about how good a model is on real traffic.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loomidi.origami.features import EDGES, EdgeFeatures, FeatureSettings

TICK_NS = 5 * 10**9
_START = 1_700_000_000 * 10**9
_SCAN = 0.9  # of the time, after which it begins
_FEATURES = FeatureSettings(pairs=1 << 14, ends=1 << 12)


def stream(seed: int, workloads: int = 40, ticks: int = 600) -> tuple[pa.RecordBatch, npt.NDArray[np.bool_]]:
    """Ticks of five seconds with about one edge for each workload."""
    random = np.random.default_rng(seed)
    peers = random.integers(0, workloads, (workloads, 3))
    rates = random.uniform(0.2, 2.0, workloads)
    counts = random.poisson(rates, (ticks, workloads))
    tick, source = (np.repeat(one.ravel(), counts.ravel()) for one in np.indices(counts.shape))
    destination = peers[source, random.integers(0, 3, len(source))]
    scan = np.arange(int(_SCAN * ticks), int(_SCAN * ticks) + 3)
    tick = np.concatenate([tick, np.repeat(scan, workloads)])
    source = np.concatenate([source, np.zeros(3 * workloads, np.int64)])
    destination = np.concatenate([destination, np.tile(np.arange(workloads), 3)])
    order = np.argsort(tick, kind="stable")
    truth = (np.arange(len(tick)) >= len(tick) - 3 * workloads)[order]
    names = np.array([f"deployment/shop/{number}" for number in range(workloads)])
    columns = [
        pa.array(_START + tick[order] * TICK_NS, pa.timestamp("ns", "UTC")),
        pa.array(names[source[order]]),
        pa.array(names[destination[order]]),
        pa.array(np.ones(len(order), np.uint32)),
    ]
    return EdgeFeatures(_FEATURES).feed(pa.RecordBatch.from_arrays(columns, schema=EDGES)), truth
