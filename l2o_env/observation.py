"""Encodes what a window ended with into the observation, and takes observations apart again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.inner.window import Measurements, Window
from l2o_env.models.layout import Layout

VERSION = 1
"""Version of the features below; a policy file names the one that it was trained on."""


@dataclass(frozen=True)
class Inputs:
    """What an observation is computed from, for N optimizees.

    Attributes:
        window: Statistics and losses of the last window.
        previous: Losses before it.
        rates: Current learning rates ``(N, n_layers)``.
        progress: Share of the update budget that is used up ``(N,)``.
        layout: The layer groups.
        masked: ``(N, 1 or n_layers, n_features)``; features that the observation is not to tell, see
            :func:`features_of`. None: all are told.
    """

    window: Window
    previous: Measurements
    rates: NDArray[np.float64]
    progress: NDArray[np.float64]
    layout: Layout
    masked: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Feature:
    """One number per layer of the observation.

    Attributes:
        name: Its name, as logs and ``FEATURES`` use it.
        symbol: As formulas write it.
        transform: What is done to the quantity, in words.
        unit: Unit of the result.
        low: Smallest value; smaller ones are clipped to it.
        high: Largest value.
        compute: Inputs to the quantity, ``(N, n_layers)``, ``(N, 1)`` or ``(n_layers,)``.
        log: Whether its log10 is taken; values below ``10**low`` count as that.
    """

    name: str
    symbol: str
    transform: str
    unit: str
    low: float
    high: float
    compute: Callable[[Inputs], NDArray[np.float64]]
    log: bool = False


def _layer(name: str) -> Callable[[Inputs], NDArray[np.float64]]:
    return lambda x: x.window.layers[name]


def _loss(name: str) -> Callable[[Inputs], NDArray[np.float64]]:
    return lambda x: getattr(x.window.measurements, name)[:, None]


def _change(name: str) -> Callable[[Inputs], NDArray[np.float64]]:
    return lambda x: (getattr(x.window.measurements, name) - getattr(x.previous, name))[:, None]


def _depth(x: Inputs) -> NDArray[np.float64]:
    return np.arange(x.layout.n_layers) / max(x.layout.n_layers - 1, 1)


FEATURES: tuple[Feature, ...] = (
    Feature("task_rms", "RMS(g_task)", "log10, from 1e-6 up", "decades", -6, 4, _layer("task_rms"), True),
    Feature("guidance_rms", "RMS(g_guide)", "log10, from 1e-6 up", "decades", -6, 4, _layer("guidance_rms"), True),
    Feature("cosine", "cos(g_task, g_guide)", "-", "-", -1, 1, _layer("cosine")),
    Feature("update_ratio", "‖Δθ‖/‖θ‖", "log10, from 1e-5 up", "decades", -5, 3, _layer("update_ratio"), True),
    Feature("drift", "‖θ-θ⁰‖/‖θ⁰‖", "log10, from 1e-4 up", "decades", -4, 3, _layer("drift"), True),
    Feature("alignment", "cos(v, g)", "-", "-", -1, 1, _layer("alignment")),
    Feature("lr", "lr", "log10, from 1e-6 up", "decades", -6, 2, lambda x: x.rates, True),
    Feature("depth", "l/(L-1)", "-", "-", 0, 1, _depth),
    Feature("n_weights", "n", "log10", "decades", 0, 10, lambda x: np.array(x.layout.group_sizes, float), True),
    Feature("train_ce", "CE", "mean of the window", "nats", 0, 10, _loss("train_ce")),
    Feature("train_kl", "KL", "mean of the window", "nats", 0, 10, _loss("train_kl")),
    Feature("val_ce", "CE_val", "-", "nats", 0, 10, _loss("val_ce")),
    Feature("val_kl", "KL_val", "-", "nats", 0, 10, _loss("val_kl")),
    Feature("train_ce_change", "ΔCE", "over the window", "nats", -5, 5, _change("train_ce")),
    Feature("train_kl_change", "ΔKL", "over the window", "nats", -5, 5, _change("train_kl")),
    Feature("val_ce_change", "ΔCE_val", "over the window", "nats", -5, 5, _change("val_ce")),
    Feature("val_kl_change", "ΔKL_val", "over the window", "nats", -5, 5, _change("val_kl")),
    Feature("progress", "t/T", "-", "-", 0, 1, lambda x: x.progress[:, None]),
    Feature("head_mean", "mean(W)", "last head matrix", "-", -10, 10, lambda x: x.window.head["head_mean"][:, None]),
    Feature("head_std", "std(W)", "last head matrix", "-", 0, 10, lambda x: x.window.head["head_std"][:, None]),
)
"""Features of one layer, in order. The first nine differ between layers; the others are repeated on every layer."""

N_FEATURES = len(FEATURES)
FEATURE_NAMES = tuple(feature.name for feature in FEATURES)
SOURCES: dict[str, tuple[str, ...]] = {
    "loss": ("train_ce", "train_ce_change"),
    "proxy": ("guidance_rms", "cosine", "train_kl", "val_kl", "train_kl_change", "val_kl_change"),
    "validation": ("val_ce", "val_kl", "val_ce_change", "val_kl_change"),
}
"""What a training loop may not have (the loss of its task, a proxy, a validation), and which features need it."""
_LOW = np.array([feature.low for feature in FEATURES], np.float32)
_HIGH = np.array([feature.high for feature in FEATURES], np.float32)
_LOG = np.array([k for k, feature in enumerate(FEATURES) if feature.log])


def features_of(*sources: str) -> NDArray[np.bool_]:
    """Which features need one of ``SOURCES``, ``(n_features,)``: where it lacks, they are masked.

    A masked feature looks as if what it is made of were 0: no gradient, no loss, no change.
    """
    return np.isin(FEATURE_NAMES, [name for source in sources for name in SOURCES[source]])


def observation_space(n_layers: int) -> spaces.Box:
    """``Box`` of shape ``(n_layers * n_features,)``, layer after layer."""
    return spaces.Box(np.tile(_LOW, n_layers), np.tile(_HIGH, n_layers), dtype=np.float32)


def encode(inputs: Inputs) -> NDArray[np.float32]:
    """Observations of N optimizees, ``(N, n_layers * n_features)``, finite and within the declared bounds."""
    features = np.empty((*inputs.rates.shape, N_FEATURES))
    for k, feature in enumerate(FEATURES):
        features[..., k] = feature.compute(inputs)
    if inputs.masked is not None:
        features = np.where(inputs.masked, 0.0, features)
    features[..., _LOG] = np.log10(np.maximum(features[..., _LOG], 10.0 ** _LOW[_LOG].astype(float)))
    features = np.clip(np.where(np.isnan(features), _HIGH, features), _LOW, _HIGH)
    return features.reshape(len(features), -1).astype(np.float32)


def split_layers(observation: NDArray[np.float32]) -> NDArray[np.float32]:
    """The view ``(..., n_layers, n_features)`` of observations ``(..., n_layers * n_features)``.

    Raises:
        ConfigError: If these are other observations, such as ASG's.
    """
    if observation.shape[-1] % N_FEATURES:
        raise ConfigError(
            f"The observation has {observation.shape[-1]} numbers, which is no multiple of the {N_FEATURES} features "
            "of a layer group; this agent needs an environment with observation='layers'."
        )
    return observation.reshape(*observation.shape[:-1], -1, N_FEATURES)


ASG_SCALARS = ("train_ce", "train_kl", "progress", "head_mean", "head_std")
"""What the observation of the released ASG begins with; the rates of the layer groups over the base rate follow."""
_ASG_LOW = np.array([0, 0, 0, -10, 0], np.float32)
_ASG_HIGH = np.array([100, 100, 1, 10, 10], np.float32)
_MAX_RATIO = 1e6


def space_for(config: EnvConfig, n_layers: int) -> spaces.Box:
    """The space of the observations that the settings name: :func:`observation_space`, or ``(5 + n_layers,)``."""
    if config.observation == "layers":
        return observation_space(n_layers)
    ratio = 1.0 if config.action == "discrete" else min(max(config.lr_max / config.base_lr, 1.0), _MAX_RATIO)
    low, high = np.zeros(n_layers, np.float32), np.full(n_layers, ratio, np.float32)
    return spaces.Box(np.concatenate([_ASG_LOW, low]), np.concatenate([_ASG_HIGH, high]), dtype=np.float32)


def encode_asg(inputs: Inputs, base_lr: float, space: spaces.Box) -> NDArray[np.float32]:
    """The observation of the released ASG, ``(N, 5 + n_layers)``: raw, but clipped to the bounds of its space."""
    measured, head = inputs.window.measurements, inputs.window.head
    scalars = (measured.train_ce, measured.train_kl, inputs.progress, head["head_mean"], head["head_std"])
    raw = np.concatenate([np.stack(scalars, axis=-1), inputs.rates / base_lr], axis=-1)
    return np.clip(np.where(np.isnan(raw), space.high, raw), space.low, space.high).astype(np.float32)


def feature_table() -> str:
    """A Markdown table of the features: index, name, symbol, transform, unit and bounds."""
    rows = [
        f"| {i} | `{f.name}` | {f.symbol} | {f.transform} | {f.unit} | [{f.low:g}, {f.high:g}] |"
        for i, f in enumerate(FEATURES)
    ]
    return "\n".join(["| # | name | symbol | transform | unit | bounds |", "|---|---|---|---|---|---|", *rows])
