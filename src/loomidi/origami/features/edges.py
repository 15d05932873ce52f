"""Causal features of edges: how usual this edge, its source and its destination are by all that came before.

Called by training and by live scoring, which use this one implementation. In: batches of EDGES in order of time. Out:
EDGE_FEATURES. How the stream is cut into batches makes no difference to any bit, nor does a snapshot in between. Memory
is fixed: the least recently seen makes room and is counted. The counting is done in bpf/edges.c.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loomidi.contracts.errors import InputError
from loomidi.origami import native
from loomidi.origami.features.schemas import CAUSAL, EDGE_FEATURES, EDGES


@dataclasses.dataclass(frozen=True, slots=True)
class FeatureSettings:
    """How much is remembered."""

    pairs: int = 1 << 18
    # Edges remembered, 200 octets each: 52 MB. A cluster of 5,000 workloads has about 50,000.
    ends: int = 1 << 16
    # Sources, and as many destinations, 344 octets each: 45 MB in all.
    horizon_s: float = 86_400.0
    # The longest gap that is told, also where there was no edge before: a day is for ever, here.
    seed: int = 0
    # Of the hash of names. A snapshot fits only the seed that it was made with.

    def native(self) -> native.EdgesSettings:
        """As C takes them."""
        return native.EdgesSettings(int(self.horizon_s * 1e9), self.pairs, self.ends)


class EdgeFeatures:
    """The memory from which features are told."""

    schema = EDGE_FEATURES

    def __init__(self, settings: FeatureSettings | None = None) -> None:
        self.settings = settings or FeatureSettings()
        self._counter = native.Counter("edges", self.settings.native())

    def feed(self, edges: pa.RecordBatch) -> pa.RecordBatch:
        """The features of each edge, from those before it and itself. A time before the latest counts as the latest."""
        return self.feed_keyed(edges, self.keys(edges))

    def feed_keyed(self, edges: pa.RecordBatch, keys: Mapping[str, native.U64]) -> pa.RecordBatch:
        """The same with the `keys` of this batch, where somebody else needs them too."""
        if edges.schema.names != EDGES.names:
            raise InputError(
                f"edges need the columns {', '.join(EDGES.names)}; there are {', '.join(edges.schema.names)}"
            )
        times = edges.column("time").cast(pa.int64()).to_numpy()
        columns = self.columns(times, keys["source"], keys["destination"], edges.column("weight").to_numpy())
        return pa.RecordBatch.from_arrays([*edges.columns, *map(pa.array, columns)], schema=EDGE_FEATURES)

    def columns(
        self,
        times_ns: npt.NDArray[np.int64],
        sources: native.U64,
        destinations: native.U64,
        weights: npt.NDArray[np.uint32],
    ) -> native.F32:
        """As arrays: one row for each of `CAUSAL`, one column for each edge."""
        out = np.empty((len(CAUSAL), len(times_ns)), np.float32)
        given = (times_ns, sources, destinations, weights)
        self._counter.run("feed", len(times_ns), *map(np.ascontiguousarray, given), out)
        return out

    def keys(self, edges: pa.RecordBatch) -> dict[str, native.U64]:
        """The two ends of each edge as numbers."""
        return {end: hashes(edges.column(end), self.settings.seed) for end in ("source", "destination")}

    @property
    def counts(self) -> dict[str, int]:
        """Edges, late ones, what is remembered, what was forgotten because memory is bounded."""
        return native.edges_counts(self._counter)

    def snapshot(self) -> bytes:
        """Everything that is remembered."""
        return self._counter.save()

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot` that was made with the same settings. Raises InputError where it does not fit."""
        self._counter.load(state)


def hashes(column: pa.Array, seed: int) -> native.U64:
    """A seeded 64-bit number for each text of any length."""
    if pa.types.is_dictionary(column.type):
        each: native.U64 = hashes(column.dictionary, seed)[column.indices.to_numpy()]
        return each
    if not len(column):
        return np.zeros(0, np.uint64)
    _, offsets, data = column.cast(pa.utf8()).buffers()
    at = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    octets = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(1, np.uint8)
    return native.hashed_texts(at, octets, seed)
