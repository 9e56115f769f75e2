"""Settings of REINFORCE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from l2o_env.config import MAX_WEIGHT
from l2o_env.errors import ConfigError, require_integers


@dataclass(frozen=True)
class ReinforceConfig:
    """Settings of REINFORCE; the names are Stable-Baselines3's where it has one."""

    learning_rate: float = 5e-2
    """Learning rate of the policy's table over depth and progress; falls linearly to a tenth over training."""
    network_scale: float = 0.02
    """Learning rate of the recurrent network, as a share of `learning_rate`. What an episode tells of thousands of
    weights is mostly noise: at equal rates their random steps drown what the table learns."""
    target_kl: float | None = 0.05
    """An update is cut short where it would change the actions' distribution by more than this KL divergence (nats,
    mean over steps and layers); None: never. A few updates too far, and all runs diverge and teach nothing."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Optimizer of the policy; `sgd` has momentum 0.9."""
    gamma: float = 1.0
    """Discount per step of the return-to-go. Below 1 the policy grows greedy: a smaller rate lifts V at once, and what
    it costs comes after the horizon."""
    baseline: Literal["fitted", "leave_one_out", "none"] = "fitted"
    """What is subtracted from a return-to-go: the mean of the other optimizees at the same step, the same with a line
    fitted to their rewards so far (what was gained early is partly lost again, which says nothing of this step's
    action), or nothing."""
    normalize_advantage: bool = True
    """Divide advantages by their standard deviation over the batch."""
    max_advantage: float = 3.0
    """Normalised advantages are clipped to this; one diverged run would else outweigh all others."""
    n_steps: int | None = None
    """Environment steps between two updates of the policy; None: the whole episode."""
    ent_coef: float = 0.0
    """Weight of the entropy bonus."""
    averaged_share: float = 0.4
    """Training ends with the mean of the weights after this last share of the updates (Polyak averaging): single
    updates are noisy. 0 keeps the last weights."""
    max_grad_norm: float = 1.0
    """Gradients of the policy are scaled down to this norm."""
    hidden_size: int = 32
    """Width of the recurrent state."""
    n_knots: int = 5
    """Knots of the policy's table over depth and progress, along each; 0: no table."""
    per_layer_heads: bool = False
    """One output map per layer group, as ASG has it; such a policy runs only on networks of as many layer groups."""
    noise_std: float = 0.15
    """Initial standard deviation of the exploration noise, in units of the action box [-1, 1]."""
    noise_correlation: float = 0.9
    """Correlation of the noise between two steps (AR(1)); noise that holds its direction tells rates apart."""
    mirror_noise: bool = True
    """The second half of a population explores with the first half's noise, negated: this cancels the even part of
    its effect on the return, which says nothing about the direction to go."""
    clip_observation: float = 5.0
    """Normalised features are clipped to this."""

    def __post_init__(self) -> None:
        if not 0 <= self.noise_correlation < 1:
            raise ConfigError(f"noise_correlation is {self.noise_correlation}; expected a number in [0, 1).")
        for key in ("gamma", "averaged_share"):
            if not 0 <= getattr(self, key) <= 1:
                raise ConfigError(f"{key} is {getattr(self, key)}; expected a number in [0, 1].")
        for key in (
            "learning_rate", "network_scale", "max_advantage", "max_grad_norm", "noise_std", "clip_observation",
        ):  # fmt: skip
            if not 0 < getattr(self, key) <= MAX_WEIGHT:
                raise ConfigError(f"{key} is {getattr(self, key)}; expected a number > 0, at most {MAX_WEIGHT:g}.")
        if not 0 <= self.ent_coef <= MAX_WEIGHT:
            raise ConfigError(f"ent_coef is {self.ent_coef}; expected a number >= 0, at most {MAX_WEIGHT:g}.")
        if self.target_kl is not None and not self.target_kl > 0:
            raise ConfigError(f"target_kl is {self.target_kl}; expected a number > 0, or none.")
        require_integers(self, "hidden_size", most=10**4)
        if self.n_steps is not None:
            require_integers(self, "n_steps")
        require_integers(self, "n_knots", least=0, most=1000, expected="0 (no table) or an integer >= 2")
        if self.n_knots == 1:
            raise ConfigError(f"n_knots is {self.n_knots}; expected 0 (no table) or an integer >= 2.")


PRESETS: dict[str, ReinforceConfig] = {
    "default": ReinforceConfig(),
    # ASG's policy training is unreleased; these are the clues in its code.
    "asg": ReinforceConfig(
        learning_rate=7e-4,
        network_scale=1.0,
        optimizer="sgd",
        target_kl=None,
        gamma=0.0,
        baseline="none",
        normalize_advantage=False,
        n_steps=5,
        noise_correlation=0.0,
        averaged_share=0.0,
        n_knots=0,
        per_layer_heads=True,
    ),
}
"""Settings by name."""
