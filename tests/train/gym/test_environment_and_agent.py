"""The environment as Gymnasium has it, and an agent trained in it: nothing masked is ever done, budgets are felt."""

from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from loomidi.contracts import InputError
from loomidi.origami.gym import (
    ACTIONS,
    OBSERVED,
    SCENARIOS,
    Budgets,
    GymSettings,
    Simulator,
    action_of,
    episodes_of,
    play,
)
from loomidi.origami.gym.agents import Agent, AgentSettings, train
from loomidi.origami.gym.environment import FoldingEnv, MaskedObservations, Multipliers
from loomidi.origami.policy import MaskedAction

SOME = ("scan-services", "bad-rollout-config", "monitoring-scrape", "queue-growth")
SMALL = AgentSettings(steps=4096, rollout=64, seed=3)


@pytest.fixture(scope="module")
def agent() -> Agent:
    """Four thousand decisions: enough to show that training works, not to be good."""
    return train(SOME, SMALL)


def test_it_is_an_environment_by_gymnasiums_own_checker() -> None:
    class Allowed(FoldingEnv):
        """The checker draws any action: the nearest that is allowed is taken."""

        def step(self, action: int):
            allowed = np.flatnonzero(self.action_masks())
            return super().step(int(allowed[np.argmin(np.abs(allowed - action))]))

    check_env(Allowed(SOME), skip_render_check=True)


def test_spaces_are_those_of_the_simulator() -> None:
    env = FoldingEnv(SOME)
    assert env.observation_space.shape == (OBSERVED,)
    assert env.action_space.n == len(ACTIONS)
    seen, _ = env.reset(seed=1)
    assert env.observation_space.contains(seen)


def test_the_same_seed_gives_the_same_episodes() -> None:
    one, other = FoldingEnv(SOME), FoldingEnv(SOME)
    for seed in (5, None, None):
        np.testing.assert_array_equal(one.reset(seed=seed)[0], other.reset(seed=seed)[0])


def test_a_masked_action_raises_in_the_environment_too() -> None:
    env = FoldingEnv(SOME)
    env.reset(seed=1)
    masked = int(np.flatnonzero(~env.action_masks())[0])
    with pytest.raises(MaskedAction):
        env.step(masked)


def test_the_environment_pays_what_the_simulator_pays() -> None:
    env, simulator = FoldingEnv(SOME), Simulator()
    env.reset(options={"scenario": "bad-rollout-config", "seed": 4})
    simulator.reset("bad-rollout-config", 4)
    assert env.step(0)[1] == simulator.step(0)


def test_a_multiplier_makes_downtime_dearer() -> None:
    restart, paid = action_of("RESTART", 0), []
    for seed in range(60):
        plain, dear = (FoldingEnv(SOME, multipliers=Multipliers(downtime=price)) for price in (0.0, 100.0))
        for env in (plain, dear):
            env.reset(options={"scenario": "disk-fill", "seed": seed})
        if plain.action_masks()[restart]:
            rewards = [env.step(restart)[1] for env in (plain, dear)]
            if plain.simulator.tally.downtime_min > 0:
                paid.append(rewards[0] - rewards[1])
    assert paid
    assert min(paid) > 0


def test_the_mask_travels_in_the_observation_for_rllib() -> None:
    env = MaskedObservations(FoldingEnv(SOME))
    seen, _ = env.reset(seed=2)
    assert env.observation_space.contains(seen)
    np.testing.assert_array_equal(seen["action_mask"] > 0, env.unwrapped.action_masks())


def test_an_agent_never_takes_what_is_masked_on_scenarios_that_it_has_not_seen(agent: Agent) -> None:
    played = play(agent, episodes_of(tuple(SCENARIOS), 40, 8))
    assert sum(one.masked for one in played) == 0


def test_training_helps(agent: Agent) -> None:
    """Against the same network with one rollout of training."""
    raw = train(SOME, AgentSettings(steps=64, rollout=8, batch=64, seed=3))
    episodes = episodes_of(SOME, 40, 9)
    rewards = [np.mean([one.reward for one in play(player, episodes)]) for player in (agent, raw)]
    assert rewards[0] > rewards[1]


def test_multipliers_rise_while_budgets_are_overspent() -> None:
    tight = GymSettings(budgets=Budgets(downtime_min=1e-6, blast=1.0))
    env_prices = train(SOME, AgentSettings(steps=512, rollout=64), tight).multipliers
    assert env_prices.blast == 0.0
    assert env_prices.downtime >= 0.0


def test_a_saved_agent_decides_as_before(agent: Agent, tmp_path: Path) -> None:
    again = Agent.load(agent.save(tmp_path / "agent.zip"))
    episodes = episodes_of(SOME, 10, 3)
    assert play(again, episodes) == play(agent, episodes)


def test_a_file_that_holds_no_agent_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.zip"
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="train one anew"):
        Agent.load(path)
