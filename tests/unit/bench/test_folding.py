"""The benchmark of folds: its rules are the project's own, and its verdict can go either way."""

from typing import Any

import numpy as np
import pytest

from bench.folding import GAIN, Learner, missed, verdict
from bench.folding_players import Rules, expected, first_of, rules
from loomidi.origami.gym import ACTIONS, NOTHING, PLAIN, SCENARIOS, Simulator, action_of, episodes_of, play


def stood(name: str, pattern: str, seed: int = 0) -> Simulator:
    """An episode in which the detectors say `pattern` and the first suspect is the right one."""
    simulator = Simulator()
    for at in range(seed, seed + 200):
        simulator.reset(name, at)
        roles = tuple(entity.role for entity in simulator.trouble.suspects)
        if simulator.trouble.pattern == pattern and roles == SCENARIOS[name].roles:
            return simulator
    pytest.fail(f"no episode of {name} is told as {pattern}")


@pytest.mark.parametrize(
    ("name", "pattern", "action"),
    [
        ("scan-services", "vertical_scan", action_of("ISOLATE_POD", 0)),
        ("bad-rollout-crash", "crash_loop", action_of("ROLLBACK", 0)),
        ("cpu-saturation", "cpu_saturation", action_of("SCALE_OUT", 0)),
        ("syn-flood", "syn_flood", action_of("RECONFIGURE_NETWORK", 0)),
        ("node-pressure", "node_pressure", action_of("EVICT", 0)),
        ("exfiltration-slow", "exfiltration", action_of("RECONFIGURE_NETWORK", 1)),
    ],
)
def test_rules_do_here_what_they_do_on_the_lab(name: str, pattern: str, action: int) -> None:
    assert rules(stood(name, pattern))[0] == action


def test_a_pattern_without_a_recipe_gives_no_fold() -> None:
    simulator = stood("queue-growth", "anomaly")
    assert rules(simulator) == []
    np.testing.assert_array_equal(expected(simulator), PLAIN)


def test_the_prior_of_the_bandit_is_the_order_of_the_rules() -> None:
    simulator = stood("exfiltration-slow", "exfiltration")
    allowed = [action for action in rules(simulator) if simulator.mask()[action]]
    worth = expected(simulator)
    assert [int(at) for at in np.argsort(-worth)[: len(allowed)]] == allowed
    assert worth[NOTHING] < worth[allowed[0]]


def test_rules_take_the_next_fold_only_after_a_rest_and_none_twice() -> None:
    simulator, player, taken = stood("beacon-jittered", "beaconing"), Rules(), []
    while not simulator.done:
        taken.append(player.decide(simulator))
        simulator.step(taken[-1], screened=False)
    folds = [action for action in taken if action != NOTHING]
    assert len(folds) == len(set(folds)) <= len(ACTIONS)


def test_rules_try_nothing_that_is_masked() -> None:
    assert sum(one.masked for one in play(Rules(), episodes_of(tuple(SCENARIOS), 40, 5))) == 0


def test_no_action_is_taken_where_every_fold_is_denied() -> None:
    simulator = stood("dns-failure", "anomaly")
    assert first_of(simulator, [action_of("RESTART", 1)]) == NOTHING


def test_a_learner_learns_late_and_in_the_end_all() -> None:
    learner = Learner(1)
    for episode in episodes_of(tuple(SCENARIOS), 12, 6):
        learner.fold(*episode)
    assert learner.chooser.counts["learned"] == 7
    learner.settle()
    assert learner.chooser.counts["learned"] == 12


def runs(agent: float, bandit: float = -1.0, **of_agent: float) -> list[dict[str, dict[str, float]]]:
    """Two seeds of B7."""
    plain = {"masked": 0.0, "over_budget": 0.0}
    others = {"nobody": -4.0, "rules": -3.0, "by hand": -2.0}
    one = {name: {"reward": reward, **plain} for name, reward in others.items()}
    return [one | {"bandit": {"reward": bandit, **plain}, "agent": {"reward": agent, **plain, **of_agent}}] * 2


def test_an_agent_that_is_ahead_of_all_may_be_promoted() -> None:
    assert verdict(runs(-0.5))[0]


@pytest.mark.parametrize(
    ("agent", "of_agent", "why"),
    [
        (-1.5, {}, "bandit is not worse"),
        (-0.5, {"masked": 1.0}, "masked"),
        (-0.5, {"over_budget": 0.3}, "budget"),
    ],
)
def test_an_agent_that_is_not_or_breaks_a_rule_may_not(agent: float, of_agent: dict[str, float], why: str) -> None:
    promoted, because = verdict(runs(agent, **of_agent))
    assert not promoted
    assert why in because


def test_an_agent_that_was_not_trained_may_not_be_promoted() -> None:
    assert not verdict([{name: of for name, of in run.items() if name != "agent"} for run in runs(-0.5)])[0]


def test_a_peer_that_is_ahead_of_the_bandit_is_a_miss() -> None:
    assert "by hand is ahead" in "; ".join(missed(runs(-0.5, bandit=-2.5), []))
    assert missed(runs(-0.5), []) == []


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("gain", GAIN - 1, "gain"),
        ("forgetting", 3.0, "forgetting"),
        ("dr_off", 0.2, "DR"),
        ("conclusive", False, "said"),
    ],
)
def test_each_target_of_b8_can_be_missed(field: str, value: Any, told: str) -> None:
    met = {"gain": GAIN, "forgetting": 1.0, "dr_off": 0.05, "conclusive": True}
    assert missed([], [met]) == []
    assert told in missed([], [met | {field: value}])[0]
