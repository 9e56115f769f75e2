"""Schedules: learning rates that depend on the layer and on the progress alone.

One is a rate of each layer, times a *shape* over time. An action sets the rates of the whole coming window, so a shape
is read at the window's midpoint.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from l2o_env.config import MAX_RATE
from l2o_env.errors import ConfigError, shortened, unknown_name
from l2o_env.observation import FEATURE_NAMES, split_layers

from .profiles import PROFILES, ProfileName
from .rate_setter import RateSetter
from .shapes import SHAPES, WARMUP, ShapeName

_PROGRESS = FEATURE_NAMES.index("progress")


class Timed(RateSetter):
    """Rates of each layer times the factor of a shape.

    Attributes:
        shape: Factor over time; a name of ``SHAPES``.
        warmup: Share of the budget that warm-up takes.
        window_share: Length of a window as a share of the budget, because a shape is read at the window's midpoint.
    """

    shape: ShapeName
    warmup: float
    window_share: float

    @abstractmethod
    def layer_rates(self, n_layers: int) -> NDArray[np.float64]:
        """The rates ``(n_layers,)`` that the shape's factor multiplies."""

    def act(
        self, observations: NDArray[np.float32], state: None = None, deterministic: bool = True
    ) -> tuple[NDArray[np.float64], None]:
        """Rates ``(N, n_layers)`` of the coming window, and no state."""
        layers = split_layers(observations)
        begin = layers[:, 0, _PROGRESS].astype(np.float64)
        midpoint = (begin + np.minimum(begin + self.window_share, 1.0)) / 2
        factor = SHAPES[self.shape](midpoint, self.warmup)
        return factor[:, None] * self.layer_rates(layers.shape[1]), None

    def settings(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)  # type: ignore[call-overload]

    def _check(self, **rates: tuple[float, ...]) -> None:
        """Checks the fields that all have, and rates under the name that errors give them."""
        if self.shape not in get_args(ShapeName):
            raise unknown_name("shape", self.shape, get_args(ShapeName))
        for key in ("warmup", "window_share"):
            if not 0 <= getattr(self, key) <= 1:
                raise ConfigError(f"{key} is {getattr(self, key)!r}; expected a share of the budget from 0 to 1.")
        for key, values in rates.items():
            if not values or not all(0 <= value <= MAX_RATE for value in values):
                raise ConfigError(f"{key} is {shortened(values)}; expected finite numbers >= 0, at most {MAX_RATE:g}.")


@dataclass(frozen=True)
class Schedule(Timed):
    """One rate times a profile over the layers times a shape over time.

    Raises:
        ConfigError: If a value cannot work.
    """

    name: str
    """As tables and pictures call it."""
    rate: float
    """The largest rate of the run: that of the head, at factor 1."""
    profile: ProfileName = "uniform"
    """Factor over the layers; a name of ``PROFILES``."""
    shape: ShapeName = "constant"
    """Factor over time; a name of ``SHAPES``."""
    warmup: float = WARMUP
    """Share of the budget that warm-up takes."""
    window_share: float = 0.05
    """Length of a window as a share of the budget."""
    layer_decay: float = 1.0
    """Factor from each layer group to the one below it."""
    config_overrides: dict[str, Any] = field(default_factory=dict, hash=False)
    """Settings of the environment that this opponent is run with, such as ``{"random_init": True}``."""

    def __post_init__(self) -> None:
        if self.profile not in get_args(ProfileName):
            raise unknown_name("profile", self.profile, get_args(ProfileName))
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(f"layer_decay is {self.layer_decay!r}; expected a number in (0, 1].")
        self._check(rate=(self.rate,))

    def layer_rates(self, n_layers: int) -> NDArray[np.float64]:
        """The rates ``(n_layers,)`` that the shape's factor multiplies."""
        return self.rate * PROFILES[self.profile](n_layers) * self.layer_decay ** np.arange(n_layers - 1.0, -1.0, -1.0)


@dataclass(frozen=True)
class PerLayer(Timed):
    """A rate of its own for each layer group, times a shape over time (by default constant).

    Raises:
        ConfigError: If a value cannot work.
    """

    name: str
    """As tables and pictures call it."""
    rates: tuple[float, ...]
    """Rates from the input to the head."""
    shape: ShapeName = "constant"
    """Factor over time; a name of ``SHAPES``."""
    warmup: float = WARMUP
    """Share of the budget that warm-up takes."""
    window_share: float = 0.05
    """Length of a window as a share of the budget."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rates", tuple(float(rate) for rate in self.rates))
        self._check(rates=self.rates)

    def check_layers(self, n_layers: int) -> None:
        """Raises ConfigError unless there is a rate for each of so many layer groups."""
        if n_layers != len(self.rates):
            raise ConfigError(
                f"{self.name!r} has rates for {len(self.rates)} layer groups; the network has {n_layers}."
            )

    def layer_rates(self, n_layers: int) -> NDArray[np.float64]:
        """The rates ``(n_layers,)`` that the shape's factor multiplies."""
        self.check_layers(n_layers)
        return np.array(self.rates)
