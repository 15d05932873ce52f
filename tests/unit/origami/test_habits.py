"""What habits of ends must do, and what they find."""

from itertools import pairwise

import numpy as np
import pytest

from loomidi.contracts.errors import InputError, UsageError
from loomidi.origami.online import Seen
from loomidi.origami.scoring import Habits, HabitSettings

SECOND, FEATURES = 10**9, 5


def make() -> Habits:
    return Habits(HabitSettings(ends=64), FEATURES)


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


def test_how_a_stream_is_cut_makes_no_difference_to_any_bit() -> None:
    whole, cut, rest = make(), make(), seen(seed=2, start_s=5000)
    whole.fit(seen())
    cut.fit(seen())
    parts = [cut.score(rest.part(a, b)) for a, b in pairwise([0, 0, 1, 2, 9, 64, 65, 700, 701, 2999, 3000])]
    assert np.concatenate(parts).tobytes() == whole.score(rest).tobytes()
    assert cut.snapshot() == whole.snapshot()


def test_a_restored_one_goes_on_bit_for_bit_also_within_a_tick() -> None:
    one, other, rest = make(), make(), seen(seed=2, start_s=5000)
    one.fit(seen())
    one.score(rest.part(0, 1333))
    other.restore(one.snapshot())
    assert other.snapshot() == one.snapshot()
    assert other.score(rest.part(1333, 3000)).tobytes() == one.score(rest.part(1333, 3000)).tobytes()


def test_a_snapshot_that_does_not_fit_is_refused_with_a_reason() -> None:
    one = make()
    one.fit(seen())
    for state in (one.snapshot()[:-9], b"", b"PK" * 40):
        with pytest.raises(InputError, match="start anew without it"):
            make().restore(state)


def test_a_detector_says_what_it_needs() -> None:
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
