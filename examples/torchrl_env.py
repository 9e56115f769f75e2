"""The environment in TorchRL: its ``GymEnv`` takes it as it is.

``GymEnv`` has keywords of its own that are called `device` and `batch_size`; environments with other settings of these
names go through ``GymWrapper(gymnasium.make(...))``. Needs ``pip install torchrl``::

    python examples/torchrl_env.py
"""

from __future__ import annotations

from typing import Any


def main(**config: Any) -> Any:
    """Checks the specs of the environment and makes a rollout of random actions.

    Args:
        **config: Settings of the environment, except `device` and `batch_size`.

    Returns:
        The rollout, a TensorDict of one episode.
    """
    from torchrl.envs import GymEnv, check_env_specs

    import l2o_env  # noqa: F401  (registers the environments)

    env = GymEnv("l2o_env/Syn2Real-v0", **config)
    check_env_specs(env)
    rollout = env.rollout(max_steps=10_000)  # until the episode ends
    print(rollout)
    return rollout


if __name__ == "__main__":
    main(pairs="glyphs-digits", budget=60)
