"""Hyper-parameters of the algorithms of Stable-Baselines3 and sb3-contrib, with defaults for short, slow episodes.

An episode has some twenty steps and takes as long as a fine-tuning run, so a training has a few hundred episodes and
ten thousand steps. The libraries' own defaults are made for a hundred times as many. The names are theirs, and so is
the meaning of what is not explained here; where a default differs from theirs, it was chosen for that reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import ge
from typing import Literal

from l2o_env.config import MAX_WEIGHT
from l2o_env.errors import ConfigError, shortened

_POSITIVE = (
    "learning_rate", "clip_observation", "max_grad_norm", "clip_range", "target_kl", "n_steps", "batch_size",
    "n_epochs", "buffer_size", "train_freq", "cg_max_steps", "n_critic_updates", "lstm_hidden_size", "max_jump",
    "policy_delay", "n_critics", "n_quantiles", "target_update_interval", "delta_std", "n_delta", "n_top",
    "sub_sampling_factor", "line_search_max_iter",
)  # fmt: skip
_SHARES = (
    "gamma", "gae_lambda", "final_learning_rate", "noise_correlation", "tau", "exploration_fraction",
    "exploration_initial_eps", "exploration_final_eps", "line_search_shrinking_factor",
)  # fmt: skip
_NOT_NEGATIVE = ("ent_coef", "vf_coef", "noise_std", "target_policy_noise", "target_noise_clip", "learning_starts")
MAX_WIDTH = 10**4
"""Of a layer of a policy."""
_LARGEST = {
    **dict.fromkeys(_POSITIVE, MAX_WEIGHT),
    **dict.fromkeys(_NOT_NEGATIVE, MAX_WEIGHT),
    **dict.fromkeys(("lstm_hidden_size", "n_quantiles"), MAX_WIDTH),
    "n_critics": 100,
    "log_std_init": 100,
}
_AUTO = {"ent_coef": re.compile(r"auto(_[0-9.]+)?"), "target_entropy": re.compile("auto")}


@dataclass(frozen=True)
class SB3Config:
    """What all algorithms have."""

    learning_rate: float = 3e-4
    """Learning rate of the policy's optimizer at the start of training."""
    final_learning_rate: float = 0.1
    """Share of it that is left at the end; it falls linearly."""
    layer_shared: bool = True
    """Share the actor among the layer groups, so that it runs on networks with any number of them; else it reads the
    flat observation and runs only on networks with as many groups as in training."""
    net_arch: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers, of the actor and of the critic."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Between the hidden layers."""
    normalize_observations: bool = True
    """Divide features by their running standard deviation around their running mean (VecNormalize); frozen in
    evaluation. With `layer_shared` a feature has the same statistics on all layers."""
    clip_observation: float = 5.0
    """Normalised features are clipped to this."""

    def __post_init__(self) -> None:
        for key in _POSITIVE:
            self._require(key, "a number > 0", lambda x: x > 0)
        for key in _SHARES:
            self._require(key, "a number in [0, 1]", lambda x: 0 <= x <= 1)
        for key in _NOT_NEGATIVE:
            self._require(key, "a number >= 0", lambda x: x >= 0)
        for key, most in _LARGEST.items():
            self._require(key, f"at most {most:.0f}", partial(ge, most))
        for key in ("ent_coef", "target_entropy"):
            word = getattr(self, key, None)
            if isinstance(word, str) and not _AUTO[key].fullmatch(word):
                more = ", auto, or auto_0.1, which starts there" if key == "ent_coef" else " or auto"
                raise ConfigError(f"{key} is {word!r}; expected a number{more}.")
        if not all(1 <= width <= MAX_WIDTH for width in self.net_arch):
            raise ConfigError(f"net_arch is {shortened(self.net_arch)}; expected widths from 1 to {MAX_WIDTH}.")

    def _require(self, key: str, expected: str, accepts: Callable[[float], bool]) -> None:
        """Checks a number, where the algorithm has such a setting and it is not None or a word."""
        value = getattr(self, key, None)
        if isinstance(value, int | float) and not accepts(value):
            raise ConfigError(f"{key} is {value}; expected {expected}.")


@dataclass(frozen=True)
class CriticConfig(SB3Config):
    """Algorithms that learn a value of states or actions."""

    gamma: float = 0.9
    """Discount per step. Rewards are improvements of V, so a discounted return is an average of the V to come, without
    the noise of all later actions."""
    normalize_reward: bool = True
    """Divide rewards by the running standard deviation of the discounted return (VecNormalize)."""


@dataclass(frozen=True)
class OnPolicyConfig(CriticConfig):
    """Algorithms that learn from what the current policy has just done."""

    n_steps: int | None = None
    """Environment steps of each optimizee between two updates; None: a whole episode."""
    gae_lambda: float = 0.95
    """Of generalised advantage estimation."""


@dataclass(frozen=True)
class ClippedConfig(OnPolicyConfig):
    """What the forms of proximal policy optimisation (Schulman et al., 2017) have in common."""

    learning_rate: float = 1e-3
    batch_size: int | None = None
    """Transitions of a minibatch; None: a quarter of what was collected."""
    n_epochs: int = 10
    clip_range: float = 0.2
    clip_range_vf: float | None = None
    normalize_advantage: bool = True
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    target_kl: float | None = 0.05


@dataclass(frozen=True)
class PPOConfig(ClippedConfig):
    """Proximal policy optimisation."""

    use_sde: bool = True
    """Explore by weights that are drawn once per rollout (gSDE) instead of by independent noise at every step: noise
    that holds its direction over an episode tells rates apart. Not read with discrete actions."""
    log_std_init: float = -3.0
    """Logarithm of the initial standard deviation: of these weights, or else of the actions, in units of the action
    box (then -1.6, which is 0.2, is a good value)."""


@dataclass(frozen=True)
class RecurrentPPOConfig(ClippedConfig):
    """Proximal policy optimisation with an LSTM over the flat observation."""

    log_std_init: float = -1.6
    """Logarithm of the initial standard deviation of Gaussian actions, in units of the action box; -1.6 is 0.2."""
    layer_shared: bool = False
    net_arch: tuple[int, ...] = (64,)
    lstm_hidden_size: int = 64
    """Width of the LSTMs of actor and critic."""


@dataclass(frozen=True)
class MaskablePPOConfig(ClippedConfig):
    """Proximal policy optimisation that never picks a factor far from the current one."""

    max_jump: int = 3
    """Tenths of `base_lr` by which the factor of a layer group may move within one step; others are masked."""


@dataclass(frozen=True)
class A2CConfig(OnPolicyConfig):
    """Advantage actor-critic (Mnih et al., 2016), synchronous."""

    learning_rate: float = 3e-3
    n_steps: int | None = 5
    gae_lambda: float = 1.0
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    rms_prop_eps: float = 1e-5
    use_rms_prop: bool = False
    """RMSprop, or else Adam."""
    normalize_advantage: bool = True
    use_sde: bool = False
    """Explore by weights that are drawn once per rollout (gSDE) instead of by independent noise at every step. Not read
    with discrete actions."""
    log_std_init: float = -1.6
    """Logarithm of the initial standard deviation of the actions, in units of the action box, or of gSDE's weights
    (then -3 is a good value)."""


@dataclass(frozen=True)
class TRPOConfig(OnPolicyConfig):
    """Trust region policy optimisation (Schulman et al., 2015)."""

    learning_rate: float = 1e-3
    """Of the critic; the size of the actor's steps follows from `target_kl`."""
    batch_size: int | None = None
    """Transitions of a minibatch of the critic; None: a quarter of what was collected."""
    cg_max_steps: int = 15
    cg_damping: float = 0.1
    line_search_shrinking_factor: float = 0.8
    line_search_max_iter: int = 10
    n_critic_updates: int = 10
    normalize_advantage: bool = True
    target_kl: float = 0.05
    sub_sampling_factor: int = 1
    use_sde: bool = True
    """Explore by weights that are drawn once per rollout (gSDE) instead of by independent noise at every step: noise
    that holds its direction over an episode tells rates apart. Not read with discrete actions."""
    log_std_init: float = -3.0
    """Logarithm of the initial standard deviation: of these weights, or else of the actions, in units of the action
    box (then -1.6, which is 0.2, is a good value)."""


@dataclass(frozen=True)
class OffPolicyConfig(CriticConfig):
    """Algorithms that learn from all that was ever done."""

    activation: Literal["tanh", "relu"] = "relu"
    buffer_size: int = 100_000
    learning_starts: int = 320
    """Environment steps of random actions before learning starts, over all optimizees."""
    batch_size: int = 128
    train_freq: int = 1
    """Environment steps of each optimizee between two trainings."""
    gradient_steps: int = -1
    """Gradient steps of a training; -1: one for each new transition."""
    n_steps: int = 1
    """Rewards that are summed up before bootstrapping."""


@dataclass(frozen=True)
class SACConfig(OffPolicyConfig):
    """Soft actor-critic (Haarnoja et al., 2018)."""

    tau: float = 0.01
    ent_coef: float | str = "auto_0.1"
    """Weight of the entropy; `auto` learns it, `auto_0.1` from 0.1 on."""
    target_entropy: float | str = "auto"
    target_update_interval: int = 1
    log_std_init: float = -1.0
    """Logarithm of the initial standard deviation before the tanh, of a shared actor."""


@dataclass(frozen=True)
class TQCConfig(SACConfig):
    """Truncated quantile critics (Kuznetsov et al., 2020)."""

    top_quantiles_to_drop_per_net: int = 2
    n_quantiles: int = 25
    n_critics: int = 2


@dataclass(frozen=True)
class CrossQConfig(OffPolicyConfig):
    """CrossQ (Bhatt et al., 2024): soft actor-critic without target networks, with batch renormalisation."""

    learning_rate: float = 1e-3
    ent_coef: float | str = "auto_0.1"
    """Weight of the entropy; `auto` learns it, `auto_0.1` from 0.1 on."""
    target_entropy: float | str = "auto"
    policy_delay: int = 3
    log_std_init: float = -1.0
    """Logarithm of the initial standard deviation before the tanh, of a shared actor."""


@dataclass(frozen=True)
class TD3Config(OffPolicyConfig):
    """Twin delayed deep deterministic policy gradient (Fujimoto et al., 2018)."""

    tau: float = 0.01
    noise_std: float = 0.2
    """Standard deviation of the exploration noise, in units of the action box."""
    noise_correlation: float = 0.9
    """Correlation of the noise between two steps (an Ornstein-Uhlenbeck process); 0 makes it independent."""
    policy_delay: int = 2
    target_policy_noise: float = 0.2
    target_noise_clip: float = 0.5


@dataclass(frozen=True)
class DDPGConfig(OffPolicyConfig):
    """Deep deterministic policy gradient (Lillicrap et al., 2015)."""

    tau: float = 0.01
    noise_std: float = 0.2
    """Standard deviation of the exploration noise, in units of the action box."""
    noise_correlation: float = 0.9
    """Correlation of the noise between two steps (an Ornstein-Uhlenbeck process); 0 makes it independent."""


@dataclass(frozen=True)
class DQNConfig(OffPolicyConfig):
    """Deep Q-learning (Mnih et al., 2015), on one shared factor for all layers."""

    learning_rate: float = 5e-4
    tau: float = 1.0
    target_update_interval: int = 320
    """Environment steps between two updates of the target network, over all optimizees."""
    exploration_fraction: float = 0.5
    exploration_initial_eps: float = 1.0
    exploration_final_eps: float = 0.05
    max_grad_norm: float = 10.0


@dataclass(frozen=True)
class ARSConfig(SB3Config):
    """Augmented random search (Mania et al., 2018); all candidates of an update run side by side."""

    learning_rate: float = 0.03
    net_arch: tuple[int, ...] = ()
    n_delta: int | None = None
    """Directions tried in an update, each in both senses; None: half as many as optimizees."""
    n_top: int | None = None
    """Best directions that an update uses; None: all."""
    delta_std: float = 0.03
    """Standard deviation of the directions, in units of the weights."""
    zero_policy: bool = True
    """Start from weights of zero."""
    alive_bonus_offset: float = 0.0
