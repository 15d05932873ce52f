"""Features of edges: causal, the same in any cut of the stream, bounded, and what they say they are."""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from loomidi.contracts.errors import InputError
from loomidi.loom.windows import Closer, WindowSettings, WindowSpec, project, reduced, split
from loomidi.loom.windows.synthetic import flow_records
from loomidi.origami.features import CAUSAL, EDGE_FEATURES, EDGES, EdgeFeatures, FeatureSettings, WindowFeatures, matrix

SECOND = 1_000_000_000
SMALL = FeatureSettings(pairs=64, ends=64)


def stream(rows: int = 3000, ends: int = 12, seed: int = 7) -> pa.RecordBatch:
    """Edges with quiet and busy times, up to hours apart."""
    random = np.random.default_rng(seed)
    steps = random.choice([0, 1, 5, 40, 700, 4000], rows, p=[0.6, 0.2, 0.1, 0.08, 0.015, 0.005])
    times = (1_700_000_000 + np.cumsum(steps)) * SECOND + random.integers(0, 7, rows).cumsum()
    names = np.array([f"deployment/a-rather-long-namespace-of-somebody/workload-{i}" for i in range(ends)])
    columns = [pa.array(times), *(pa.array(names[random.zipf(1.5, rows) % ends]) for _ in "sd")]
    weights = pa.array(random.integers(1, 4, rows), pa.uint32())
    return pa.RecordBatch.from_arrays([columns[0].cast(EDGES[0].type), *columns[1:], weights], schema=EDGES)


def plain(edges: pa.RecordBatch) -> list[list[float]]:
    """The same features, told again from the whole past for each edge: the definition."""
    past, rows = list[tuple[int, str, str, int]](), list[list[float]]()
    for row in edges.cast(pa.schema([pa.field("time", pa.int64()), *list(EDGES)[1:]])).to_pylist():
        now, source, destination, weight = row.values()
        alone = all((source, destination) != one[1:3] for one in past)
        before = list(past)
        past.append((now, source, destination, weight))
        told: list[float] = []
        for slot_s in (6, 60, 360):
            recent = [one for one in past if now // (slot_s * SECOND) - one[0] // (slot_s * SECOND) < 10]
            told += _counts(recent, source, destination)
            told.append(len({one[2] for one in recent if one[1] == source}))
            told.append(len({one[1] for one in recent if one[2] == destination}))
        told += _counts(past, source, destination)
        told.append(len({one[2] for one in past if one[1] == source}))
        told.append(len({one[1] for one in past if one[2] == destination}))
        ties = (slice(1, 3), slice(1, 2), slice(2, 3))
        lasts = [max((one[0] for one in before if one[tie] == past[-1][tie]), default=None) for tie in ties]
        told += [86400.0 if last is None else min(86400.0, (now - last) * 1e-9) for last in lasts]
        rows.append([*told, float(alone)])
    return rows


def _counts(rows: list[tuple[int, str, str, int]], source: str, destination: str) -> list[float]:
    counts = defaultdict[str, int](int)
    for _, one, other, weight in rows:
        counts["edge"] += weight * ((one, other) == (source, destination))
        counts["source"] += weight * (one == source)
        counts["destination"] += weight * (other == destination)
    return [counts["edge"], counts["source"], counts["destination"]]


def pieces(edges: pa.RecordBatch, seed: int) -> list[pa.RecordBatch]:
    """The stream cut at random places, some of them twice: an empty batch."""
    cuts = np.sort(np.random.default_rng(seed).integers(0, edges.num_rows, 30)).tolist()
    return [edges.slice(a, b - a) for a, b in pairwise([0, *cuts, edges.num_rows])]


def test_each_feature_is_what_its_definition_says() -> None:
    edges = stream(200)
    told = EdgeFeatures().feed(edges)
    ours = np.stack([told.column(name).to_numpy() for name in CAUSAL], axis=1)
    np.testing.assert_array_equal(ours, np.array(plain(edges), np.float32))


@pytest.mark.parametrize("settings", [FeatureSettings(), FeatureSettings(pairs=5, ends=3)], ids=["roomy", "forgetful"])
def test_how_a_stream_is_cut_makes_no_difference_to_any_bit(settings: FeatureSettings) -> None:
    edges = stream()
    whole, cut = EdgeFeatures(settings).feed(edges), EdgeFeatures(settings)
    parts = [cut.feed(piece) for piece in pieces(edges, seed=1)]
    assert pa.Table.from_batches(parts).combine_chunks().equals(pa.Table.from_batches([whole]))
    assert matrix(whole).tobytes() == b"".join(matrix(part).tobytes() for part in parts)


@pytest.mark.parametrize("settings", [FeatureSettings(pairs=256, ends=64), FeatureSettings(pairs=5, ends=3)])
def test_a_snapshot_in_between_makes_no_difference_to_any_bit(settings: FeatureSettings) -> None:
    edges = stream()
    parts, now = [], EdgeFeatures(settings)
    for piece in pieces(edges, seed=2):
        then, now = now, EdgeFeatures(settings)
        now.restore(then.snapshot())
        assert now.snapshot() == then.snapshot()
        parts.append(now.feed(piece))
    assert (
        pa.Table.from_batches(parts)
        .combine_chunks()
        .equals(pa.Table.from_batches([EdgeFeatures(settings).feed(edges)]))
    )


def test_what_is_forgotten_is_counted_and_memory_does_not_grow() -> None:
    edges, features = stream(ends=12), EdgeFeatures(FeatureSettings(pairs=5, ends=3))
    features.feed(edges)
    first = len(features.snapshot())
    features.feed(edges)
    assert len(features.snapshot()) == first
    counts = features.counts
    assert (counts["pairs"], counts["sources"], counts["destinations"]) == (5, 3, 3)
    assert min(counts["forgotten_pairs"], counts["forgotten_sources"], counts["forgotten_destinations"]) > 0


def test_an_edge_that_comes_late_counts_now_and_is_told() -> None:
    features, edges = EdgeFeatures(SMALL), stream(50)
    backwards = edges.take(pa.array(range(49, -1, -1)))
    told = features.feed(backwards)
    times = edges["time"].cast(pa.int64()).to_numpy()
    assert features.counts["late"] == int(np.sum(times < times.max()))
    assert min(told.column("source_gap_s").to_pylist()) >= 0


def test_a_snapshot_of_other_settings_is_refused_with_a_reason() -> None:
    features = EdgeFeatures(SMALL)
    features.feed(stream(20))
    for state in (features.snapshot()[:-1], b"", b"x" * 200):
        with pytest.raises(InputError, match="does not fit"):
            EdgeFeatures(SMALL).restore(state)
    with pytest.raises(InputError, match="does not fit"):
        EdgeFeatures(FeatureSettings(pairs=65, ends=64)).restore(features.snapshot())


def test_edges_need_their_columns() -> None:
    with pytest.raises(InputError, match="edges need the columns time, source"):
        EdgeFeatures(SMALL).feed(stream(5).drop_columns(["weight"]))


def edge_windows() -> list[pa.RecordBatch]:
    """Windows of 10 s between workloads, services and strangers."""
    closer, parts = Closer(WindowSettings(specs=(WindowSpec(10, 10),))), defaultdict(list)
    for start, some in split(project(flow_records(600, seed=3, seconds=60, pods=5, outside=4)), 10):
        parts[start].append(reduced(some))
    closed = closer.close(parts, {}, 1 << 62)
    return [one.rows for one in closed if "destination" in one.rows.schema.names]


def test_windows_are_read_the_same_one_by_one_or_all_at_once() -> None:
    windows = edge_windows()
    assert len(windows) > 3
    one_by_one, whole = WindowFeatures(), WindowFeatures()
    parts = pa.Table.from_batches([one_by_one.feed(batch) for batch in windows]).combine_chunks()
    shuffled = pa.Table.from_batches(windows[::-1]).combine_chunks().to_batches()[0]
    assert parts.equals(pa.Table.from_batches([whole.feed(shuffled)]))
    assert pa.compute.sum(parts["weight"]).as_py() == 600


def test_windows_that_overlap_are_refused() -> None:
    windows = edge_windows()[0]
    aligned = pa.array([False] * windows.num_rows)
    with pytest.raises(InputError, match="one size and aligned"):
        WindowFeatures().feed(windows.set_column(3, windows.schema.field("window_aligned"), aligned))


def test_ends_are_workloads_or_networks_and_never_addresses() -> None:
    features = WindowFeatures()
    told = pa.Table.from_batches([features.feed(batch) for batch in edge_windows()])
    ends = {*told["source"].to_pylist(), *told["destination"].to_pylist()}
    assert {end for end in ends if "/" not in end} == set()
    assert any(end.endswith("/24") for end in ends)
    assert told.schema == WindowFeatures.schema
    assert EDGE_FEATURES.names == told.schema.names[: len(EDGE_FEATURES)]
