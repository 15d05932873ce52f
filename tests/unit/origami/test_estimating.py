"""Off-policy estimates against what can be reckoned by hand, and their silence where the log is too thin."""

import numpy as np
import pytest

from loomidi.contracts import UsageError
from loomidi.origami.policy import (
    ARMS,
    ASK_HUMAN,
    METHODS,
    NO_ACTION,
    Candidates,
    EstimateSettings,
    Judged,
    Logged,
    dr,
    effective_size,
    estimate,
    ips,
    modelled,
    snips,
)

BY_HAND = Logged(
    rewards=np.array([1.0, 0.0, 1.0, 0.5]),
    propensities=np.array([0.5, 0.5, 0.25, 1.0]),
    target=np.array([1.0, 0.0, 0.5, 0.5]),
    modelled=np.array([0.8, 0.2, 0.6, 0.5]),
    modelled_target=np.array([0.7, 0.3, 0.6, 0.4]),
)  # weights 2, 0, 2, 0.5


def test_ips_is_the_mean_of_weighted_rewards() -> None:
    assert ips(BY_HAND) == pytest.approx((2 * 1 + 0 + 2 * 1 + 0.5 * 0.5) / 4)


def test_snips_divides_by_the_weights() -> None:
    assert snips(BY_HAND) == pytest.approx(4.25 / 4.5)


def test_dr_is_the_model_mended_by_weighted_errors() -> None:
    mended = [0.7 + 2 * 0.2, 0.3, 0.6 + 2 * 0.4, 0.4 + 0.0]
    assert dr(BY_HAND) == pytest.approx(np.mean(mended))


def test_the_effective_size_is_that_of_kong() -> None:
    assert effective_size(BY_HAND.weights) == pytest.approx(4.5**2 / (4 + 4 + 0.25))
    assert effective_size(np.ones(7)) == pytest.approx(7)
    assert effective_size(np.zeros(3)) == 0.0


def test_a_policy_judged_by_its_own_log_earns_what_it_earned() -> None:
    rewards = np.random.default_rng(0).random(200)
    chances = np.full(200, 0.4)
    own = Logged(rewards, chances, chances, rewards * 0, rewards * 0)
    for method in METHODS:
        assert estimate(method, own).value == pytest.approx(rewards.mean())


def test_dr_with_a_perfect_model_has_no_error_however_thin_the_log_is() -> None:
    rewards = np.random.default_rng(1).random(50)
    rare = Logged(rewards, np.full(50, 0.01), (np.arange(50) == 3).astype(float), rewards, np.full(50, 0.7))
    assert dr(rare) == pytest.approx(0.7)
    assert abs(ips(rare) - 0.7) > 0.1


def bandit_log(count: int, floor: float, seed: int = 0) -> tuple[Judged, float]:
    """Two arms; the second earns its feature. The log does nothing but for a floor; the truth is of always asking."""
    rng = np.random.default_rng(seed)
    rows, chosen, rewards = [], rng.random(count) < floor / 2, np.zeros(count)
    truth = []
    for at in range(count):
        feature = float(rng.random())
        rows.append(
            Candidates(
                (NO_ACTION, ASK_HUMAN),
                np.array([ARMS.index(NO_ACTION), ARMS.index(ASK_HUMAN)]),
                np.array([[1.0, 0.0], [1.0, feature]]),
                np.array([0.2, 0.5]),
                np.ones(2, bool),
                np.ones(2, bool),
            )
        )
        truth.append(feature)
        rewards[at] = feature if chosen[at] else 0.2
    chances = np.where(chosen, floor / 2, 1 - floor / 2)
    return Judged(tuple(rows), chosen.astype(int), rewards, chances), float(np.mean(truth))


def test_every_method_finds_the_truth_in_a_log_that_explores_enough() -> None:
    judged, truth = bandit_log(2000, 0.5)
    logged = modelled(judged, lambda of: np.array([0.0, 1.0]))
    for method in METHODS:
        told = estimate(method, logged)
        assert told.conclusive
        assert told.value == pytest.approx(truth, rel=0.1)
        assert told.low <= truth <= told.high


def test_dr_is_the_surest_of_them() -> None:
    judged, _ = bandit_log(2000, 0.5)
    logged = modelled(judged, lambda of: np.array([0.0, 1.0]))
    width = {method: (one := estimate(method, logged)).high - one.low for method in METHODS}
    assert width["dr"] < width["snips"] <= width["ips"]


def test_too_thin_a_log_concludes_nothing_and_says_what_to_do() -> None:
    judged, _ = bandit_log(300, 0.1)
    told = estimate("dr", modelled(judged, lambda of: np.array([0.0, 1.0])))
    assert not told.conclusive
    assert told.effective < 50
    assert "log more" in told.because
    assert told.better_than(0.0) is None


def test_a_long_log_of_which_hardly_anything_counts_concludes_nothing_either() -> None:
    count = 2000
    rare = Logged(np.ones(count), np.full(count, 0.05), (np.arange(count) % 20 == 0) * 1.0)
    told = estimate("snips", rare, EstimateSettings(least_effective=50, least_share=0.1))
    assert told.effective == pytest.approx(100)
    assert not told.conclusive


def test_better_is_said_only_where_the_whole_interval_is_above() -> None:
    told = estimate("snips", Logged(np.full(200, 0.8), np.full(200, 0.5), np.full(200, 0.5)))
    assert told.better_than(0.7) is True
    assert told.better_than(0.8) is None
    assert told.better_than(0.9) is False


def test_the_interval_is_the_same_for_the_same_seed() -> None:
    judged, _ = bandit_log(200, 0.5)
    logged = modelled(judged, lambda of: np.array([0.0, 1.0]))
    assert estimate("dr", logged) == estimate("dr", logged)


def test_a_decision_is_modelled_without_its_own_outcome() -> None:
    judged, _ = bandit_log(100, 0.5)
    loud = Judged(judged.candidates, judged.chosen, judged.rewards.copy(), judged.propensities)
    loud.rewards[5] = 100.0
    always = lambda of: np.array([1.0, 0.0])  # noqa: E731
    plain, changed = modelled(judged, always), modelled(loud, always)
    assert plain.modelled[5] == changed.modelled[5]


@pytest.mark.parametrize("chances", [0.0, -0.1, 1.5])
def test_a_propensity_that_cannot_be_is_refused(chances: float) -> None:
    with pytest.raises(UsageError, match="propensity"):
        Logged(np.ones(3), np.array([0.5, chances, 0.5]), np.ones(3))


def test_dr_without_a_model_says_what_it_needs() -> None:
    with pytest.raises(UsageError, match="modelled"):
        estimate("dr", Logged(np.ones(9), np.full(9, 0.5), np.full(9, 0.5)))


def test_an_unknown_method_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UsageError, match="ips, snips, dr"):
        estimate("magic", BY_HAND)
