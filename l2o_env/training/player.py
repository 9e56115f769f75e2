"""A policy that plays one training: what it has seen, and what it chooses."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from l2o_env.action import ANY_OPTIMIZER, Decision, decide
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.agent import BaseAgent
from l2o_env.inner.window import Measurements, Window
from l2o_env.models.layout import Layout
from l2o_env.observation import FEATURE_NAMES, Inputs, encode, features_of
from l2o_env.training.window import Seen

_OF_SOURCE = ("loss", "proxy", "validation")
"""What each loss but the last is known by; the last, KL of a validation, needs two of them."""

SAME = 1e-4
"""Actions that differ by no more are the same, on machines that round in their own ways."""


def settings_of(agent: BaseAgent, optimizer: str) -> EnvConfig:
    """The environment that a policy acts as if in: its own settings, and where it has none, those of an optimizer."""
    settings = dict(getattr(agent, "action_settings", {}))
    own = {"optimizer": optimizer} if settings.get("action", ANY_OPTIMIZER) == ANY_OPTIMIZER else {}
    return EnvConfig.from_saved(own | settings)


class PolicyPlayer:
    """Asks a policy for the rates of one training, window after window, always for its most likely action.

    Args:
        agent: The policy.
        config: What its actions mean.
        layout: The network's layer groups.

    Raises:
        ConfigError: If the policy observes something else, or not so many layers.
    """

    def __init__(self, agent: BaseAgent, config: EnvConfig, layout: Layout) -> None:
        agent.check_env(config)
        agent.check_layers(layout.n_layers)
        self.agent, self._config, self._layout = agent, config, layout
        self.observations: list[NDArray[np.float32]] = []
        self._memory: Any = None
        self._chosen: NDArray[Any] | None = None
        self._before = np.full(4, np.nan)

    def act(self, seen: Seen, rates: NDArray[np.float64], progress: float) -> Decision:
        """What the policy chooses.

        Args:
            seen: What the last window ended with. What is not finite is masked.
            rates: Present rates ``(n_layers,)``.
            progress: Share of the training that is over.

        Returns:
            Rates ``(n_layers,)`` and, of some policies, the weight of the guidance.
        """
        self.observations.append(self._encoded(seen, rates, progress))
        self._choose(self.observations[-1])
        assert self._chosen is not None
        if self.agent.output == "rates":
            return Decision(np.asarray(self._chosen[0], np.float64), None)
        return decide(self._chosen[0], rates, self._config, seen.layers["update_ratio"][0])

    def _choose(self, observation: NDArray[np.float32]) -> None:
        self._chosen, self._memory = self.agent.act(observation, self._memory, True)

    def _encoded(self, seen: Seen, rates: NDArray[np.float64], progress: float) -> NDArray[np.float32]:
        known = np.isfinite(seen.losses)
        masked = features_of(*(source for source, told in zip(_OF_SOURCE, known, strict=False) if not told))
        if not known[3]:
            masked = masked | np.isin(FEATURE_NAMES, ("val_kl", "val_kl_change"))
        # What is told for the first time has not changed.
        before = np.where(np.isfinite(self._before), self._before, seen.losses)
        self._before = np.where(known, seen.losses, self._before)
        return encode(
            Inputs(
                window=Window(
                    _finite(seen.layers), _finite(seen.head), _measurements(seen.losses), np.zeros(1, np.bool_)
                ),
                previous=_measurements(before),
                rates=rates[None],
                progress=np.array([progress]),
                layout=self._layout,
                masked=masked[None, None],
            )
        )

    def get_state(self) -> dict[str, Any]:
        """Plain values and tensors: all that was observed, from which a policy's memory can be had again."""
        n = len(self.observations)
        return {
            "observations": torch.from_numpy(np.concatenate(self.observations)) if n else torch.zeros(0, 0),
            "chosen": None if self._chosen is None else np.asarray(self._chosen, np.float64).tolist(),
            "before": self._before.tolist(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes up what :meth:`get_state` returned: the policy sees all of it once more.

        Raises:
            ConfigError: If it now chooses something else than it did.
        """
        self.observations, self._memory, self._chosen = [], None, None
        for row in state["observations"].numpy():
            self.observations.append(row[None])
            self._choose(row[None])
        self._before = np.array(state["before"])
        chosen = state["chosen"]
        if chosen is not None and not np.allclose(chosen, np.asarray(self._chosen, np.float64), atol=SAME):
            raise ConfigError(
                "The state is of another policy: after what this one has seen it chooses other rates than were set. "
                "Make the scheduler with the policy that the training began with."
            )


def _finite(values: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """0, which is what masked features are made of, in place of what is not finite."""
    return {name: np.where(np.isfinite(x), x, 0.0) for name, x in values.items()}


def _measurements(losses: NDArray[np.float64]) -> Measurements:
    """Of one network, by its losses; there are no accuracies."""
    finite, none = np.where(np.isfinite(losses), losses, 0.0)[:, None], np.full(1, np.nan)
    train_ce, train_kl, val_ce, val_kl = finite
    return Measurements(train_ce, train_kl, val_ce, val_kl, none, none, none, none)
