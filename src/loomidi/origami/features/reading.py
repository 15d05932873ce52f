"""Windows of the loom as edges between workloads, and how each window looks in itself.

Called by training and live scoring. In: EDGE_WINDOWS of one size. Out: EDGES in order of time,
and the columns of `SHAPE`. An end is its workload; where none is known, the network of its address, so that neither a
rollout nor a new address is news. What came before is left to `edges`.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts.errors import InputError
from loomidi.garden.graph.columns import networks, texts
from loomidi.origami.features.edges import EdgeFeatures, FeatureSettings
from loomidi.origami.features.schemas import EDGES, SHAPE, SHAPED_FEATURES

F32 = npt.NDArray[np.float32]
_ADDRESS = r"^([0-9]{1,3}\.){3}[0-9]{1,3}$|^[0-9a-fA-F:]*:[0-9a-fA-F:.]*$"
_NETWORK = 0  # of LEVELS: /24, /64


class WindowFeatures:
    """Features of EDGE_WINDOWS: causal ones by workload, then shape."""

    schema = SHAPED_FEATURES

    def __init__(self, settings: FeatureSettings | None = None) -> None:
        self.edges = EdgeFeatures(settings)

    def feed(self, windows: pa.RecordBatch) -> pa.RecordBatch:
        """Aligned rows of one size in order of time; out come rows by end of window, source, destination."""
        kinds = windows.select(["window_size_s", "window_aligned"])
        if len(kinds.column(0).unique()) > 1 or (not pc.all(kinds.column(1)).as_py() and windows.num_rows):
            raise InputError("windows must be of one size and aligned, else a flow counts more than once; filter them")
        windows = ordered(windows)
        told = self.edges.feed(edges_of(windows))
        columns = [pa.array(column) for column in shapes(windows)]
        return pa.RecordBatch.from_arrays([*told.columns, *columns], schema=SHAPED_FEATURES)

    def snapshot(self) -> bytes:
        """Everything that is remembered."""
        return self.edges.snapshot()

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot`."""
        self.edges.restore(state)


def ordered(windows: pa.RecordBatch) -> pa.RecordBatch:
    """In an order that does not depend on how they came: a window's rows must come in one batch."""
    keys = ("window_end", "source", "destination", "destination_transport_port", "protocol_identifier")
    return windows.take(pc.sort_indices(windows, sort_keys=[(key, "ascending") for key in keys]))


def edges_of(windows: pa.RecordBatch) -> pa.RecordBatch:
    """EDGE_WINDOWS as EDGES: known when the window ends, weighed by its flows."""
    weight = pc.min_element_wise(windows.column("delta_flow_count"), pa.scalar(2**32 - 1, pa.uint64()))
    columns = [
        windows.column("window_end"),
        _end(windows, "source"),
        _end(windows, "destination"),
        weight.cast("uint32"),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=EDGES)


def shapes(windows: pa.RecordBatch) -> F32:
    """One row for each of `SHAPE`."""
    flows = np.maximum(_number(windows, "flow_record_count"), 1.0)
    per_flow = [
        _number(windows, f"{back}{what}_delta_count") / flows
        for back in ("", "reverse_")
        for what in ("packet", "octet")
    ]
    sent, got = _number(windows, "payload_octet_count"), _number(windows, "reverse_payload_octet_count")
    out = np.stack(
        [
            *per_flow,
            sent / np.maximum(sent + got, 1.0),
            *(_number(windows, f"{name}_ratio") for name in ("unanswered", "reset", "refused")),
            _number(windows, "source_transport_port_entropy"),
            _number(windows, "flow_start_gap_variation", 1.0),
            _number(windows, "handshake_p50_ns") * 1e-9,
            _number(windows, "response_p50_ns") * 1e-9,
            _number(windows, "new_peer"),
            _crosses(windows),
        ]
    ).astype(np.float32)
    assert len(out) == len(SHAPE)
    return out


def _number(windows: pa.RecordBatch, name: str, missing: float = 0.0) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = windows.column(name).cast(pa.float64()).fill_null(missing).to_numpy()
    return values


def _end(windows: pa.RecordBatch, end: str) -> pa.Array:
    """Workload, else entity, else the network of the address."""
    name = windows.column(end)
    outside = pc.match_substring_regex(name, _ADDRESS)
    if pc.any(outside).as_py():
        folded = networks(texts(name.filter(outside)), _NETWORK)
        name = pc.replace_with_mask(name, outside, pa.array(folded.astype(str).tolist(), pa.utf8()))
    return pc.coalesce(windows.column(f"{end}_workload"), name)


def _crosses(windows: pa.RecordBatch) -> npt.NDArray[np.float64]:
    """1 where both namespaces are known and differ; names are kind/namespace/name."""
    spaces = [pc.list_element(_padded(windows.column(f"{end}_workload")), 1) for end in ("source", "destination")]
    differ = pc.not_equal(*spaces)
    values: npt.NDArray[np.float64] = differ.fill_null(False).cast(pa.float64()).to_numpy()
    return values


def _padded(names: pa.Array) -> pa.Array:
    """Split at slashes, never fewer than two parts."""
    return pc.split_pattern(pc.binary_join_element_wise(names, pa.scalar("/"), ""), "/")
