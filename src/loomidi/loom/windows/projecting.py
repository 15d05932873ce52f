"""Flow records as the rows that windows are made of: who, when, how much, how it went.

Called by both runners, on every batch. In: FLOW_RECORDS. Out: ROWS, narrow, names chosen, flags as 0 or 1. Rows of
one window can then be held or sent on without the other 100 columns.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts.schemas import FLOW_SUMS
from loomidi.loom.windows.latencies import latencies

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

SUMS = FLOW_SUMS
"""Added up over a window; each row of a flow carries its share, times its sampling interval."""

WORKLOADS = ("source_workload", "destination_workload")
RAW = ("source_transport_port", "flow_start_us", "handshake_ns", "response_ns")
"""Of which the single values matter, not the sum; -1: none."""

ROWS = pa.schema(
    [
        pa.field("flow_end_ns", pa.int64(), nullable=False),
        pa.field("source", pa.utf8(), nullable=False),
        pa.field("destination", pa.utf8(), nullable=False),
        pa.field("destination_service", pa.utf8()),
        pa.field("destination_transport_port", pa.uint16(), nullable=False),
        pa.field("protocol_identifier", pa.uint8(), nullable=False),
        *(pa.field(name, pa.utf8()) for name in WORKLOADS),
        *(pa.field(name, pa.int64(), nullable=False) for name in SUMS),
        *(pa.field(name, pa.int64(), nullable=False) for name in RAW),
    ]
)

_MOST_NS = 1 << 40  # 18 minutes; a longer latency is told as that
_GRAINS = {"entity": ("entity",), "workload": ("workload", "entity")}


def project(batch: pa.RecordBatch, grain: str = "entity") -> pa.RecordBatch:
    """The columns that windows need, of flows in the columns of FLOW_RECORDS."""
    ended = pc.not_equal(batch.column("flow_end_reason"), "active").to_numpy(zero_copy_only=False)
    columns = {
        "flow_end_ns": _nanoseconds(batch, "flow_end_nanoseconds"),
        "destination_service": batch.column("destination_service"),
        "destination_transport_port": batch.column("destination_transport_port"),
        "protocol_identifier": batch.column("protocol_identifier"),
        **{end: _who(batch, end, grain) for end in ("source", "destination")},
        **{name: batch.column(name) for name in WORKLOADS},
        **_counts(batch, ended),
        **_raw(batch, ended),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in ROWS.names], schema=ROWS)


def split(rows: pa.RecordBatch, width_s: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(start in ns, rows) of each piece of time; a flow belongs to the one in which it ended."""
    width = width_s * 10**9
    starts = rows.column("flow_end_ns").to_numpy() // width * width
    if not len(starts):
        return
    if starts.min() == starts.max():
        yield int(starts[0]), rows
        return
    for start in np.unique(starts).tolist():
        yield start, rows.filter(pa.array(starts == start))


def _who(batch: pa.RecordBatch, end: str, grain: str) -> pa.Array:
    """The first name that is known; an address always is."""
    found = batch.column(f"{end}_ip_address")
    for name in reversed(_GRAINS[grain]):
        known = batch.column(f"{end}_{name}")
        if not known.null_count:
            found = known
        elif known.null_count < len(known):
            found = pc.coalesce(known, found)
    return found


def _counts(batch: pa.RecordBatch, ended: Flags) -> dict[str, pa.Array]:
    weight = _int64(batch, "sampling_interval")
    answers = _int64(batch, "reverse_packet_delta_count")
    resets, back_resets = _int64(batch, "tcp_rst_total_count"), _int64(batch, "reverse_tcp_rst_total_count")
    numbers = {name: _int64(batch, name) for name in SUMS if name in batch.schema.names} | {
        "delta_flow_count": np.ones(batch.num_rows, np.int64),
        "original_flows_completed": ended,
        "unanswered_flow_count": ended & ((answers == 0) | (_int64(batch, "packet_delta_count") == 0)),
        "reset_flow_count": (resets > 0) | (back_resets > 0),
        "refused_flow_count": (back_resets > 0) & (_int64(batch, "reverse_tcp_syn_total_count") == 0)
        & (_int64(batch, "tcp_syn_total_count") > 0),
    }  # fmt: skip
    if (weight != 1).any():
        numbers = {name: values * weight for name, values in numbers.items()}
    numbers["flow_record_count"] = np.ones(batch.num_rows, np.int64)
    return {name: pa.array(values.astype(np.int64)) for name, values in numbers.items()}


def _raw(batch: pa.RecordBatch, ended: Flags) -> dict[str, pa.Array]:
    found = latencies(batch)
    start = _nanoseconds(batch, "flow_start_nanoseconds").to_numpy() // 1000
    raw = {
        "source_transport_port": _int64(batch, "source_transport_port"),
        "flow_start_us": np.where(ended, start, -1),
        "handshake_ns": np.minimum(found.handshake, _MOST_NS - 1),
        "response_ns": np.minimum(found.response, _MOST_NS - 1),
    }
    return {name: pa.array(values) for name, values in raw.items()}


def _int64(batch: pa.RecordBatch, name: str) -> Ints:
    numbers: Ints = batch.column(name).to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers


def _nanoseconds(batch: pa.RecordBatch, name: str) -> pa.Array:
    return batch.column(name).view(pa.int64())
