"""Hand-made opponents: learning rates that depend on the layer and on the progress alone.

Each is a *profile* over the layer groups times a *shape* over time, times one rate. An action sets the rates of the
whole coming window, so a shape is read at the window's midpoint.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from agents.base import Agent, Predictor
from l2o_env.atomic import atomic_path
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError, unknown_name
from l2o_env.observation import FEATURE_NAMES, split_layers

ShapeName = Literal["constant", "warmup_poly", "warmup_cosine"]
ProfileName = Literal["uniform", "tenth_backbone", "small_backbone", "discriminative", "head_only"]

WARMUP = 0.1
"""Share of the budget that warm-up takes. ASG's takes 100 updates: 0.07 % of its 142,860 on VisDA-17, less than one
update of a run of 300, and a third of such a run if the number is kept. A tenth is a warm-up that short runs can use.
"""
_FILE = "schedule.json"
_PROGRESS = FEATURE_NAMES.index("progress")


def constant(progress: NDArray[np.float64], warmup: float = WARMUP) -> NDArray[np.float64]:
    """Factor 1 at any progress ``(...)``."""
    return np.ones_like(progress)


def warmup_poly(progress: NDArray[np.float64], warmup: float = WARMUP) -> NDArray[np.float64]:
    """ASG's factor: min(0.01 + 0.99 (p / warmup)^2, 1) (1 - min(p, 0.8))^0.9.

    Args:
        progress: p = t / T, ``(...)``, from 0 to 1.
        warmup: Share of the budget that warm-up takes; 0 for none.
    """
    return (0.01 + 0.99 * _ramp(progress, warmup) ** 2) * (1 - np.minimum(progress, 0.8)) ** 0.9


def warmup_cosine(progress: NDArray[np.float64], warmup: float = WARMUP) -> NDArray[np.float64]:
    """Linear warm-up from 0 to 1, then half a cosine down to 0 at the end of the budget; arguments as above."""
    rest = np.clip((progress - warmup) / max(1 - warmup, 1e-9), 0, 1)
    return _ramp(progress, warmup) * (1 + np.cos(np.pi * rest)) / 2


def _ramp(progress: NDArray[np.float64], warmup: float) -> NDArray[np.float64]:
    return np.minimum(progress / warmup, 1.0) if warmup > 0 else np.ones_like(progress)


SHAPES: dict[ShapeName, Callable[[NDArray[np.float64], float], NDArray[np.float64]]] = {
    "constant": constant,
    "warmup_poly": warmup_poly,
    "warmup_cosine": warmup_cosine,
}
"""Factor of the rate over time, by name: (progress ``(...)``, share of warm-up) to ``(...)``."""


def _backbone(multiplier: float) -> Callable[[int], NDArray[np.float64]]:
    return lambda n_layers: np.array([multiplier] * (n_layers - 1) + [1.0])


PROFILES: dict[ProfileName, Callable[[int], NDArray[np.float64]]] = {
    "uniform": np.ones,
    "tenth_backbone": _backbone(0.1),
    "small_backbone": _backbone(0.03),
    "discriminative": lambda n_layers: 2.6 ** np.arange(1.0 - n_layers, 1.0),
    "head_only": _backbone(0.0),
}
"""Multipliers of the rate ``(n_layers,)`` from the input to the head, by name: ASG's recipe (a tenth), ULMFiT's
discriminative rates (Howard & Ruder, 2018; divided by 2.6 from each group to the one below), a frozen backbone."""


class _Rates(Predictor):
    """An agent that sets physical rates, and is a few numbers in a JSON file."""

    output: ClassVar[Literal["rates"]] = "rates"

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """Keywords that make the agent again."""

    def save(self, folder: Path) -> None:
        """Writes ``schedule.json``."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / _FILE) as path:
            path.write_text(json.dumps({"agent": type(self).__name__, **self._settings()}, indent=2))


class _Timed(_Rates):
    """Rates of each layer times the factor of a shape."""

    shape: ShapeName
    warmup: float
    window_share: float

    @abstractmethod
    def layer_rates(self, n_layers: int) -> NDArray[np.float64]:
        """The rates ``(n_layers,)`` that the shape's factor multiplies."""

    def act(
        self, observations: NDArray[np.float32], state: None = None, deterministic: bool = True
    ) -> tuple[NDArray[np.float64], None]:
        """Rates ``(N, n_layers)`` of the coming window, and no state; see ``agents.base``."""
        layers = split_layers(observations)
        begin = layers[:, 0, _PROGRESS].astype(np.float64)
        midpoint = (begin + np.minimum(begin + self.window_share, 1.0)) / 2
        factor = SHAPES[self.shape](midpoint, self.warmup)
        return factor[:, None] * self.layer_rates(layers.shape[1]), None

    def _check(self) -> None:
        if self.shape not in get_args(ShapeName):
            raise unknown_name("shape", self.shape, get_args(ShapeName))
        for key in ("warmup", "window_share"):
            if not 0 <= getattr(self, key) <= 1:
                raise ConfigError(f"{key} is {getattr(self, key)!r}; expected a share of the budget from 0 to 1.")

    def _settings(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload]


@dataclass(frozen=True)
class Schedule(_Timed):
    """One rate times a profile over the layers times a shape over time.

    Raises:
        ConfigError: If a value cannot work.
    """

    name: str
    """As tables and pictures call it."""
    rate: float
    """The largest rate of the run: that of the head, at factor 1."""
    profile: ProfileName = "uniform"
    """Multipliers of the layers; a name of ``PROFILES``."""
    shape: ShapeName = "constant"
    """Factor over time; a name of ``SHAPES``."""
    warmup: float = WARMUP
    """Share of the budget that warm-up takes."""
    window_share: float = 0.05
    """Length of a window as a share of the budget, because a shape is read at the window's midpoint."""
    config_overrides: dict[str, Any] = field(default_factory=dict, hash=False)
    """Settings of the environment that this opponent is run with, such as ``{"random_init": True}``."""

    def __post_init__(self) -> None:
        self._check()
        if self.profile not in get_args(ProfileName):
            raise unknown_name("profile", self.profile, get_args(ProfileName))
        _check_rates("rate", (self.rate,))

    def layer_rates(self, n_layers: int) -> NDArray[np.float64]:
        """The rates ``(n_layers,)`` that the shape's factor multiplies."""
        return self.rate * PROFILES[self.profile](n_layers)


@dataclass(frozen=True)
class PerLayer(_Timed):
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
    """Length of a window as a share of the budget, because a shape is read at the window's midpoint."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rates", tuple(float(rate) for rate in self.rates))
        self._check()
        _check_rates("rates", self.rates)

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


class RandomRates(_Rates):
    """Log-uniform rates, drawn anew at each step for each layer.

    There is no most likely rate, so deterministic actions are drawn too: from a generator of its own, which goes on
    from call to call.

    Args:
        name: As tables and pictures call it.
        lr_min: Smallest rate.
        lr_max: Largest rate.
        seed: Seed of the generator.

    Raises:
        ConfigError: If the limits cannot work.
    """

    def __init__(self, name: str = "random", lr_min: float = 1e-4, lr_max: float = 0.3, seed: int = 0) -> None:
        if not 0 < lr_min < lr_max < np.inf:
            raise ConfigError(f"lr_min is {lr_min} and lr_max {lr_max}; expected 0 < lr_min < lr_max.")
        self.name, self.lr_min, self.lr_max, self.seed = name, lr_min, lr_max, seed
        self._rng = np.random.default_rng(seed)

    def act(
        self, observations: NDArray[np.float32], state: None = None, deterministic: bool = True
    ) -> tuple[NDArray[np.float64], None]:
        """Rates ``(N, n_layers)`` of the coming window, and no state; see ``agents.base``."""
        shape = split_layers(observations).shape[:2]
        return np.exp(self._rng.uniform(np.log(self.lr_min), np.log(self.lr_max), shape)), None

    def _settings(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("name", "lr_min", "lr_max", "seed")}


def _check_rates(key: str, rates: tuple[float, ...]) -> None:
    if not rates or not np.isfinite(rates).all() or min(rates) < 0:
        raise ConfigError(f"{key} is {rates}; expected finite numbers >= 0.")


def load(folder: Path) -> Agent:
    """Reads an opponent that its ``save`` wrote.

    Raises:
        ConfigError: If the folder holds none, or one that is damaged.
    """
    kinds: dict[str, Callable[..., Agent]] = {kind.__name__: kind for kind in (Schedule, PerLayer, RandomRates)}
    try:
        settings = json.loads((Path(folder) / _FILE).read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{folder} holds no {_FILE}; give a folder that a schedule was saved to.") from error
    except ValueError as error:  # no JSON, or no text at all
        raise ConfigError(f"{Path(folder) / _FILE} is damaged ({error}); save the schedule again.") from error
    kind = settings.pop("agent", None) if isinstance(settings, dict) else None
    if kind not in kinds:
        raise unknown_name("schedule", kind, kinds)
    try:
        return kinds[kind](**settings)
    except TypeError as error:
        raise ConfigError(f"{Path(folder) / _FILE} does not describe a {kind} ({error}); save it again.") from error


def default_opponents(config: EnvConfig, seed: int = 0) -> dict[str, Agent]:
    """Every hand-made opponent by name, at rates that suit the embedded pairs.

    Args:
        config: Settings of the environment: window and budget, and the limits of random rates.
        seed: Seed of the random rates.
    """
    share = config.window / config.budget
    schedules = (
        Schedule("uniform", 0.02, window_share=share),
        Schedule("small-backbone", 0.1, "small_backbone", window_share=share),
        Schedule("asg-sgd", 0.1, "tenth_backbone", "warmup_poly", window_share=share),
        Schedule("cosine", 0.05, "uniform", "warmup_cosine", window_share=share),
        Schedule("discriminative", 0.1, "discriminative", window_share=share),
        Schedule("frozen-backbone", 0.1, "head_only", window_share=share),
        Schedule("random-init", 0.02, window_share=share, config_overrides={"random_init": True}),
    )
    random = RandomRates("random", config.lr_min, config.lr_max, seed)
    return {**{schedule.name: schedule for schedule in schedules}, random.name: random}
