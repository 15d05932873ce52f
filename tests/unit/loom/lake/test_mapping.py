"""Columns on their way into the lake and back: nothing is lost, or it is refused."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from loomidi.contracts.errors import UsageError
from loomidi.loom.lake import mapping, streams, table_of
from tests.unit.loom.lake.batches import flows, metrics


@pytest.mark.parametrize("stream", streams())
def test_every_stream_has_a_table_whose_columns_iceberg_knows(stream: str) -> None:
    spec = table_of(stream)
    columns = mapping.stored(spec.schema)
    marked = mapping.with_ids(columns, mapping.iceberg_schema(spec.schema))
    assert marked.names == columns.names
    assert spec.time in columns.names
    assert set(spec.sources) <= set(columns.names)


@pytest.mark.parametrize("batch", [flows(500), metrics(range(50))], ids=["flows", "metrics"])
def test_rows_come_back_as_they_were_to_the_nanosecond(batch: pa.RecordBatch) -> None:
    rows = pa.Table.from_batches([batch])
    assert mapping.from_stored(mapping.to_stored(rows), batch.schema).equals(rows)


def test_a_time_is_cut_to_microseconds_and_its_nanoseconds_lie_beside_it() -> None:
    schema = pa.schema([pa.field("at", pa.timestamp("ns", "UTC"), nullable=False)])
    stored = mapping.to_stored(pa.table([pa.array([1_999, 2_000, -1], pa.timestamp("ns", "UTC"))], schema=schema))
    assert stored.column("at_ns").to_pylist() == [1_999, 2_000, -1]
    assert pc.cast(stored.column("at"), pa.int64()).to_pylist() == [1, 2, 0]


def test_a_hash_keeps_all_its_64_bits() -> None:
    schema = pa.schema([pa.field("flow_id", pa.uint64(), nullable=False)])
    batch = pa.table([pa.array([0, 2**63, 2**64 - 1], pa.uint64())], schema=schema)
    stored = mapping.to_stored(batch)
    assert [int(value) for value in stored.column("flow_id").to_pylist()] == [0, 2**63, 2**64 - 1]
    assert mapping.from_stored(stored, schema).equals(batch)


def test_a_count_that_no_signed_number_holds_is_refused_with_its_column() -> None:
    schema = pa.schema([pa.field("octets", pa.uint64())])
    mapping.to_stored(pa.table([pa.array([2**63 - 1], pa.uint64())], schema=schema))
    with pytest.raises(mapping.DoesNotFit, match="octets"):
        mapping.to_stored(pa.table([pa.array([2**63], pa.uint64())], schema=schema))


def test_a_type_without_a_place_in_the_lake_is_named() -> None:
    with pytest.raises(UsageError, match=r"'blob'.*binary"):
        mapping.stored(pa.schema([pa.field("blob", pa.binary())]))


def test_an_unknown_stream_is_refused_with_the_list_and_one_without_columns_is_told() -> None:
    with pytest.raises(UsageError, match="there are flows, metrics"):
        table_of("nonsense")
    with pytest.raises(UsageError, match="no columns yet"):
        table_of("plans")
