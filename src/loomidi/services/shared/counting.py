"""Counters as rows of the loss balance.

Called by the parts of the pipeline and by the agent. In: what a publisher or a committer counted. Out: one batch of the
schema `COUNTERS`, of one moment. Pure.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa

from loomidi.contracts.schemas import COUNTERS


class Count(NamedTuple):
    """One counter, without who counts and when."""

    stage: str  # capture, export, publish, commit
    stream: str  # "" where it is packets of a link
    scope: str  # link, table; "" where there is only one
    name: str
    unit: str  # packets, flows, rows, batches, octets
    value: int


@dataclasses.dataclass(frozen=True, slots=True)
class Counter:
    """Who counts: one run of one component on one node."""

    node: str
    component: str
    epoch: int  # ns, of this run

    @property
    def producer(self) -> str:
        """The name under which it publishes: the balance joins counters and tables by it."""
        return f"{self.node}.{self.component}"

    def batch(self, counts: Sequence[Count], at_ns: int) -> pa.RecordBatch:
        """All of them as of one moment, in the schema `COUNTERS`."""
        rows = len(counts)
        columns = {name: [getattr(count, name) for count in counts] for name in Count._fields}
        columns |= {"timestamp": [at_ns] * rows, "node": [self.node] * rows, "epoch": [self.epoch] * rows}
        columns["component"] = [self.component] * rows
        arrays = [pa.array(columns[field.name], field.type) for field in COUNTERS]
        return pa.RecordBatch.from_arrays(arrays, schema=COUNTERS)


def published(counters: Iterable[tuple[str, str, str, int]]) -> list[Count]:
    """What `Publisher.counters` tells: stream, name, unit, value."""
    return [Count("publish", stream, "", name, unit, value) for stream, name, unit, value in counters]
