"""An agent trained in the environment by MaskablePPO, under budgets: the one home of stable-baselines3.

Called by the bench and `origami.train`. In: names of scenarios, `AgentSettings`. Out: `Agent`, a Player that is saved
and loaded. What is masked has no probability; what may cost more than is left of a budget is masked as well; and
the multipliers rise while episodes cost more than their budgets (Lagrange). The scheme is that of arXiv:2606.13832.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loomidi.contracts import EnvironmentLacks, InputError
from loomidi.origami.gym.environment import FoldingEnv, Multipliers
from loomidi.origami.gym.observing import observation
from loomidi.origami.gym.simulating import GymSettings, Simulator

try:
    from sb3_contrib import MaskablePPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.vec_env import DummyVecEnv
except ImportError as error:
    raise EnvironmentLacks("sb3-contrib is not installed: pip install 'loomidi[train]'") from error


@dataclasses.dataclass(frozen=True, slots=True)
class AgentSettings:
    """How it is trained."""

    steps: int = 60_000
    # Decisions; about 2,000 episodes.
    environments: int = 8
    # In one process, one after the other.
    rollout: int = 128
    # Steps of each environment between two updates.
    batch: int = 256
    epochs: int = 5
    # Over each rollout.
    rate: float = 1e-3
    # Of learning.
    discount: float = 0.97
    # Per decision: half is left after 230 s, most of an episode.
    entropy: float = 0.01
    # Bonus for not being sure too early.
    layers: tuple[int, int] = (64, 64)
    # Of policy and value each.
    multiplier_rate: float = 0.5
    # By which a multiplier rises for each budget that a mean episode overspends.
    seed: int = 0


class Agent:
    """A trained policy, without its lots."""

    def __init__(self, model: Any, multipliers: Multipliers | None = None) -> None:
        self._model = model
        self.multipliers = multipliers or Multipliers()  # as they were at the end of training

    def begin(self) -> None:
        """It remembers nothing between decisions."""

    def decide(self, simulator: Simulator) -> int:
        """The likeliest action of those that are allowed."""
        action, _ = self._model.predict(observation(simulator), action_masks=simulator.mask(), deterministic=True)
        return int(action)

    def save(self, path: Path) -> Path:
        """Into a zip file, as sb3 has it."""
        self._model.save(path)
        return path

    @classmethod
    def load(cls, path: Path) -> "Agent":
        """Raises InputError for a file that holds none."""
        try:
            return cls(MaskablePPO.load(path, device="cpu"))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path} holds no agent; train one anew") from error


def train(names: Sequence[str], settings: AgentSettings | None = None, gym: GymSettings | None = None) -> Agent:
    """On scenarios of these names. One core; about a thousand decisions a second."""
    settings, multipliers = settings or AgentSettings(), Multipliers()
    places = DummyVecEnv([lambda: FoldingEnv(names, gym, multipliers) for _ in range(settings.environments)])
    places.seed(10_000 * (settings.seed + 1))
    model = MaskablePPO(
        "MlpPolicy",
        places,
        learning_rate=settings.rate,
        n_steps=settings.rollout,
        batch_size=settings.batch,
        n_epochs=settings.epochs,
        gamma=settings.discount,
        ent_coef=settings.entropy,
        policy_kwargs={"net_arch": list(settings.layers)},
        seed=settings.seed,
        device="cpu",
    )
    budgets = (gym or GymSettings()).budgets
    model.learn(settings.steps, callback=_Lagrange(multipliers, budgets, settings.multiplier_rate))
    return Agent(model, multipliers)


class _Lagrange(BaseCallback):  # type: ignore[misc]
    """After each rollout: dearer where the mean episode was above its budget, cheaper where it was below."""

    def __init__(self, multipliers: Multipliers, budgets: Any, rate: float) -> None:
        super().__init__()
        self._multipliers, self._budgets, self._rate = multipliers, budgets, rate

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        prices = self._multipliers
        prices.downtime = self._moved(prices.downtime, prices.downtime_seen, self._budgets.downtime_min)
        prices.blast = self._moved(prices.blast, prices.blast_seen, self._budgets.blast)

    def _moved(self, price: float, seen: list[float], budget: float) -> float:
        over = float(np.mean(seen)) / budget - 1.0 if seen else 0.0
        seen.clear()
        return max(0.0, price + self._rate * over)
