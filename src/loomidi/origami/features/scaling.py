"""Features as the matrix that detectors and models work on.

Called by `online`, `scoring`, training and the bench. In: batches of EDGE_FEATURES or SHAPED_FEATURES. Out: float32,
one row an edge, log1p of each value: counts and gaps span six powers of ten. Centre and scale are left to the
detectors, which learn them.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loomidi.origami.features.schemas import CAUSAL, SHAPE


def matrix(batch: pa.RecordBatch) -> npt.NDArray[np.float32]:
    """All features of a batch in the order of its schema."""
    names = [name for name in (*CAUSAL, *SHAPE) if name in batch.schema.names]
    out = np.empty((batch.num_rows, len(names)), np.float32)
    for at, name in enumerate(names):
        np.log1p(batch.column(name).to_numpy(), out=out[:, at])
    return out
