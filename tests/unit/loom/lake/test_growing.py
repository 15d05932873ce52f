"""Schemas grow, old snapshots stay readable."""

import dataclasses
from pathlib import Path

import pyarrow as pa
import pytest

from loomidi.contracts.errors import InputError
from loomidi.loom.lake import Committer, Lake, Query, TableSpec, compact, table_of
from tests.unit.loom.lake.batches import lake_in, messages, values

ADDED = [
    pa.field("cluster", pa.utf8()),
    pa.field("seen_by", pa.list_(pa.utf8())),
    pa.field("first_seen", pa.timestamp("ns", "UTC")),
]


def widened() -> TableSpec:
    spec = table_of("metrics")
    return dataclasses.replace(spec, schema=pa.schema([*spec.schema, *ADDED]))


def written(lake: Lake, first: int) -> None:
    def filled(batch: pa.RecordBatch) -> pa.RecordBatch:
        made = {"cluster": ["prod"], "seen_by": [["node-a", "node-b"]], "first_seen": [1_700_000_000_000_000_001]}
        schema = lake.spec("metrics").schema
        columns = [
            pa.array(made[field.name] * batch.num_rows, field.type) if field.name in made else batch.column(field.name)
            for field in schema
        ]
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    grows = lake.spec("metrics") != table_of("metrics")
    with Committer(lake, "metrics", transform=filled if grows else None) as committer:
        committer.take(messages(2, first=first))
        committer.commit()


@pytest.fixture
def grown(tmp_path: Path) -> Lake:
    """Two batches before the columns were added, two after."""
    written(lake_in(tmp_path), 0)
    lake = lake_in(tmp_path, specs={"metrics": widened()})
    written(lake, 2)
    return lake


def test_rows_from_before_have_nulls_in_the_new_columns(grown: Lake) -> None:
    rows = grown.read("metrics").sort_by("value")
    assert rows.schema.names[-3:] == ["cluster", "seen_by", "first_seen"]
    assert rows.column("cluster").to_pylist() == [None] * 6 + ["prod"] * 6
    assert rows.column("seen_by").to_pylist()[-1] == ["node-a", "node-b"]
    assert rows.column("first_seen").cast(pa.int64()).to_pylist()[-1] == 1_700_000_000_000_000_001


def test_the_snapshot_from_before_is_read_with_the_columns_that_it_had(grown: Lake) -> None:
    before, _ = grown.snapshots("metrics")
    assert "cluster" not in grown.read("metrics", as_of=before.id).column_names
    assert values(grown, as_of=before.id) == [float(each) for each in range(6)]
    with Query(grown, "select * from metrics", as_of=before.id) as asked:
        assert "cluster" not in asked.rows().column_names


def test_sql_sees_old_and_new_rows_together(grown: Lake) -> None:
    with Query(grown, "select cluster, count(*) as rows from metrics group by all order by rows, cluster") as asked:
        assert sorted((row["cluster"] or "", row["rows"]) for row in asked.rows().to_pylist()) == [("", 6), ("prod", 6)]


def test_compaction_of_old_and_new_files_keeps_both(grown: Lake) -> None:
    before = grown.read("metrics").sort_by("value")
    assert compact(grown, "metrics")[0].files_before == 2
    assert grown.read("metrics").sort_by("value").equals(before)


def test_a_writer_that_does_not_know_the_new_column_still_writes(grown: Lake, tmp_path: Path) -> None:
    written(lake_in(tmp_path), 4)
    assert grown.read("metrics").sort_by("value").column("cluster").to_pylist()[-6:] == [None] * 6


def test_a_column_of_another_type_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    written(lake_in(tmp_path), 0)
    spec = table_of("metrics")
    retyped = [pa.field("value", pa.utf8(), nullable=False) if each.name == "value" else each for each in spec.schema]
    lake = lake_in(tmp_path, specs={"metrics": dataclasses.replace(spec, schema=pa.schema(retyped))})
    with pytest.raises(InputError, match=r"column value is double.*never retyped"):
        Committer(lake, "metrics")
