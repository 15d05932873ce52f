"""What every detector of edges must do, and what each of them finds."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from loomidi.contracts.errors import InputError, UsageError
from loomidi.origami.online import (
    Cusum,
    CusumSettings,
    Detector,
    EdgeSketch,
    HalfSpaceTrees,
    NormSettings,
    RobustNorm,
    Seen,
    SketchSettings,
    TailSettings,
    TailThreshold,
    TreesSettings,
)
from loomidi.origami.online.tails import pareto

MINUTE = 60 * 10**9
FEATURES = 5
MADE: dict[str, Callable[[int], Detector]] = {
    "norm": lambda seed: RobustNorm(NormSettings(refresh=300, adaptive=True, every=3, kept=200), FEATURES),
    "sketch": lambda seed: EdgeSketch(SketchSettings(columns=64, seed=seed)),
    "trees": lambda seed: HalfSpaceTrees(TreesSettings(trees=5, depth=6, window=256, seed=seed), FEATURES),
}


def seen(rows: int = 2000, seed: int = 1) -> Seen:
    """Usual edges; in the last quarter, each seventh is a source that floods and whose features are far off."""
    random = np.random.default_rng(seed)
    times = 28_000_000 * MINUTE + np.sort(random.integers(0, 40 * MINUTE, rows))
    sources, destinations = random.integers(1, 9, (2, rows)).astype(np.uint64)
    values = random.normal(3, 0.5, (rows, FEATURES)).astype(np.float32)
    odd = odd_ones(rows)
    sources[odd], destinations[odd], values[odd] = 99, 1, 8
    times[odd] = times[-1]
    return Seen(np.sort(times), sources, destinations, values)


def odd_ones(rows: int) -> np.ndarray:
    at = np.arange(rows)
    return (at > 0.75 * rows) & (at % 7 == 0)


@pytest.fixture(params=MADE)
def make(request: pytest.FixtureRequest) -> Callable[[int], Detector]:
    return MADE[request.param]


def test_how_a_stream_is_cut_makes_no_difference_to_any_bit(make: Callable[[int], Detector]) -> None:
    whole, cut, start, rest = make(3), make(3), seen().part(0, 600), seen().part(600, 2000)
    whole.fit(start)
    cut.fit(start)
    places = [0, 0, 1, 299, 300, 301, 900, 1400]
    parts = [cut.score(rest.part(a, b)) for a, b in pairwise(places)]
    assert np.concatenate(parts).tobytes() == whole.score(rest).tobytes()


def test_a_restored_one_goes_on_bit_for_bit(make: Callable[[int], Detector]) -> None:
    one, other, rest = make(3), make(3), seen().part(600, 2000)
    one.fit(seen().part(0, 600))
    one.score(rest.part(0, 700))
    other.restore(one.snapshot())
    assert other.snapshot() == one.snapshot()
    assert other.score(rest.part(700, 1400)).tobytes() == one.score(rest.part(700, 1400)).tobytes()


def test_memory_does_not_grow(make: Callable[[int], Detector]) -> None:
    one = make(3)
    one.fit(seen())
    first = len(one.snapshot())
    one.score(seen(6000, seed=2))
    assert len(one.snapshot()) <= first + 1


def test_a_snapshot_that_does_not_fit_is_refused_with_a_reason(make: Callable[[int], Detector]) -> None:
    one = make(3)
    one.fit(seen())
    for state in (one.snapshot()[:-9], b"", b"PK" * 40):
        with pytest.raises(InputError, match="start anew without it"):
            make(3).restore(state)


@pytest.mark.parametrize("kind", ["sketch", "trees"])
def test_a_seed_says_which_randomness(kind: str) -> None:
    scores = [MADE[kind](seed) for seed in (1, 1, 2)]
    for one in scores:
        one.fit(seen().part(0, 600))
    first, same, other = (one.snapshot() for one in scores)
    assert first == same != other


def test_what_is_far_off_scores_high() -> None:
    rows = seen()
    for kind in ("norm", "trees"):
        one = MADE[kind](1)
        one.fit(rows.part(0, 1000))
        scores = one.score(rows.part(1000, 2000), np.zeros(1000, bool))
        odd = odd_ones(2000)[1000:]
        assert scores[odd].min() > np.quantile(scores[~odd], 0.99), kind


def test_a_flood_does_not_become_usual_in_the_sketch() -> None:
    """Ten quiet minutes, then a flood that goes on for thirty: its last minute scores like its first."""
    sketch = EdgeSketch(SketchSettings(columns=64))
    minutes = np.concatenate([np.repeat(np.arange(10), 5), np.repeat(np.arange(10, 40), 2000)]) * MINUTE + 10**15
    ones = np.ones(len(minutes), np.uint64)
    scores = sketch.score(Seen(minutes, ones, ones, np.zeros((len(minutes), 0), np.float32)))
    assert scores[:50].max() < 100
    assert scores[-1] > 1000


def test_a_detector_says_what_it_needs() -> None:
    with pytest.raises(UsageError, match="need 256 edges to begin with, not 10"):
        MADE["trees"](1).fit(seen().part(0, 10))
    with pytest.raises(UsageError, match="look at 5 features, not 4"):
        MADE["trees"](1).score(Seen(*(np.zeros(3, np.int64),) * 3, np.zeros((3, 4), np.float32)))
    with pytest.raises(UsageError, match="out of bounds"):
        EdgeSketch(SketchSettings(columns=100))
    with pytest.raises(UsageError, match="no edges"):
        MADE["norm"](1).fit(seen().part(0, 0))


@pytest.mark.parametrize("kind", ["exponential", "pareto", "uniform"])
def test_a_tail_beyond_what_was_seen_is_told_from_what_exceeded(kind: str) -> None:
    random = np.random.default_rng(5)
    draw = {"exponential": random.exponential, "pareto": lambda size: random.pareto(4, size), "uniform": random.random}
    true = {"exponential": np.log(1e5), "pareto": 1e5 ** (1 / 4) - 1, "uniform": 1.0}[kind]
    tail = TailThreshold(TailSettings(risk=1e-5))
    tail.fit(draw[kind](size=20_000))
    assert tail.limit == pytest.approx(true, rel=0.35)


def test_a_tail_goes_on_after_a_restore_and_follows_a_drift() -> None:
    random = np.random.default_rng(6)
    drift = random.normal(0, 1, 8000) + np.linspace(0, 40, 8000)
    tail, other = (TailThreshold(TailSettings(risk=1e-3, depth=200)) for _ in range(2))
    tail.fit(drift[:2000])
    alarms = [tail.update(drift[at : at + 50]).sum() for at in range(2000, 8000, 50)]
    assert sum(alarms) <= 30
    other.restore(tail.snapshot())
    assert other.limit == tail.limit


def test_a_tail_needs_some_values_and_a_risk_within_it() -> None:
    assert pareto(np.full(20, 1.0))[1] > 0
    with pytest.raises(UsageError, match="at least 10"):
        TailThreshold().fit(np.zeros(3))
    with pytest.raises(UsageError, match="is no tail"):
        TailThreshold(TailSettings(risk=0.5))


def test_a_small_lasting_shift_is_told_and_noise_is_not() -> None:
    random = np.random.default_rng(7)
    rates = random.normal(10, 1, (400, 3))
    rates[300:, 1] += 2
    cusum = Cusum(3, CusumSettings(limit=12))
    told = [cusum.update(row) for row in rates]
    first = np.argmax(np.array(told), axis=0)
    assert np.array(told).any(axis=0).tolist() == [False, True, False]
    assert 300 <= first[1] <= 320
    again = Cusum(3, CusumSettings(limit=12))
    again.restore(cusum.snapshot())
    again.settle(np.array([1]))
    assert not again.update(rates[0])[1]
