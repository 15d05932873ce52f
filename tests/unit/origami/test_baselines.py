"""Robust baselines: judged before learned, clipped, bounded, kept over a restart."""

from loomidi.origami.online.baselines import Baselines, BaselineSettings


def learned(values, **settings):
    baselines = Baselines(BaselineSettings(**settings))
    for value in values:
        baselines.learn("service", value)
    return baselines


def test_nothing_is_usual_before_enough_was_seen():
    assert learned([10.0] * 7).usual("service") is None
    assert learned([10.0] * 8).usual("service") == (10.0, 30.0)


def test_a_single_outlier_moves_neither_median_nor_limit():
    assert learned([10.0, 11.0, 9.0, 10.0] * 4 + [10_000.0]).usual("service")[1] < 100


def test_a_flood_cannot_teach_itself_at_once():
    baselines = learned([10.0] * 32)
    for _ in range(8):
        baselines.learn("service", 1_000_000.0)
    assert baselines.usual("service")[1] < 100


def test_before_anything_is_usual_a_flood_counts_no_more_than_the_limit_of_its_rule():
    baselines = Baselines()
    for _ in range(8):
        baselines.learn("service", 100.0, 40.0)
        baselines.learn("victim", 5000.0, 40.0)
    assert baselines.usual("service") == (40.0, 120.0)
    assert baselines.usual("victim") is None


def test_real_growth_is_followed_in_the_end():
    baselines = learned([10.0] * 32)
    for step in range(400):
        baselines.learn("service", 10.0 + step)
    assert baselines.usual("service")[0] > 300


def test_the_number_of_keys_is_bounded_and_the_oldest_goes_first():
    baselines = Baselines(BaselineSettings(keys=3))
    for key in ("a", "b", "a", "c", "d"):
        baselines.learn(key, 1.0)
    assert sorted(baselines.snapshot()) == ["a", "c", "d"]


def test_what_was_learned_survives_a_restart():
    before = learned([10.0, 12.0] * 8)
    after = Baselines()
    after.restore(before.snapshot())
    assert after.usual("service") == before.usual("service")
