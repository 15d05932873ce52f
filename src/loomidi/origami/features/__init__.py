"""What the detectors are told of each edge: one implementation for training and for live scoring.

Called by `services`, the bench and training. In: EDGES, or EDGE_WINDOWS of the loom. Out: EDGE_FEATURES or
SHAPED_FEATURES, in order of time. Leaves judging to `online` and `scoring`.
"""

from loomidi.origami.features.edges import EdgeFeatures, FeatureSettings, hashes
from loomidi.origami.features.reading import WindowFeatures, edges_of
from loomidi.origami.features.scaling import matrix
from loomidi.origami.features.schemas import CAUSAL, EDGE_FEATURES, EDGES, SHAPE, SHAPED_FEATURES

__all__ = [
    "CAUSAL",
    "EDGES",
    "EDGE_FEATURES",
    "SHAPE",
    "SHAPED_FEATURES",
    "EdgeFeatures",
    "FeatureSettings",
    "WindowFeatures",
    "edges_of",
    "hashes",
    "matrix",
]
