"""Percentiles of latencies per key: single values while they are few, a t-digest (Apache DataSketches) beyond.

Called by `panes` and `features`. In: values with the number of their key. Out: `Samples`, which merge in the order
given, and their quantiles. A t-digest of few values gives the value of rank floor(q * n), so that is computed for all
keys at once, and Python touches only keys with more than `FEW` values. Values are sorted first: order plays no part.
"""

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from datasketches import tdigest_double

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

FEW = 64
COMPRESSION = 200
"""Of the t-digest: `k`, about 4 KB for a key. Ranks are then within 1 % at the median and 0.1 % at p99."""

QUANTILES = (0.5, 0.9, 0.99)
_BITS = 40


class Samples(NamedTuple):
    """Keys with few values: their values, sorted by key and value. Keys with many: a digest each."""

    keys: Ints
    values: Ints  # ns, below 2**40
    digests: Mapping[int, bytes]

    def renumbered(self, new: Ints) -> list["Samples"]:
        """Under other numbers, several of which may become one: one Samples for each digest that needs its own turn."""
        pieces = [Samples(new[self.keys], self.values, {})]
        return pieces + [Samples(*_NONE, {int(new[key]): data}) for key, data in sorted(self.digests.items())]


_NONE: tuple[Ints, Ints] = (np.empty(0, np.int64), np.empty(0, np.int64))
EMPTY = Samples(*_NONE, {})


def sampled(keys: Ints, values: Ints) -> Samples:
    """Of values in any order."""
    return joined([Samples(keys, values, {})])


def joined(some: Sequence[Samples]) -> Samples:
    """All together; digests are merged in the order in which they are given, after the single values."""
    keys, values = ordered(np.concatenate([one.keys for one in some]), np.concatenate([one.values for one in some]))
    waiting: dict[int, list[bytes]] = {}
    for one in some:
        for key, data in one.digests.items():
            waiting.setdefault(key, []).append(data)
    numbers, begins, counts = runs(keys)
    large = np.isin(numbers, np.fromiter(waiting, np.int64, len(waiting))) | (counts > FEW)
    digests = dict.fromkeys(sorted(waiting), b"")
    single = {int(numbers[at]): values[begins[at] : begins[at] + counts[at]] for at in np.flatnonzero(large)}
    for key in sorted(single.keys() | waiting.keys()):
        digest = tdigest_double(COMPRESSION)
        if key in single:
            digest.update(single[key].astype(np.float64))
        for data in waiting.get(key, ()):
            digest.merge(tdigest_double.deserialize(data))
        digests[key] = digest.serialize()
    small = np.repeat(~large, counts)
    return Samples(keys[small], values[small], digests)


def quantiles(samples: Samples, count: int) -> tuple[Ints, list[Floats]]:
    """For the keys 0 to `count` - 1 how many values there were, and for each of `QUANTILES` the value; NaN: none."""
    numbers, begins, counts = runs(samples.keys)
    total = np.zeros(count, np.int64)
    total[numbers] = counts
    found = []
    for quantile in QUANTILES:
        column = np.full(count, np.nan)
        rank = np.minimum((quantile * counts).astype(np.int64), counts - 1)
        column[numbers] = samples.values[begins + rank]
        found.append(column)
    for key, data in samples.digests.items():
        digest = tdigest_double.deserialize(data)
        total[key] = digest.get_total_weight()
        for quantile, column in zip(QUANTILES, found, strict=True):
            column[key] = digest.get_quantile(quantile)
    return total, found


def ordered(keys: Ints, values: Ints) -> tuple[Ints, Ints]:
    """Sorted by key, then value; keys are below 2**23, values from 0 to 2**40 - 1."""
    packed = increasing((keys << _BITS) | values)
    return packed >> _BITS, packed & ((1 << _BITS) - 1)


def increasing(numbers: Ints) -> Ints:
    """Sorted; by polars, whose sort of whole numbers takes a third of numpy's time."""
    return pl.Series(numbers).sort().to_numpy()


def runs(keys: Ints) -> tuple[Ints, Ints, Ints]:
    """Of sorted keys: each once, where it begins, how often it comes."""
    if not len(keys):
        return _NONE[0], _NONE[0], _NONE[0]
    begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[begins], begins, np.diff(np.concatenate([begins, [len(keys)]]))


def to_table(samples: Samples) -> bytes:
    """As two Arrow IPC streams."""
    out = io.BytesIO()
    for table in (
        pa.table({"keys": samples.keys, "values": samples.values}),
        pa.table(
            {
                "keys": pa.array(list(samples.digests), pa.int64()),
                "digest": pa.array(list(samples.digests.values()), pa.binary()),
            }
        ),
    ):
        with pa.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table)
    return out.getvalue()


def from_table(source: pa.BufferReader) -> Samples:
    """What `to_table` gave, read from where the reader is."""
    few, many = (pa.ipc.open_stream(source).read_all() for _ in range(2))
    digests = dict(zip(many["keys"].to_pylist(), many["digest"].to_pylist(), strict=True))
    return Samples(few["keys"].to_numpy(), few["values"].to_numpy(), digests)
