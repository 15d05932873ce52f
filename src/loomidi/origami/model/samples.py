"""What a training is given, as arrays.

Called by `training` and `forecasting`. In: Arrow batches of edges, and of metrics by node and time. Out: `Seen`,
`Metered`, `Heads`. No torch is needed.
"""

import dataclasses

import numpy as np
import pyarrow as pa

from loomidi.contracts.errors import InputError, UsageError
from loomidi.origami.features import hashes, matrix
from loomidi.origami.model.settings import ModelSettings
from loomidi.origami.online.seen import F32, I64, U64, Mask, Seen

_FIRST = 0.75  # of the time; by what follows it the supervised head is judged


@dataclasses.dataclass(frozen=True, slots=True)
class Metered:
    """Samples in order of time."""

    times_ns: I64
    ends: U64  # hashed names of nodes or workloads
    values: F32  # (samples, metrics)


@dataclasses.dataclass(frozen=True, slots=True)
class Heads:
    """What the further heads are trained on; none: they are not trained."""

    labels: Mask | None = None  # (edges,) which are of an attack
    nodes: Metered | None = None
    metrics: tuple[str, ...] = ()  # names of the metrics of nodes


def seen_of(batches: list[pa.RecordBatch], hash_seed: int) -> Seen:
    """Batches as detectors see them. Raises InputError when they are of different schemas."""
    try:
        table = pa.Table.from_batches(batches).combine_chunks()
    except pa.ArrowInvalid as error:
        raise InputError(
            "the batches to train on have different columns; feed those of one kind of features"
        ) from error
    batch = table.to_batches()[0] if table.num_rows else table.schema.empty_table().to_batches()[0]
    source, destination = (hashes(batch.column(end), hash_seed) for end in ("source", "destination"))
    return Seen(batch.column("time").cast(pa.int64()).to_numpy(), source, destination, matrix(batch))


def metered(batches: list[pa.RecordBatch], names: tuple[str, ...], settings: ModelSettings) -> Metered:
    """Metrics of nodes in order of time. Raises InputError when a column lacks, or is no number."""
    try:
        table = pa.Table.from_batches(batches).sort_by("time").combine_chunks()
        columns = [table[name].cast(pa.float32()).fill_null(0.0).to_numpy() for name in names]
        times, ends = table["time"].cast(pa.int64()).to_numpy(), table["end"].combine_chunks()
    except (pa.ArrowInvalid, KeyError) as error:
        raise InputError("metrics of nodes need the columns time and end, and numbers in all others") from error
    return Metered(times, hashes(ends, settings.hash_seed), np.stack(columns, axis=1))


def parted(seen: Seen, labels: Mask) -> int:
    """The first edge that a supervised head is judged by. Raises UsageError when a part has no attack or no other."""
    times = seen.times_ns
    cut = int(np.searchsorted(times, times[0] + _FIRST * (times[-1] - times[0])))
    if not all(part.any() and not part.all() for part in (labels[:cut], labels[cut:])):
        raise UsageError("a supervised head needs attacks and usual edges in the first and in the last quarter of time")
    return cut
