"""How each edge of a snapshot looks in it, and how the snapshot looks as a whole.

Called by `scoring.references` for past windows and for what is asked about: one implementation for both. In:
EDGE_WINDOWS; each window is a snapshot of its own, for nothing is known here of what came before it. Out: float32,
log1p of plain numbers. Leaves what is usual to `scoring`.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from loomidi.garden.graph.columns import joined
from loomidi.origami.features.edges import hashes
from loomidi.origami.features.reading import edges_of, shapes
from loomidi.origami.features.schemas import SHAPE

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
U64 = npt.NDArray[np.uint64]

SNAPSHOT = (
    *SHAPE,
    "flows",  # of the edge
    "fan_out",  # different destinations of its source in the snapshot
    "fan_in",  # different sources of its destination
    "ports",  # different ports of the destination that the source talks to
    "first_seen",  # 1: this source was never seen with this destination and port in what was learned from
)
"""What is told of an edge, in the order of the columns."""

VECTOR = (
    "edges",
    "sources",
    "destinations",
    "flows",
    "packets",
    "octets",
    "reverse_packets",
    "reverse_octets",
    "unanswered_ratio",
    "reset_ratio",
    "refused_ratio",
    "new_peers",
)
"""What is told of a snapshot as a whole: the order of a metrics vector."""


def ends(windows: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    """Source and destination of each edge: the workload, else the entity, else the network of the address."""
    edges = edges_of(windows)
    return edges.column("source"), edges.column("destination")


def pairs(windows: pa.RecordBatch) -> U64:
    """A number for who talks to whom on which port."""
    source, destination = (hashes(end, 0) for end in ends(windows))
    return joined(source, destination, _plain(windows, "destination_transport_port"))


def edge_values(windows: pa.RecordBatch, known: U64) -> F32:
    """One row an edge, one column for each of SNAPSHOT. `known`: pairs that were seen before, sorted."""
    source, destination = (hashes(end, 0) for end in ends(windows))
    at = _plain(windows, "window_end")
    from_, to = joined(at, source), joined(at, destination)
    port = _plain(windows, "destination_transport_port")
    numbers = [
        _plain(windows, "delta_flow_count"),
        _different(from_, destination),
        _different(to, source),
        _different(joined(from_, destination), port.astype(np.uint64)),
        ~np.isin(pairs(windows), known, assume_unique=False),
    ]
    out = np.concatenate([shapes(windows), np.stack([one.astype(np.float32) for one in numbers])])
    return np.ascontiguousarray(np.log1p(np.maximum(out, 0.0, out=out)).T)


def vectors(windows: pa.RecordBatch) -> F32:
    """One row a window, in order of time, one column for each of VECTOR."""
    at = _plain(windows, "window_end")
    moments, place = np.unique(at, return_inverse=True)
    source, destination = (hashes(end, 0) for end in ends(windows))

    def total(name: str) -> F64:
        return np.bincount(place, _plain(windows, name).astype(np.float64), len(moments)).astype(np.float64)

    flows = np.maximum(total("delta_flow_count"), 1.0)
    completed = np.maximum(total("original_flows_completed"), 1.0)
    columns = [
        np.bincount(place, minlength=len(moments)),
        _of_windows(place, source, len(moments)),
        _of_windows(place, destination, len(moments)),
        total("delta_flow_count"),
        *(total(f"{back}{what}_delta_count") for back in ("", "reverse_") for what in ("packet", "octet")),
        total("unanswered_flow_count") / completed,
        total("reset_flow_count") / flows,
        total("refused_flow_count") / flows,
        np.bincount(place, windows.column("new_peer").cast(pa.float64()).to_numpy(), len(moments)),
    ]
    return vector_values(np.stack(columns, axis=1))


def vector_values(plain: npt.NDArray[np.float64]) -> F32:
    """Plain numbers, one row a snapshot, as they are compared."""
    return np.log1p(np.maximum(plain, 0.0)).astype(np.float32)


def _of_windows(place: npt.NDArray[np.intp], member: U64, count: int) -> F64:
    """How many different members each window has."""
    _, first = np.unique(joined(place, member), return_index=True)
    return np.bincount(place[first], minlength=count).astype(np.float64)


def _different(group: U64, member: U64) -> F64:
    """For each row: how many different members its group has."""
    _, first = np.unique(joined(group, member), return_index=True)
    groups, counts = np.unique(group[first], return_counts=True)
    return counts[np.searchsorted(groups, group)].astype(np.float64)


def _plain(windows: pa.RecordBatch, name: str) -> npt.NDArray[np.int64]:
    values: npt.NDArray[np.int64] = pc.fill_null(windows.column(name).cast(pa.int64()), 0).to_numpy()
    return values
