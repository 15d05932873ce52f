"""One way to meter frames in the tests of this folder."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from loomidi.loom.flows import FlowTable, MeterSettings

S = 10**9
START = 1_700_000_000 * S

Row = dict[str, Any]
Metering = Callable[..., list[Row]]


def rows(table: FlowTable) -> list[Row]:
    """What has ended, as plain rows; times as ints."""
    out: list[Row] = []
    for batch in table.drain():
        batch.validate(full=True)
        columns = [
            column.cast("int64").to_pylist() if str(column.type).startswith("timestamp") else column.to_pylist()
            for column in batch.columns
        ]
        out += [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]
    return out


@pytest.fixture
def metered() -> Metering:
    """(frames at seconds since START) -> flows, in order of start; those still open end as `forced`."""

    def run(packets: Iterable[tuple[float, bytes]], settings: MeterSettings | None = None) -> list[Row]:
        with FlowTable(settings) as table:
            for at_s, frame in packets:
                table.frame(frame, START + round(at_s * S))
            table.flush()
            return sorted(rows(table), key=lambda row: row["flow_start_nanoseconds"])

    return run
