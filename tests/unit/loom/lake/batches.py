"""Batches, envelopes and messages for the lake's tests and its bench."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from loomidi.contracts.schemas import FLOW_RECORDS, METRICS
from loomidi.contracts.streams import Envelope, Message
from loomidi.loom.bus.envelopes import encode
from loomidi.loom.lake import Lake, LakeSettings

HOUR_NS = 3_600 * 10**9
START_NS = 1_700_000_000 * 10**9 // HOUR_NS * HOUR_NS  # the start of an hour
_TEXTS = np.array(["shop/cart-0", "shop/redis-0", "shop/web-7", "kube-system/dns-1"])


def lake_in(folder: Path, **changed: Any) -> Lake:
    """On the embedded default, without fsync."""
    clock = changed.pop("clock", None)
    specs = changed.pop("specs", None)
    return Lake(LakeSettings(folder=folder / "lake", durable=False, **changed), clock=clock, specs=specs)


def metrics(values: Sequence[float], *, at_ns: int = START_NS, step_ns: int = 1_000_001) -> pa.RecordBatch:
    """One row for each value, at times that are no whole microseconds."""
    times = [at_ns + step_ns * at + 7 for at in range(len(values))]
    columns: dict[str, list[Any]] = {
        "timestamp": times,
        "source_id": [f"node-{at % 3}" for at in range(len(values))],
        "metric_name": ["cpu"] * len(values),
        "value": [float(value) for value in values],
        "kind": ["gauge"] * len(values),
        "unit": [None] * len(values),
        "attributes": [[("core", str(at)), ("mode", "idle")] if at % 2 else None for at in range(len(values))],
        "entity": [None] * len(values),
        "extra": [None] * len(values),
        "received": times,
    }
    arrays = [pa.array(columns[field.name], field.type) for field in METRICS]
    return pa.RecordBatch.from_arrays(arrays, schema=METRICS)


def flows(rows: int, *, at_ns: int = START_NS, span_ns: int = 60 * 10**9, seed: int = 0) -> pa.RecordBatch:
    """Flows that end within the span, every column filled with what it may hold."""
    random = np.random.default_rng(seed)
    ends = np.sort(at_ns + random.integers(0, span_ns, rows))
    return pa.RecordBatch.from_arrays([_column(field, ends, random) for field in FLOW_RECORDS], schema=FLOW_RECORDS)


def _column(field: pa.Field, ends: Any, random: Any) -> pa.Array:
    rows, kind = len(ends), field.type
    if field.name == "flow_id":
        return pa.array(random.integers(0, 2**64 - 1, rows, dtype=np.uint64))
    if pa.types.is_timestamp(kind):
        return pa.array(ends - (0 if "end" in field.name else 1_234_567)).cast(kind)
    if "address" in field.name:
        return pa.array(
            np.array([f"10.0.{each // 250}.{each % 250}" for each in range(2000)])[random.integers(0, 2000, rows)]
        )
    if pa.types.is_string(kind):
        return pa.array(_TEXTS[random.integers(0, len(_TEXTS), rows)])
    if pa.types.is_list(kind):
        counts = random.integers(1, 16, rows)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        values = pa.array(random.integers(0, 200, offsets[-1])).cast(kind.value_type)
        return pa.ListArray.from_arrays(pa.array(offsets), values).cast(kind)
    if pa.types.is_floating(kind):
        return pa.array(random.random(rows).round(3))
    return pa.array(np.minimum(random.geometric(0.05, rows), 200)).cast(kind)


def envelope(
    batch: pa.RecordBatch, seq: int, *, stream: str = "metrics", producer: str = "node-a", epoch: int = 1
) -> Envelope:
    """As a publisher makes it."""
    return encode(batch, stream=stream, producer=producer, epoch=epoch, seq=seq, created_ns=START_NS + seq)


def message(made: Envelope, offset: int, partition: int = 0) -> Message:
    """As a bus delivers it."""
    return Message(made, partition, offset)


def messages(count: int, *, first: int = 0, rows: int = 3, stream: str = "metrics", **named: Any) -> list[Message]:
    """So many batches of one producer, values counting up: value = seq * rows + row."""
    made = []
    for seq in range(first, first + count):
        values = range(seq * rows, (seq + 1) * rows)
        batch = metrics(values, at_ns=START_NS + seq * 10**9)  # type: ignore[arg-type]
        made.append(message(envelope(batch, seq, stream=stream, **named), seq + 1))
    return made


def values(lake: Lake, stream: str = "metrics", **range_: Any) -> list[float]:
    """What the table holds, in order."""
    return sorted(lake.read(stream, columns=["value"], **range_).column("value").to_pylist())
