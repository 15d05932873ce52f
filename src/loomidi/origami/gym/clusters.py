"""The same training on more than one machine: a thin adapter to Ray RLlib, the one home of ray here.

Called by who has a Ray cluster, and by a smoke test on one machine. In: names of scenarios, `ClusterSettings`. Out:
RLlib's own Algorithm, with actions masked by RLlib's own module. Nothing of the project rests on it: `agents` trains
the same environment on one core.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from loomidi.contracts import EnvironmentLacks
from loomidi.origami.gym.environment import FoldingEnv, MaskedObservations

try:
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec
    from ray.rllib.examples.rl_modules.classes.action_masking_rlm import ActionMaskingTorchRLModule
    from ray.tune.registry import register_env
except ImportError as error:
    raise EnvironmentLacks(f"Ray RLlib is not installed: pip install 'loomidi[train]' ({error})") from error

_NAME = "loomidi-folding"  # by which the runners on other machines find the environment


@dataclasses.dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How the work is spread."""

    runners: int = 0
    # Actors that play; 0: in this process.
    learners: int = 0
    # Actors that learn; 0: in this process.
    batch: int = 4096
    # Decisions of one round.
    rate: float = 1e-3
    discount: float = 0.97
    layers: tuple[int, int] = (64, 64)
    seed: int = 0


def algorithm(names: Sequence[str], settings: ClusterSettings | None = None) -> Any:
    """RLlib's PPO, built; the caller trains it round by round and stops it. `ray.init` is the caller's as well."""
    settings = settings or ClusterSettings()
    register_env(_NAME, _made)
    module = RLModuleSpec(
        module_class=ActionMaskingTorchRLModule, model_config={"fcnet_hiddens": list(settings.layers)}
    )
    config = (
        PPOConfig()
        .environment(_NAME, env_config={"names": tuple(names)})
        .env_runners(num_env_runners=settings.runners)
        .learners(num_learners=settings.learners)
        .training(train_batch_size_per_learner=settings.batch, lr=settings.rate, gamma=settings.discount)
        .rl_module(rl_module_spec=module)
        .debugging(seed=settings.seed)
    )
    return config.build_algo()


def _made(config: Any) -> MaskedObservations:
    return MaskedObservations(FoldingEnv(config["names"]))
