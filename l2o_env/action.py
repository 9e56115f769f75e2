"""Actions and what they mean: one learning rate per layer group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from l2o_env.config import MAX_RATE, ActionForm, EnvConfig
from l2o_env.errors import ConfigError, shortened

ANY_OPTIMIZER = "relative_update"
"""The action form that means the same with any optimizer."""
N_FACTORS = 11
"""Factors of the discrete form: 0, 0.1, ..., 1 times the base rate."""
_OPTIMIZER = ("optimizer", "beta2", "weight_decay")
BASE_UPDATE_RATIO = 0.03
"""‖Δθ‖/‖θ‖ that a window at `base_lr` is taken to make before there was one; on the embedded pairs, 0.01 to 0.08."""
_READ: Mapping[ActionForm, tuple[str, ...]] = {
    "log": ("lr_min", "lr_max"),
    # Rates are products that begin with the rate an episode starts from.
    "relative": ("lr_min", "lr_max", "base_lr", "relative_scale"),
    # A movement relative to the weights means the same with any optimizer: rates follow from it.
    "relative_update": ("update_ratio_min", "update_ratio_max"),
    "discrete": ("base_lr",),
    "log+guidance": ("lr_min", "lr_max", "guidance_weight_min", "guidance_weight_max"),
}
"""Settings that each action form is decoded by."""
_SIZES = ("lr_min", "lr_max", "base_lr", "update_ratio_min", "update_ratio_max")
ACTION_SETTINGS = tuple(dict.fromkeys(("action", *_OPTIMIZER, *(key for keys in _READ.values() for key in keys))))
"""The form, the optimizer, to which rates mean something, and the settings that any form is decoded by; each policy is
run with its own."""


def action_settings(config: EnvConfig) -> dict[str, Any]:
    """The settings that give actions their meaning: form and optimizer, and what actions of the form are decoded by."""
    optimizer = () if config.action == ANY_OPTIMIZER else _OPTIMIZER
    return {key: getattr(config, key) for key in ("action", *optimizer, *_READ[config.action])}


def scaled_settings(settings: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Action settings that make any action stand for rates, or wanted movements, that are multiplied by a factor."""
    return {key: value * factor if key in _SIZES else value for key, value in settings.items()}


def check_action_settings(trained_with: Mapping[str, Any], config: EnvConfig) -> None:
    """Checks that actions mean to an environment what they meant in a policy's training.

    Args:
        trained_with: What :func:`action_settings` gave for the environment of the training.
        config: Settings of the environment.

    Raises:
        ConfigError: If they do not.
    """
    settings = action_settings(config)
    if settings != trained_with:
        raise ConfigError(
            f"This policy was trained with {trained_with} and the environment has {settings}; "
            "make the environment with the policy's settings."
        )


class Decision(NamedTuple):
    """What an action stands for.

    Attributes:
        rates: Physical learning rates ``(..., n_layers)``.
        guidance_weight: Weight of the guidance term ``(...)``; None if actions do not set it.
    """

    rates: NDArray[np.float64]
    guidance_weight: NDArray[np.float64] | None


def action_space(config: EnvConfig, n_layers: int) -> spaces.Box | spaces.MultiDiscrete:
    """The space of one action: ``Box(-1, 1, (n_layers,))``, or ``MultiDiscrete([11] * n_layers)``.

    The form ``log+guidance`` has one number more than there are layer groups.
    """
    if config.action == "discrete":
        return spaces.MultiDiscrete([N_FACTORS] * n_layers)
    return spaces.Box(-1.0, 1.0, (n_layers + (config.action == "log+guidance"),), np.float32)


def decide(actions: NDArray, current: NDArray, config: EnvConfig, update_ratio: NDArray | None = None) -> Decision:
    """Turns actions into learning rates and, in the form ``log+guidance``, the weight of the guidance term.

    The last number of that form goes log-uniformly from `guidance_weight_min` to `guidance_weight_max`.

    Args:
        actions: ``(..., n_layers)``, or ``(..., n_layers + 1)`` in the form ``log+guidance``.
        current: ``(..., n_layers)``, the rates of the last window.
        config: Settings; see :func:`decode` for those of the rates.
        update_ratio: ``(..., n_layers)``, as :func:`decode` takes it.

    Raises:
        ConfigError: As :func:`decode` does.
    """
    if config.action != "log+guidance":
        return Decision(decode(actions, current, config, update_ratio), None)
    actions = _as_numbers(actions, (*current.shape[:-1], current.shape[-1] + 1), ", the last of them for the guidance")
    last = np.clip(actions[..., -1].astype(np.float64), -1.0, 1.0)
    return Decision(
        decode(actions[..., :-1], current, replace(config, action="log")),
        _log_uniform(last, config.guidance_weight_min, config.guidance_weight_max),
    )


def decode(
    actions: NDArray, current: NDArray, config: EnvConfig, update_ratio: NDArray | None = None
) -> NDArray[np.float64]:
    """Turns actions into physical learning rates.

    Args:
        actions: ``(..., n_layers)``. Continuous values are clipped to [-1, 1]: ``log`` goes log-uniformly from
            `lr_min` to `lr_max`, ``relative`` multiplies the current rate by ``relative_scale ** action`` within
            those limits. ``relative_update`` goes log-uniformly from `update_ratio_min` to `update_ratio_max`: how far
            the window is to move a layer, for which its rate is changed by as much as the last window fell short or
            went beyond, within the limits. ``discrete`` takes integers 0 to 10, tenths of `base_lr`.
        current: ``(..., n_layers)``, the rates of the last window.
        config: The settings named above.
        update_ratio: ``(..., n_layers)``, ‖Δθ‖/‖θ‖ of the last window. Where it is 0, or None, that of a window at
            `base_lr` is taken to be ``BASE_UPDATE_RATIO``.

    Returns:
        Rates of the same shape.

    Raises:
        ConfigError: If the shape is wrong, a value is NaN, or a discrete action is no integer from 0 to 10.
    """
    actions = _as_numbers(actions, current.shape)
    if config.action == "discrete":
        if actions.dtype.kind == "f" or (actions < 0).any() or (actions >= N_FACTORS).any():
            raise ConfigError(f"The action is {actions.tolist()}; expected integers from 0 to {N_FACTORS - 1}.")
        return actions * (config.base_lr / (N_FACTORS - 1))
    actions = np.clip(actions.astype(np.float64), -1.0, 1.0)
    if config.action == "relative":
        return np.clip(current * config.relative_scale**actions, config.lr_min, config.lr_max)
    if config.action == "relative_update":
        wanted = _log_uniform(actions, config.update_ratio_min, config.update_ratio_max)
        return np.clip(wanted * _rate_per_movement(current, config, update_ratio), config.lr_min, config.lr_max)
    return _log_uniform(actions, config.lr_min, config.lr_max)


def _log_uniform(actions: NDArray[np.float64], least: float, most: float) -> NDArray[np.float64]:
    low, high = np.log(least), np.log(most)
    return np.exp(low + (actions + 1) / 2 * (high - low))


def _rate_per_movement(current: NDArray, config: EnvConfig, update_ratio: NDArray | None) -> NDArray[np.float64]:
    """Rate of the last window over what it moved, ``(..., n_layers)``."""
    moved = np.zeros_like(current) if update_ratio is None else update_ratio
    known = (moved > 0) & np.isfinite(moved)
    return np.where(known, current / np.where(known, moved, 1.0), config.base_lr / BASE_UPDATE_RATIO)


def _as_numbers(actions: NDArray, shape: tuple[int, ...], more: str = "") -> NDArray:
    """The actions as an array of `shape` without NaN."""
    try:
        actions = np.asarray(actions)
    except ValueError as error:
        expected = f"shape {shape}, one value per layer group{more}"
        raise ConfigError(f"The action is no array of numbers but ragged; expected {expected}.") from error
    if actions.shape != shape:
        raise ConfigError(
            f"The action has shape {actions.shape}; expected {shape}, one value per layer group{more}"
            f"{', for each optimizee' if len(shape) > 1 else ''}. Sample env.action_space to see one."
        )
    if actions.dtype.kind not in "iuf":
        raise ConfigError(f"The action is {actions.tolist()}, of type {actions.dtype}; expected numbers without NaN.")
    if np.isnan(actions).any():
        raise ConfigError(
            f"The action is {actions.tolist()}; expected numbers without NaN. "
            "A NaN usually means that the policy's own weights have diverged."
        )
    return actions


def encode(rates: NDArray, config: EnvConfig) -> NDArray[np.float32]:
    """The ``log`` action that stands for the given rates; rates outside the limits give the nearest action."""
    low, high = np.log(config.lr_min), np.log(config.lr_max)
    logs = np.log(np.clip(rates, config.lr_min, config.lr_max))
    return (2 * (logs - low) / (high - low) - 1).astype(np.float32)


def check_rates(rates: NDArray, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Checks physical learning rates that bypass the action forms.

    Raises:
        ConfigError: If the shape is wrong or a rate is negative or not finite.
    """
    rates = np.asarray(rates, dtype=np.float64)
    if rates.shape != shape:
        raise ConfigError(f"The learning rates have shape {rates.shape}; expected {shape}, one per layer group.")
    if not ((rates >= 0) & (rates <= MAX_RATE)).all():
        raise ConfigError(
            f"The learning rates are {shortened(rates.tolist(), 200)}; expected finite numbers >= 0, at most "
            f"{MAX_RATE:g}."
        )
    return rates
