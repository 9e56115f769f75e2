"""Learned per-layer learning rates for synthetic-to-real transfer, as Gymnasium environments."""

import gymnasium

from l2o_env.errors import ConfigError
from l2o_env.observation import FEATURE_NAMES, split_layers

__all__ = ["FEATURE_NAMES", "ConfigError", "split_layers"]
__version__ = "0.1.0"

gymnasium.register(
    id="l2o_env/Syn2Real-v0",
    entry_point="l2o_env.env:Syn2RealEnv",
    vector_entry_point="l2o_env.vector_env:Syn2RealVectorEnv",
    disable_env_checker=False,
)
gymnasium.register(
    id="l2o_env/ASG-v0",
    entry_point="l2o_env.asg:ASGEnv",
    vector_entry_point="l2o_env.asg:ASGVectorEnv",
    disable_env_checker=False,
)
