"""What Gymnasium's own vector environments tell of the environments inside them, for a population that has none."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import seeding
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

_OF_EACH = {
    "evaluate": "evaluate",
    "render": "render",
    "pair_name": "pair_names",
    "np_random": "np_random",
    "np_random_seed": "np_random_seed",
}
"""Attributes of a single environment that differ between optimizees, and those here that have one value of each."""
_OF_ALL = {
    "action_space": "single_action_space",
    "observation_space": "single_observation_space",
    "config": "config",
    "layer_names": "layer_names",
    "metadata": "metadata",
    "render_mode": "render_mode",
}
"""Those that are the same for all."""
UNKNOWN_SEED = -1
"""Gymnasium's seed of a stream that no seed is known of."""


class SubEnvironments(VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
    """A vector environment whose optimizees can be asked what an environment of their own would tell."""

    def __init__(self) -> None:
        self._rngs: list[np.random.Generator] = []
        self._seeds: list[int] = []
        self._spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """How ``gymnasium.make_vec`` made it; `kwargs` hold plain values for enums and NumPy's, for ``to_json``."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        if spec is not None:
            spec = replace(spec, kwargs={key: _plain(value) for key, value in spec.kwargs.items()})
        self._spec = spec

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The random stream of each optimizee."""
        self._draw_streams()
        return tuple(self._rngs)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed that gives a single environment the stream of each optimizee.

        It is -1 where there is none: of streams that were derived from one seed for all, or restored.
        """
        self._draw_streams()
        return tuple(self._seeds)

    def _draw_streams(self) -> None:
        """Gives each optimizee a stream of its own, if they have none yet."""
        if not self._rngs:
            drawn = [seeding.np_random() for _ in range(self.num_envs)]
            self._rngs, self._seeds = [rng for rng, _ in drawn], [seed for _, seed in drawn]

    def _take_streams(self, streams: list[np.random.Generator]) -> None:
        self._rngs, self._seeds = streams, [UNKNOWN_SEED] * len(streams)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of each optimizee, by its name in :class:`l2o_env.Syn2RealEnv`; methods are called.

        Raises:
            AttributeError: If it is none that a single environment has, too.
        """
        return self.call(name)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """What a method of :class:`l2o_env.Syn2RealEnv` gives for each optimizee, or an attribute of it.

        Args:
            name: ``"evaluate"``, ``"pair_name"``, ``"layer_names"``, ...
            *args: Arguments of the method, if it is one.
            **kwargs: Likewise.

        Raises:
            AttributeError: If it is nothing that can be asked of each optimizee.
        """
        if name not in _OF_EACH and name not in _OF_ALL:
            known = ", ".join(sorted((*_OF_EACH, *_OF_ALL)))
            raise AttributeError(
                f"An optimizee of {type(self).__name__} has no attribute {name!r}. Known: {known}. What is of the "
                "population is an attribute of the environment itself."
            )
        value = getattr(self, _OF_EACH.get(name) or _OF_ALL[name])
        if callable(value):
            value = value(*args, **kwargs)
        return tuple(value) if name in _OF_EACH and value is not None else (value,) * self.num_envs


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return value.item() if isinstance(value, np.generic) else value
