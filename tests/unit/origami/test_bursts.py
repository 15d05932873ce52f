"""Edges of one end that are strange at once are stranger than each; how strange usual ends are says a slice."""

import numpy as np
import pytest

from loomidi.contracts.errors import InputError
from loomidi.origami.online.seen import Seen
from loomidi.origami.scoring.bursts import Bursts, BurstSettings

TICKS, EDGES, ENDS = 200, 60, 30


def seen(ticks: int, edges: int, seed: int) -> Seen:
    """Edges between a few ends, some of them each tick."""
    random = np.random.default_rng(seed)
    ends = random.integers(1, ENDS, (2, ticks * edges)).astype(np.uint64)
    return Seen(np.repeat(np.arange(ticks) * 10**10, edges), *ends, np.zeros((ticks * edges, 1), np.float32))


def usual(one: Seen, seed: int) -> "np.typing.NDArray[np.float64]":
    return np.random.default_rng(seed).uniform(size=len(one))


@pytest.fixture
def bursts() -> Bursts:
    made, slice_ = Bursts(), seen(TICKS, EDGES, 1)
    made.fit(slice_, usual(slice_, 2))
    return made


def test_of_usual_edges_no_larger_share_is_as_strange_as_its_p_value_says(bursts: Bursts) -> None:
    one = seen(TICKS * 5, EDGES, 3)
    told = bursts.p_values(one, usual(one, 4))
    for risk in (1e-2, 1e-3, 1e-4):
        assert np.mean(told <= risk) <= 2 * risk


@pytest.mark.parametrize("role", ["sources", "destinations"])
def test_a_dozen_edges_of_one_end_are_stranger_together_than_the_strangest_alone(bursts: Bursts, role: str) -> None:
    one = seen(1, EDGES, 5)
    getattr(one, role)[:12] = 7
    edges = np.full(EDGES, 0.5)
    edges[:12] = 1e-3
    together = bursts.p_values(one, edges)
    assert together[:12].max() < 1e-9
    assert together[12:].min() == 1.0
    edges[1:12] = 0.5
    assert bursts.p_values(one, edges)[0] > 1e-4


def test_the_same_edges_over_many_ticks_are_no_burst(bursts: Bursts) -> None:
    one = seen(12, 1, 6)
    one.sources[:] = 7
    assert bursts.p_values(one, np.full(12, 1e-3)).min() > 1e-4


def test_ends_that_are_usually_strange_by_many_edges_raise_the_bar(bursts: Bursts) -> None:
    one = seen(TICKS, EDGES, 7)
    edges = usual(one, 8)
    one.sources[:: EDGES // 6] = 3
    edges[:: EDGES // 6] = 1e-4
    clustered = Bursts()
    clustered.fit(one, edges)
    attack = seen(1, 6, 9)
    attack.sources[:] = 5
    told = [each.p_values(attack, np.full(6, 1e-4))[0] for each in (bursts, clustered)]
    assert told[0] < 1e-6 < 1e-2 < told[1]


def test_before_a_slice_and_with_no_edges_nothing_is_strange(bursts: Bursts) -> None:
    one = seen(1, 5, 1)
    assert Bursts().p_values(one, np.full(5, 1e-9)).tolist() == [1.0] * 5
    assert bursts.p_values(one.part(0, 0), np.zeros(0)).tolist() == []
    empty = Bursts()
    empty.fit(one.part(0, 0), np.zeros(0))
    assert empty.p_values(one, np.full(5, 1e-9)).tolist() == [1.0] * 5


def test_of_very_many_ends_the_largest_sums_are_kept_and_less_is_usual() -> None:
    few, slice_ = Bursts(BurstSettings(kept=16)), seen(TICKS, EDGES, 1)
    few.fit(slice_, usual(slice_, 2))
    one = seen(1, 5, 5)
    assert few.p_values(one, np.array([5e-3, 1, 1, 1, 1])).tolist() == [1.0] * 5
    again = Bursts()
    again.restore(few.snapshot())
    edges = np.full(5, 1e-3)
    assert again.p_values(one, edges).tolist() == few.p_values(one, edges).tolist()
    with pytest.raises(InputError, match="damaged"):
        again.restore(b"nothing")
