"""What habits of ends and the ensemble with forests must do, and what they find."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from loomidi.contracts.errors import InputError, UsageError
from loomidi.origami.online import Detector, Seen
from loomidi.origami.scoring import Ensemble, EnsembleSettings, Habits, HabitSettings
from loomidi.origami.scoring.ensembles import Rareness

SECOND, FEATURES = 10**9, 5
MADE: dict[str, Callable[[], Detector]] = {
    "habits": lambda: Habits(HabitSettings(ends=64), FEATURES),
    "ensemble": lambda: Ensemble(EnsembleSettings(forests=2, window=512), FEATURES),
}


def seen(rows: int = 3000, seed: int = 1, start_s: int = 1000) -> Seen:
    """Twelve ends; the features of an edge lie about a middle that its source has, and its destination."""
    random = np.random.default_rng(seed)
    times = (np.sort(random.integers(0, rows // 5, rows)) + start_s) * SECOND
    sources, destinations = random.integers(1, 13, (2, rows)).astype(np.uint64)
    values = sources[:, None] + 0.5 * destinations[:, None] + random.normal(0, 0.3, (rows, FEATURES))
    return Seen(times, sources, destinations, values.astype(np.float32))


def again(source: int, destination: int, value: float, count: int, start_s: int = 9000) -> Seen:
    """The same edge once a second."""
    ends = (np.full(count, end, np.uint64) for end in (source, destination))
    return Seen((np.arange(count) + start_s) * SECOND, *ends, np.full((count, FEATURES), value, np.float32))


@pytest.fixture(params=MADE)
def make(request: pytest.FixtureRequest) -> Callable[[], Detector]:
    return MADE[request.param]


def test_how_a_stream_is_cut_makes_no_difference_to_any_bit(make: Callable[[], Detector]) -> None:
    whole, cut, rest = make(), make(), seen(seed=2, start_s=5000)
    whole.fit(seen())
    cut.fit(seen())
    parts = [cut.score(rest.part(a, b)) for a, b in pairwise([0, 0, 1, 2, 9, 64, 65, 700, 701, 2999, 3000])]
    assert np.concatenate(parts).tobytes() == whole.score(rest).tobytes()
    assert cut.snapshot() == whole.snapshot()


def test_a_restored_one_goes_on_bit_for_bit_also_within_a_tick(make: Callable[[], Detector]) -> None:
    one, other, rest = make(), make(), seen(seed=2, start_s=5000)
    one.fit(seen())
    one.score(rest.part(0, 1333))
    other.restore(one.snapshot())
    assert other.snapshot() == one.snapshot()
    assert other.score(rest.part(1333, 3000)).tobytes() == one.score(rest.part(1333, 3000)).tobytes()


def test_a_snapshot_that_does_not_fit_is_refused_with_a_reason(make: Callable[[], Detector]) -> None:
    one = make()
    one.fit(seen())
    for state in (one.snapshot()[:-9], b"", b"PK" * 40):
        with pytest.raises(InputError, match="start anew without it"):
            make().restore(state)


def test_a_detector_says_what_it_needs(make: Callable[[], Detector]) -> None:
    with pytest.raises(UsageError, match="are too few"):
        make().fit(seen(300))
    given = seen()
    with pytest.raises(UsageError, match="5 features, not 3"):
        Habits(features=FEATURES).score(Seen(given.times_ns, given.sources, given.destinations, given.values[:, :3]))


def test_memory_does_not_grow() -> None:
    one, random = Habits(HabitSettings(ends=16), FEATURES), np.random.default_rng(3)
    one.fit(seen())
    sizes = list[int]()
    for at in range(3):
        part = seen(2000, seed=at, start_s=5000 + 1000 * at)
        ends = random.integers(1, 5000, (2, len(part))).astype(np.uint64)
        one.score(Seen(part.times_ns, *ends, part.values))
        sizes.append(len(one.snapshot()))
    assert max(sizes) <= min(sizes) + 16 * 8 * (2 * FEATURES + 4)  # what one tick may have open
    assert one.remembered["ends"] <= 16
    assert one.remembered["forgotten"] > 0


def test_an_edge_is_usual_for_who_always_does_it_and_strange_for_who_never_did() -> None:
    one = Habits(features=FEATURES)
    one.fit(seen())
    usual, strange = (one.score(again(source, 4, 12 + 2.0, 1), np.zeros(1, bool))[0] for source in (12, 1))
    assert strange > 5 * usual


def test_an_attack_does_not_become_usual_by_going_on() -> None:
    flood, gated, open_ = again(1, 4, 14.0, 400), Habits(features=FEATURES), Habits(HabitSettings(gate=1.0), FEATURES)
    for one in (gated, open_):
        one.fit(seen())
    open_._limit[0] = np.inf
    first, *_, last = gated.score(flood)
    assert last == first
    assert open_.score(flood)[-1] < 0.75 * first


def test_what_is_not_in_the_mask_is_not_remembered() -> None:
    one = Habits(features=FEATURES)
    one.fit(seen())
    one.score(again(1, 4, 3.0, 1))  # the tick that was open is over
    before = one.snapshot()
    one.score(again(1, 4, 3.0, 1), np.zeros(1, bool))
    assert one.snapshot() == before


def test_rareness_tells_shares_and_goes_on_beyond_what_was_seen() -> None:
    scores, rareness = np.linspace(0, 1, 10_001, dtype=np.float32), Rareness()
    rareness.fit(scores)
    told = rareness.of(np.array([0.0, 0.9, 0.99, 1.0, 2.0, 50.0], np.float32))
    assert told[:3] == pytest.approx([0.0, 1.0, 2.0], abs=0.01)
    assert (np.diff(told) > 0).all()
    assert np.isfinite(told).all()


def test_an_ensemble_counts_all_its_members_alike_whatever_their_scale() -> None:
    one = MADE["ensemble"]()
    one.fit(seen())
    assert isinstance(one, Ensemble)
    scores = one.score(seen(seed=4, start_s=5000))
    assert 0.0 <= float(np.median(scores)) <= 0.6
    assert one.score(again(1, 4, 40.0, 1))[0] > np.quantile(scores, 0.999)


def test_trees_of_an_ensemble_learn_nothing_without_a_mask() -> None:
    one = MADE["ensemble"]()
    one.fit(seen())
    assert isinstance(one, Ensemble)
    before = [forest.snapshot() for forest in one._forests]
    one.score(seen(seed=4, start_s=5000))
    assert [forest.snapshot() for forest in one._forests] == before
    one.score(seen(seed=5, start_s=7000), np.ones(3000, bool))
    assert [forest.snapshot() for forest in one._forests] != before
