"""The simulator as Gymnasium has it: the one home of gymnasium.

Called by `agents` and `clusters`, and by anybody's own agent. In: names of scenarios, settings, a seed. Out:
`FoldingEnv` with `action_masks()`, and `MaskedObservations`, which carries the mask inside the observation. A masked
action raises: it is impossible, not merely dear. The budgets enter the reward only by `Multipliers`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from loomidi.contracts import EnvironmentLacks
from loomidi.origami.gym.actions import ACTIONS
from loomidi.origami.gym.observing import OBSERVED, observation
from loomidi.origami.gym.playing import episodes_of
from loomidi.origami.gym.simulating import GymSettings, Simulator

try:
    import gymnasium
    from gymnasium import spaces
except ImportError as error:
    raise EnvironmentLacks("gymnasium is not installed: pip install 'loomidi[train]'") from error

F32 = npt.NDArray[np.float32]
_BATCH = 256  # episodes drawn at a time


@dataclasses.dataclass(slots=True)
class Multipliers:
    """What a minute of downtime and a share of blast beyond their budgets cost at the moment (Lagrange)."""

    downtime: float = 0.0
    blast: float = 0.0
    downtime_seen: list[float] = dataclasses.field(default_factory=list)  # of episodes since the last update
    blast_seen: list[float] = dataclasses.field(default_factory=list)


class FoldingEnv(gymnasium.Env):  # type: ignore[misc]
    """An episode is one trouble. Observation: `observing.observation`; actions: `actions.ACTIONS`."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - the name and form that gymnasium asks for

    def __init__(
        self, names: Sequence[str], settings: GymSettings | None = None, multipliers: Multipliers | None = None
    ) -> None:
        self.simulator = Simulator(settings)
        self.multipliers = multipliers or Multipliers()
        self.observation_space = spaces.Box(-1.0, 1.0, (OBSERVED,), np.float32)
        self.action_space = spaces.Discrete(len(ACTIONS))
        self._names = tuple(names)
        self._seed, self._at = 0, 0
        self._episodes = episodes_of(self._names, _BATCH, self._seed)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[F32, dict[str, Any]]:
        """The next episode; with a seed, the first of that seed. `options`: `scenario` and `seed` of a certain one."""
        super().reset(seed=seed)
        if seed is not None:
            self._begin(seed)
        elif self._at >= len(self._episodes):
            self._begin(self._seed + 1)
        scenario, number = self._episodes[self._at]
        self._at += 1
        if options:
            scenario, number = options["scenario"], options["seed"]
        self.simulator.reset(scenario, number)
        return observation(self.simulator), {"scenario": scenario}

    def step(self, action: int) -> tuple[F32, float, bool, bool, dict[str, Any]]:
        """Raises MaskedAction for an action that `action_masks` does not allow."""
        simulator, prices = self.simulator, self.multipliers
        downtime, blast = simulator.tally.downtime_min, simulator.tally.blast
        reward = simulator.step(int(action))
        budgets, tally = simulator.settings.budgets, simulator.tally
        reward -= prices.downtime * (tally.downtime_min - downtime) / budgets.downtime_min
        reward -= prices.blast * (tally.blast - blast) / budgets.blast
        if simulator.done:
            prices.downtime_seen.append(tally.downtime_min)
            prices.blast_seen.append(tally.blast)
        told = {"slo_min": tally.slo_min, "downtime_min": tally.downtime_min, "blast": tally.blast}
        return observation(simulator), float(reward), simulator.done, False, told

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """What may be done now; the name is that of sb3-contrib."""
        return self.simulator.mask()

    def _begin(self, seed: int) -> None:
        self._seed, self._at = seed, 0
        self._episodes = episodes_of(self._names, _BATCH, seed)


class MaskedObservations(gymnasium.Wrapper):  # type: ignore[misc]
    """The mask beside the observation, under the keys that RLlib's masking module reads."""

    def __init__(self, env: FoldingEnv) -> None:
        super().__init__(env)
        mask = spaces.Box(0.0, 1.0, (len(ACTIONS),), np.float32)
        self.observation_space = spaces.Dict({"observations": env.observation_space, "action_mask": mask})

    def reset(self, **given: Any) -> tuple[dict[str, F32], dict[str, Any]]:
        """As the environment's."""
        seen, told = self.env.reset(**given)
        return self._with_mask(seen), told

    def step(self, action: int) -> tuple[dict[str, F32], float, bool, bool, dict[str, Any]]:
        """As the environment's."""
        seen, *rest = self.env.step(action)
        return (self._with_mask(seen), *rest)

    def _with_mask(self, seen: F32) -> dict[str, F32]:
        return {"observations": seen, "action_mask": self.env.unwrapped.action_masks().astype(np.float32)}
