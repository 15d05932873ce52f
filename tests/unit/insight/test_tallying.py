"""Totals are exact, the timeline keeps every packet, and neither grows."""

import datetime
from typing import Any

import pyarrow as pa
import pytest

from loomidi.contracts.schemas import FLOWS
from loomidi.insight.report.tallying import FINEST_NS, Tally

T0 = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


def _nothing(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        return []
    if pa.types.is_timestamp(kind):
        return datetime.datetime.fromtimestamp(0, datetime.UTC)
    return "" if pa.types.is_string(kind) else 0


def flows(*rows: tuple[int, int, int, int]) -> pa.RecordBatch:
    """(start ns, end ns, packets, protocol) as a batch of the real schema, 100 octets each packet."""
    columns = {field.name: pa.array([_nothing(field.type)] * len(rows), field.type) for field in FLOWS}
    for name, values in (
        ("flow_start_nanoseconds", [row[0] for row in rows]),
        ("flow_end_nanoseconds", [row[1] for row in rows]),
        ("packet_delta_count", [row[2] for row in rows]),
        ("octet_delta_count", [100 * row[2] for row in rows]),
        ("protocol_identifier", [row[3] for row in rows]),
    ):
        columns[name] = pa.array(values, FLOWS.field(name).type)
    return pa.RecordBatch.from_pydict(columns, FLOWS)


def tallied(*batches: pa.RecordBatch, bins: int = 240) -> Tally:
    tally = Tally(bins)
    for batch in batches:
        tally.absorb(batch)
    return tally


def test_nothing_gives_zeros() -> None:
    tally = tallied()
    assert tally.totals().count == tally.totals().first_ns == 0
    assert tally.series().octets == (0,)


def test_totals_are_the_sums_of_the_flows() -> None:
    tally = tallied(flows((T0, T0 + SECOND, 10, 6), (T0 - 5, T0, 2, 17)), flows((T0, T0 + 9, 1, 132)))
    totals = tally.totals()
    assert (totals.count, totals.packets, totals.octets) == (3, 13, 1300)
    assert (totals.first_ns, totals.last_ns) == (T0 - 5, T0 + SECOND)
    assert {name: found.packets for name, found in tally.protocols().items()} == {"tcp": 10, "udp": 2, "other": 1}


@pytest.mark.parametrize("length_ns", [0, 1, FINEST_NS, 7 * SECOND, 40 * 86_400 * SECOND])
def test_the_timeline_keeps_every_packet_at_every_length(length_ns: int) -> None:
    series = tallied(flows((T0, T0 + length_ns, 1001, 6), (T0 + 3, T0 + 3 + length_ns // 2, 77, 1))).series()
    assert {name: sum(row) for name, row in series.packets.items()} == {"tcp": 1001, "udp": 0, "icmp": 77, "other": 0}
    assert sum(series.octets) == 107_800
    assert len(series.octets) <= 240


def test_a_flow_is_spread_evenly_over_its_time() -> None:
    series = tallied(flows((0, 1000 * FINEST_NS, 1000, 6)), bins=16).series()
    assert series.bin_ns == 64 * FINEST_NS
    assert series.packets["tcp"] == (*(64,) * 15, 40)


def test_an_earlier_flow_that_comes_late_moves_the_start() -> None:
    early, late = flows((T0, T0, 5, 6)), flows((T0 + 100 * SECOND, T0 + 100 * SECOND, 7, 6))
    there, back = tallied(early, late).series(), tallied(late, early).series()
    assert there == back
    assert (there.packets["tcp"][0], there.packets["tcp"][-1]) == (5, 7)


def test_any_order_of_batches_gives_the_same_timeline() -> None:
    batches = [flows((T0 + at * SECOND, T0 + (at + at % 3) * SECOND, at + 1, 17)) for at in range(50)]
    there, back = tallied(*batches).series(), tallied(*reversed(batches)).series()
    assert (there.start_ns, there.bin_ns) == (back.start_ns, back.bin_ns)
    assert max(abs(a - b) for a, b in zip(there.octets, back.octets, strict=True)) <= 1  # rounding


@pytest.mark.parametrize(
    "mad",
    [
        ((0, 0, 1, 6), (2**62, 2**62, 1, 6)),
        ((-(2**63) + 1, 2**63 - 1, 2, 6), (0, 5, 0, 6)),
        ((2**63 - 1, -(2**63) + 1, 2, 6), (0, 0, 0, 6)),
        ((-(2**62), -(2**62) + 7, 1, 6), (2**63 - 9, 2**63 - 1, 1, 6)),
    ],
)
def test_mad_times_neither_grow_nor_break_the_timeline(mad: tuple[tuple[int, int, int, int], ...]) -> None:
    series = tallied(*(flows(row) for row in mad)).series()
    assert len(series.octets) <= 240
    assert sum(series.packets["tcp"]) == 2
