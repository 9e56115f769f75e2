"""The algorithms by name: which action forms they take, and their settings. Importing this loads none of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from l2o_env.asg import ASG
from l2o_env.errors import ConfigError, unknown_name

from ..options import override
from . import sb3_config
from .reinforce_config import PRESETS, ReinforceConfig
from .sb3_config import SB3Config

AlgorithmConfig = ReinforceConfig | SB3Config
_CONTINUOUS = ("log", "relative", "relative_update", "log+guidance")
_ANY = (*_CONTINUOUS, "discrete")


@dataclass(frozen=True)
class Algorithm:
    """What has to be known of an algorithm before it is loaded."""

    name: str
    """As ``--algo`` takes it."""
    config: AlgorithmConfig
    """Its default settings."""
    forms: tuple[str, ...]
    """Action forms that it can learn."""
    common_random_numbers: bool
    """Whether optimizees that train side by side share pair, initialisation and batches: it helps where they are
    compared with each other; a learned critic rather wants to see many different episodes."""
    path: str = ""
    """``module:Class`` of Stable-Baselines3 or sb3-contrib; empty for our own."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the environment that it needs besides the action form."""
    any_network: bool = False
    """Whether it learns on networks of differing numbers of layer groups in one training."""
    shared_factor: bool = False
    """Whether it takes a single discrete action: one factor for all layer groups."""


_ASG = {key: value for key, value in ASG.items() if key != "window"}  # the shortest window is for the user to say
_TABLE = (
    Algorithm("reinforce", PRESETS["default"], _ANY, True, any_network=True),
    Algorithm("asg", PRESETS["asg"], ("discrete",), False, settings=_ASG),
    Algorithm("ppo", sb3_config.PPOConfig(), _ANY, False, "stable_baselines3:PPO"),
    Algorithm("a2c", sb3_config.A2CConfig(), _ANY, False, "stable_baselines3:A2C"),
    Algorithm("sac", sb3_config.SACConfig(), _CONTINUOUS, False, "stable_baselines3:SAC"),
    Algorithm("td3", sb3_config.TD3Config(), _CONTINUOUS, False, "stable_baselines3:TD3"),
    Algorithm("ddpg", sb3_config.DDPGConfig(), _CONTINUOUS, False, "stable_baselines3:DDPG"),
    Algorithm("dqn", sb3_config.DQNConfig(), ("discrete",), False, "stable_baselines3:DQN", shared_factor=True),
    Algorithm("recurrent_ppo", sb3_config.RecurrentPPOConfig(), _ANY, False, "sb3_contrib:RecurrentPPO"),
    Algorithm("trpo", sb3_config.TRPOConfig(), _ANY, False, "sb3_contrib:TRPO"),
    Algorithm("tqc", sb3_config.TQCConfig(), _CONTINUOUS, False, "sb3_contrib:TQC"),
    Algorithm("crossq", sb3_config.CrossQConfig(), _CONTINUOUS, False, "sb3_contrib:CrossQ"),
    Algorithm("ars", sb3_config.ARSConfig(), _CONTINUOUS, True, "sb3_contrib:ARS"),
    Algorithm("maskable_ppo", sb3_config.MaskablePPOConfig(), ("discrete",), False, "sb3_contrib:MaskablePPO"),
)
ALGORITHMS: Mapping[str, Algorithm] = {algorithm.name: algorithm for algorithm in _TABLE}
"""All algorithms by name."""


def find(name: str, form: str | None = None) -> Algorithm:
    """The algorithm of a name.

    Args:
        name: Such as ``"ppo"``.
        form: An action form that it has to take.

    Raises:
        ConfigError: If the name is unknown, or the algorithm and the action form do not go together.
    """
    if name not in ALGORITHMS:
        raise unknown_name("algorithm", name, ALGORITHMS)
    algorithm = ALGORITHMS[name]
    if form is not None and form not in algorithm.forms:
        fitting = ", ".join(other.name for other in _TABLE if form in other.forms)
        raise ConfigError(
            f"The algorithm {name!r} and the action form {form!r} do not go together. {name!r} takes the forms "
            f"{', '.join(algorithm.forms)}; {form!r} goes with {fitting}."
        )
    return algorithm


def configure(name: str, changes: Mapping[str, Any] | None = None) -> AlgorithmConfig:
    """Default settings of an algorithm with some of them changed.

    Args:
        name: Such as ``"ppo"``.
        changes: Hyper-parameters by name; text is read as a value of the right type.

    Raises:
        ConfigError: If a name is unknown or a value has the wrong type or cannot work.
    """
    return override(find(name).config, changes or {}, f"hyper-parameter of {name}")
