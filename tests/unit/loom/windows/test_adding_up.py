"""Windows lose nothing and do not depend on batches: sums are those of the flows, and any order gives the same bits."""

import itertools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loomidi.contracts.streams import Stream
from loomidi.loom.windows import WindowSettings, WindowSpec
from loomidi.loom.windows.projecting import SUMS
from loomidi.loom.windows.synthetic import flow_records
from tests.unit.loom.windows.building import records, rows, windows_of

ALL = WindowSettings()
FLOWS = flow_records(1500, seed=7, seconds=18.0, pods=12, outside=8)
EXPECTED = windows_of([FLOWS], ALL, until_s=400.0)


def cut(batch: pa.RecordBatch, seed: int, pieces: int) -> list[pa.RecordBatch]:
    """Shuffled and cut at random."""
    rng = np.random.default_rng(seed)
    mixed = batch.take(pa.array(rng.permutation(batch.num_rows)))
    edges = [0, *sorted(rng.integers(0, batch.num_rows, pieces - 1).tolist()), batch.num_rows]
    return [mixed.slice(low, high - low) for low, high in itertools.pairwise(edges)]


@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 2**32 - 1), pieces=st.integers(1, 12), steps=st.sampled_from([1, 3, 50]))
def test_any_batching_order_and_pace_gives_the_same_bits(seed: int, pieces: int, steps: int) -> None:
    found = windows_of(cut(FLOWS, seed, pieces), ALL, until_s=400.0, steps=steps)
    assert found.keys() == EXPECTED.keys()
    for key, table in EXPECTED.items():
        assert found[key].equals(table), key


@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 100), most=st.sampled_from([1, 7, 200_000]))
@pytest.mark.parametrize("spec", [WindowSpec(1, 1), WindowSpec(10, 10), WindowSpec(60, 10), WindowSpec(300, 60)])
def test_sums_over_tumbling_windows_are_the_sums_over_flows(spec: WindowSpec, seed: int, count: int, most: int) -> None:
    """To the octet, also when most edges are collapsed into `other`."""
    flows = flow_records(count, seed=seed, seconds=30.0 if spec.size_s < 10 else 400.0, pods=5, outside=5)
    found = windows_of([flows], WindowSettings(specs=(spec,), max_edges=most))
    edges, entities = (found[spec.size_s, stream] for stream in (Stream.EDGE_WINDOWS, Stream.ENTITY_WINDOWS))
    for name in SUMS:
        if name in flows.schema.names:
            expected = sum(flows.column(name).to_pylist())
        elif name in ("delta_flow_count", "flow_record_count"):
            expected = count
        else:
            continue
        assert aligned_sum(edges, name) == expected
        assert aligned_sum(entities, f"client_{name}") == aligned_sum(entities, f"server_{name}") == expected


def aligned_sum(table: pa.Table, name: str) -> int:
    return sum(row[name] for row in rows(table) if row["window_aligned"])


def test_a_flow_that_stands_for_others_is_counted_as_so_many() -> None:
    flows = records([{"octets": 100, "sampling_interval": 8}, {"octets": 1}])
    found = rows(windows_of([flows], ALL)[10, Stream.EDGE_WINDOWS])
    assert [(row["octet_delta_count"], row["delta_flow_count"], row["flow_record_count"]) for row in found] == [
        (801, 9, 2)
    ]


def test_a_long_flow_belongs_to_the_window_in_which_it_ended() -> None:
    found = windows_of([records([{"at": 5, "lasts": 20, "octets": 9}])], ALL)
    assert [row["window_start"] for row in rows(found[10, Stream.EDGE_WINDOWS])] == [20]


def test_sliding_windows_begin_every_ten_seconds_and_say_which_are_tumbling() -> None:
    found = rows(windows_of([records([{"at": 65}])], ALL)[60, Stream.EDGE_WINDOWS])
    begins: Sequence[int] = [row["window_start"] for row in found]
    assert begins == [10, 20, 30, 40, 50, 60]
    assert [row["window_start"] for row in found if row["window_aligned"]] == [60]


def test_the_smallest_edges_become_other_and_are_counted() -> None:
    flows = [{"port": port} for port in (1, 2, 3) for _ in range(port)]
    found = rows(windows_of([records(flows)], WindowSettings(max_edges=1))[10, Stream.EDGE_WINDOWS])
    told = {(row["destination"], row["destination_transport_port"], row["delta_flow_count"]) for row in found}
    assert told == {("10.0.0.2", 3, 3), ("other", 0, 3)}
