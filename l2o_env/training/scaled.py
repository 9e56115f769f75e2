"""A policy whose rates are multiplied by a factor, for networks that want larger or smaller ones than it knows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2o_env.action import factor_as_shift
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError, shortened
from l2o_env.evaluation.agent import AgentLike, BaseAgent
from l2o_env.training.player import settings_of
from l2o_env.training.policies import DEFAULT, find_policy

OF_PRETRAINED = 0.1
"""The factor for policies that come along, on networks pretrained on photographs. Their rates lie around 1e-3 of AdamW,
where such networks are usually fine-tuned at 1e-4."""


class ScaledPolicy(BaseAgent):
    """A policy whose learning rates are multiplied by a factor.

    Layers and time keep the proportions that the policy gives them; the factor is to it what the learning rate is to an
    optimizer. Rates stay within the limits of the policy's action form. Of the form ``relative_update`` the wanted
    movements are multiplied, and the rates follow. What the policy observes is what the smaller or larger rates make.

    Args:
        policy: A name (``"default"``), a run folder, a folder of a saved policy, or an agent.
        factor: The factor, above 0.

    Raises:
        ConfigError: If there is no such policy, the factor is no positive number, or the policy's actions can't be
            multiplied, because they are factors themselves (``relative``, ``discrete``).
    """

    def __init__(self, policy: str | Path | AgentLike = DEFAULT, factor: float = 1.0) -> None:
        if isinstance(factor, bool) or not isinstance(factor, int | float | np.number) or not 0 < factor < np.inf:
            raise ConfigError(f"The factor of the rates is {shortened(factor, 40)}; expected a number above 0.")
        self._policy, self.factor = find_policy(policy), float(factor)
        self.name = f"{getattr(self._policy, 'name', type(self._policy).__name__)} x {self.factor:g}"
        self.output = self._policy.output
        self.config_overrides: Mapping[str, Any] = self._policy.config_overrides
        self.action_settings: Mapping[str, Any] = getattr(self._policy, "action_settings", {})
        if self.output == "action":
            settings = settings_of(self._policy, EnvConfig.optimizer)
            self._shift = factor_as_shift(self.factor, settings)
            # The last number of that form is the weight of the guidance.
            self._rates = slice(None, -1 if settings.action == "log+guidance" else None)

    def check_env(self, env_config: EnvConfig) -> None:
        """See ``BaseAgent``."""
        self._policy.check_env(env_config)

    def check_layers(self, n_layers: int) -> None:
        """See ``BaseAgent``."""
        self._policy.check_layers(n_layers)

    def act(self, observations: NDArray[np.float32], state: Any, deterministic: bool) -> tuple[NDArray[Any], Any]:
        """See ``BaseAgent``."""
        chosen, state = self._policy.act(observations, state, deterministic)
        if self.output == "rates":
            return chosen * self.factor, state
        return self._shifted(np.clip(chosen, -1.0, 1.0), self._shift), state

    def describe(
        self, observations: NDArray[np.float32], state: Any, actions: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        """See ``BaseAgent``: what the policy says of its own actions."""
        own = actions / self.factor if self.output == "rates" else self._shifted(actions, -self._shift)
        return self._policy.describe(observations, state, own)

    def _shifted(self, actions: NDArray[Any], shift: float) -> NDArray[Any]:
        shifted = np.array(actions)
        shifted[..., self._rates] += shift
        return shifted
