"""SQL over the lake: reads what it names, as of any moment, and reaches nothing else."""

from pathlib import Path

import pyarrow as pa
import pytest

from loomidi.contracts.errors import InputError, LoomidiError, UsageError
from loomidi.contracts.schemas import ENTITIES
from loomidi.loom.lake import Committer, Lake, Query, reading
from loomidi.loom.lake.querying import named_in
from tests.unit.loom.lake import batches
from tests.unit.loom.lake.batches import HOUR_NS, START_NS, lake_in, message


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Three hours, a commit each, ten rows each."""
    lake = lake_in(tmp_path)
    with Committer(lake, "metrics") as committer:
        for hour in range(3):
            batch = batches.metrics(range(hour * 10, hour * 10 + 10), at_ns=START_NS + hour * HOUR_NS)
            committer.take([message(batches.envelope(batch, hour), hour + 1)])
            committer.commit()
    return lake


def answer(lake: Lake, sql: str, **how: int) -> list[dict[str, object]]:
    with Query(lake, sql, **how) as asked:
        return asked.rows().to_pylist()


def test_it_counts(lake: Lake) -> None:
    assert answer(lake, "select count(*) as rows, max(value) as most from metrics") == [{"rows": 30, "most": 29.0}]


def test_a_range_ends_at_the_nanosecond_and_opens_only_its_files(lake: Lake) -> None:
    since = START_NS + HOUR_NS + 7  # exactly the first row of the second hour
    counted = "select count(*) as rows from metrics"
    assert answer(lake, counted, since_ns=since, until_ns=since + HOUR_NS) == [{"rows": 10}]
    assert answer(lake, counted, since_ns=since + 1, until_ns=since + HOUR_NS + 1) == [{"rows": 10}]
    assert answer(lake, counted, since_ns=since + 1, until_ns=START_NS + 2 * HOUR_NS) == [{"rows": 9}]
    table = lake.find("metrics")
    found = reading.dataset(table, table.current_snapshot(), since_ns=since, until_ns=START_NS + 2 * HOUR_NS - 1)
    assert len(found.files) == 1


def test_as_of_a_snapshot_and_as_of_a_time(lake: Lake) -> None:
    first, second, _ = lake.snapshots("metrics")
    assert answer(lake, "select count(*) as rows from metrics", as_of=second.id) == [{"rows": 20}]
    assert answer(lake, "select count(*) as rows from metrics", at_ms=first.at_ms) == [{"rows": 10}]
    with pytest.raises(InputError, match="as old as that"):
        answer(lake, "select 1 from metrics", at_ms=first.at_ms - 1)
    with pytest.raises(InputError, match="no snapshot 7 of metrics"):
        answer(lake, "select 1 from metrics", as_of=7)


def test_times_compare_with_text_and_are_utc(lake: Lake) -> None:
    sql = "select count(*) as rows from metrics where timestamp >= '2023-11-14 23:00:00' and timestamp < '2023-11-15'"
    assert answer(lake, sql) == [{"rows": 10}]
    sql = "select date_trunc('hour', timestamp) as hour, count(*) as rows from metrics group by 1 order by 1"
    assert [row["rows"] for row in answer(lake, sql)] == [10, 10, 10]


def test_a_limit_and_batches_as_they_come(lake: Lake) -> None:
    with Query(lake, "select * from metrics", limit=4) as asked:
        first, *rest = asked.batches()
    assert first.num_rows == 0
    assert "timestamp_ns" in first.schema.names
    assert sum(each.num_rows for each in rest) == 4


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('/etc/hostname')",
        "select * from '/etc/hostname'",
        "select * from read_parquet('/tmp/*.parquet')",
        "select * from glob('/*')",
        "select * from lake",
        "copy metrics to '/tmp/loomidi-stolen'",
        "attach '/tmp/loomidi-other.db'",
        "install httpfs",
        "set enable_external_access=true",
        "pragma database_list",
        "create table mine as select 1",
        "insert into metrics values (1)",
        "delete from metrics",
        "drop view metrics",
        "select 1; select 2",
        "",
    ],
)
def test_what_does_more_than_read_the_lake_is_refused_in_one_line(lake: Lake, sql: str) -> None:
    with pytest.raises(LoomidiError) as told:
        answer(lake, sql)
    assert "\n" not in str(told.value)
    assert not Path("/tmp/loomidi-stolen").exists()


def test_mistakes_are_told_in_one_line(lake: Lake) -> None:
    for sql, said in (
        ("selec 1", r"^SQL: Parser Error: syntax error at or near"),
        ("select nope from metrics", r'^SQL: Binder Error: Referenced column "nope"'),
        ("select * from flowz", r"^SQL: Table with name flowz does not exist! There are metrics$"),
        ("select 'a'::int", r"^SQL: Conversion Error"),
    ):
        with pytest.raises(InputError, match=said):
            answer(lake, sql)


def test_an_empty_lake_says_so(tmp_path: Path) -> None:
    assert answer(lake_in(tmp_path), "select 1 as one") == [{"one": 1}]
    with pytest.raises(InputError, match="the lake is empty"):
        answer(lake_in(tmp_path), "select * from flows")


def test_only_tables_that_are_named_are_opened() -> None:
    assert named_in('select * from "Flows" f join entities e on true', ["entities", "events", "flows"]) == [
        "entities",
        "flows",
    ]


def test_a_statement_of_another_kind_is_named(lake: Lake) -> None:
    with pytest.raises(UsageError, match="read only here: no DELETE statements"):
        answer(lake, "delete from metrics")


def owners() -> pa.RecordBatch:
    """10.0.0.1 belonged to cart-0, then to cart-1; it is told by several rows, the last of which counts."""
    times = [(0, None, 0), (0, 100, 100), (100, None, 101)]
    rows = [
        {
            "address": "10.0.0.1",
            "kind": "Pod",
            "namespace": "shop",
            "name": name,
            "uid": name,
            "owner_kind": "Deployment",
            "owner": "cart",
            "node": "n",
            "labels": [("app", "cart")],
            "services": ["service/shop/cart"],
            "ports": None,
            "from": START_NS + begin,
            "to": None if end is None else START_NS + end,
            "seen": START_NS + seen,
            "cluster": "c",
        }
        for name, (begin, end, seen) in zip(("cart-0", "cart-0", "cart-1"), times, strict=True)
    ]
    return pa.RecordBatch.from_arrays(
        [pa.array([row[field.name] for row in rows], field.type) for field in ENTITIES], schema=ENTITIES
    )


JOINED = """
with known as (
  select *, row_number() over (partition by uid, address order by seen_ns desc) as newest from entities
)
select flow_end_nanoseconds_ns - {start} as at, name
from flows left join known
  on newest = 1 and address = source_ip_address
 and from_ns <= flow_end_nanoseconds_ns and (to_ns is null or flow_end_nanoseconds_ns < to_ns)
order by 1
"""


def test_flows_are_joined_with_who_owned_the_address_when_they_ended(lake: Lake) -> None:
    made = batches.flows(3, span_ns=1)
    ends = pa.array([START_NS + 50, START_NS + 99, START_NS + 100], pa.timestamp("ns", "UTC"))
    replaced = {"source_ip_address": pa.array(["10.0.0.1"] * 3), "flow_end_nanoseconds": ends}
    columns = [replaced.get(field.name, made.column(field.name)) for field in made.schema]
    flows = pa.RecordBatch.from_arrays(columns, schema=made.schema)
    for stream, batch in (("flows", flows), ("entities", owners())):
        with Committer(lake, stream) as committer:
            committer.take([message(batches.envelope(batch, 0, stream=stream), 1)])
            committer.commit()
    told = answer(lake, JOINED.format(start=START_NS))
    assert [(row["at"], row["name"]) for row in told] == [(50, "cart-0"), (99, "cart-0"), (100, "cart-1")]
