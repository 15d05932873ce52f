"""What is usual for snapshots: usual ones pass, others do not, nothing that is asked about is learned."""

import functools
from pathlib import Path

import numpy as np
import pytest

from loomidi.contracts import InputError, UsageError
from loomidi.origami.features.snapshots import SNAPSHOT, VECTOR, edge_values, pairs, vectors
from loomidi.origami.scoring.references import Reference
from tests.unit.origami.picturing import batch, edge, scan, usual


@functools.cache
def reference() -> Reference:
    made = Reference()
    made.fit(batch(usual(450)))
    return made


def least(rows: list[dict[str, object]]) -> float:
    """p-value of the strangest edge, times how many there are."""
    p_values, _ = reference().edges(batch(rows))
    return float(min(1.0, p_values.min() * len(p_values)))


def test_of_usual_snapshots_hardly_more_are_strange_than_the_risk_says() -> None:
    strange = [least(usual(1, seed=seed)) <= 0.05 for seed in range(1000, 1200)]
    assert sum(strange) <= 0.05 * 200 + 2 * np.sqrt(0.05 * 0.95 * 200)


def test_a_scan_among_usual_edges_is_far_rarer_than_any_usual_snapshot() -> None:
    assert least(usual(1, seed=5000) + scan()) < 1e-4


def test_what_was_asked_about_a_hundred_times_is_as_strange_as_at_first() -> None:
    rows = batch(usual(1, seed=5000) + scan())
    first = reference().edges(rows)[0]
    for _ in range(100):
        again = reference().edges(rows)[0]
    assert np.array_equal(first, again)


def test_the_reasons_of_a_scan_name_what_is_unusual_about_it() -> None:
    _, reasons = reference().edges(batch(scan()))
    named = {name for name, *_ in reasons[0]}
    assert named & {"first_seen", "ports", "new_peer", "unanswered_ratio"}
    assert all(0 <= share <= 1 for _, share, _, _ in reasons[0])


def test_a_vector_as_of_a_usual_window_passes_and_one_of_a_flood_does_not() -> None:
    plain = np.expm1(vectors(batch(usual(1, seed=7000)))[0]).tolist()
    assert reference().vector(plain).p_value > 0.01
    flood = dict(zip(VECTOR, plain, strict=True)) | {"flows": 1e6, "packets": 1e7, "unanswered_ratio": 1.0}
    assert reference().vector(list(flood.values())).p_value < 0.01


def test_saved_and_loaded_it_has_the_same_id_and_says_the_same(tmp_path: Path) -> None:
    reference().save(tmp_path / "reference.npz")
    again = Reference.load(tmp_path / "reference.npz")
    rows = batch(usual(2, seed=3) + scan())
    assert (again.id, again.facts) == (reference().id, reference().facts)
    assert np.array_equal(again.edges(rows)[0], reference().edges(rows)[0])


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "reference.npz").write_bytes(b"no reference")
    with pytest.raises(InputError, match="damaged"):
        Reference.load(tmp_path / "reference.npz")


@pytest.mark.parametrize("windows", [0, 1, 20])
def test_too_short_a_past_is_refused_saying_what_is_needed(windows: int) -> None:
    with pytest.raises(UsageError, match="too few"):
        Reference().fit(batch(usual(windows)))


def test_windows_enough_for_edges_and_too_few_for_vectors_judge_edges_only() -> None:
    made = Reference()
    many = [dict(row, source=f"{row['source']}-{at}") for at in range(20) for row in usual(25, seed=at)]
    made.fit(batch(many))
    assert not made.judges_vectors
    with pytest.raises(UsageError, match="more windows"):
        made.vector([1.0] * len(VECTOR))


def test_fans_are_counted_within_one_window() -> None:
    rows = [edge("a", "b", 1), edge("a", "c", 1), edge("a", "b", 2), edge("a", "d", 1, window=1)]
    values = np.expm1(edge_values(batch(rows), np.sort(pairs(batch(rows[:1])))))
    told = dict(zip(SNAPSHOT, values.T, strict=True))
    assert told["fan_out"].round().tolist() == [2, 2, 2, 1]
    assert told["fan_in"].round().tolist() == [1, 1, 1, 1]
    assert told["ports"].round().tolist() == [2, 1, 2, 1]
    assert told["first_seen"].round().tolist() == [0, 1, 1, 1]
