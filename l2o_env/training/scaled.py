"""A policy whose rates are multiplied by a factor, for networks that want larger or smaller ones than it knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2o_env.action import check_action_settings, scaled_settings
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError, shortened
from l2o_env.evaluation.agent import AgentLike, BaseAgent, name_of
from l2o_env.training.policies import DEFAULT, find_policy

OF_PRETRAINED: Mapping[str, float] = {DEFAULT: 0.1, "transfer": 0.1, "proxy_guided": 0.1, "relative": 0.02}
"""The factor for policies that come along, by their names, on networks pretrained on photographs. Rates lie around
1e-3 of AdamW, where such networks are usually fine-tuned at 1e-4; ``relative`` moves layers by 5 % in a window, where
such networks are moved by 2 % in twenty."""


class ScaledPolicy(BaseAgent):
    """A policy whose learning rates are multiplied by a factor.

    Layers and time keep the proportions that the policy gives them; the factor is to it what the learning rate is to an
    optimizer. The limits of its action form are multiplied, so that its actions stand for other rates (of the form
    ``relative_update``, for other movements). What it observes is what those make.

    Args:
        policy: A name (``"default"``), a run folder, a folder of a saved policy, or an agent.
        factor: The factor, above 0.

    Raises:
        ConfigError: If there is no such policy, or the factor is no positive number.
    """

    def __init__(self, policy: str | Path | AgentLike = DEFAULT, factor: float = 1.0) -> None:
        if isinstance(factor, bool) or not isinstance(factor, int | float | np.number) or not 0 < factor < np.inf:
            raise ConfigError(f"The factor of the rates is {shortened(factor, 40)}; expected a number above 0.")
        self._policy, self.factor = find_policy(policy), float(factor)
        self.name = f"{name_of(self._policy)} x {self.factor:g}"
        self.output = self._policy.output
        self._own_settings = getattr(self._policy, "action_settings", {})
        self.action_settings = scaled_settings(self._own_settings, self.factor)
        self.config_overrides = {**self._policy.config_overrides, **self.action_settings}

    def check_env(self, env_config: EnvConfig) -> None:
        """See ``BaseAgent``."""
        if self.action_settings:
            check_action_settings(self.action_settings, env_config)
        self._policy.check_env(replace(env_config, **self._own_settings))

    def check_layers(self, n_layers: int) -> None:
        """See ``BaseAgent``."""
        self._policy.check_layers(n_layers)

    def act(self, observations: NDArray[np.float32], state: Any, deterministic: bool) -> tuple[NDArray[Any], Any]:
        """See ``BaseAgent``."""
        chosen, state = self._policy.act(observations, state, deterministic)
        return chosen * self.factor if self.output == "rates" else chosen, state

    def describe(
        self, observations: NDArray[np.float32], state: Any, actions: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        """See ``BaseAgent``."""
        return self._policy.describe(observations, state, actions / self.factor if self.output == "rates" else actions)
