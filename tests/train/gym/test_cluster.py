"""The adapter to Ray RLlib: one round on one machine, with masks."""

import pytest

pytest.importorskip("tree", reason="Ray RLlib needs dm-tree, which ray[rllib] brings; the lock names ray[tune] so far")


@pytest.mark.slow  # Ray takes half a minute to come up on two busy cores
@pytest.mark.filterwarnings("ignore")
def test_rllib_trains_a_round_with_masks_on_one_machine() -> None:
    import ray

    from loomidi.origami.gym.clusters import ClusterSettings, algorithm

    ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR")
    try:
        one = algorithm(("scan-services", "queue-growth"), ClusterSettings(batch=256))
        told = one.train()
        one.stop()
    finally:
        ray.shutdown()
    assert told["num_env_steps_sampled_lifetime"] >= 256  # a masked action would have raised
