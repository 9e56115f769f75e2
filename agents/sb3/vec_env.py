"""A population of fine-tuning runs as a vectorised environment of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from l2o_env.action import N_FACTORS
from l2o_env.errors import ConfigError
from l2o_env.vector_env import Syn2RealVectorEnv

from .masks import factor_masks

_PER_OPTIMIZEE = ("evaluate", "render", "action_masks")
"""Methods that give one result per optimizee; those of all other methods are the population's."""
_STEPPING = ("reset", "step", "step_rates", "set_state", "close")
"""Methods that would move every optimizee, however few were asked for."""
_NO_MASKS = "This population masks nothing; give PopulationVecEnv a max_jump."


class PopulationVecEnv(VecEnv):
    """N fine-tuning runs in one batched graph, for the algorithms of Stable-Baselines3 and sb3-contrib.

    ``PPO("MlpPolicy", PopulationVecEnv(Syn2RealVectorEnv(16, pairs="glyphs-digits")))`` is all it takes. As SB3 wants
    it, an optimizee whose episode has ended starts the next one at once; the last observation is in
    ``info["terminal_observation"]``.

    Seeding: ``seed(s)`` gives each optimizee a seed drawn from ``SeedSequence(s)`` at the next reset; the global
    generators are never touched. ``set_options({"pair": name})`` picks the pair from the next reset on.

    Args:
        venv: The population, with the auto-reset mode ``NEXT_STEP`` (the default) or ``DISABLED``.
        shared_factor: Give actions the form ``Discrete(11)``: one tenth of `base_lr` for all layer groups, as
            algorithms for a single discrete action need it. The population must have the action form `discrete`.
        max_jump: Tenths of `base_lr` by which the `discrete` factor of a layer group may move within one step, as
            ``env_method("action_masks")`` tells it to MaskablePPO; None allows any factor.

    Raises:
        ConfigError: If the population does not fit.
    """

    def __init__(self, venv: Syn2RealVectorEnv, *, shared_factor: bool = False, max_jump: int | None = None) -> None:
        if venv.autoreset_mode == AutoresetMode.SAME_STEP:
            raise ConfigError(
                f"The population has the auto-reset mode {venv.autoreset_mode.value}; expected NextStep (the default) "
                "or Disabled, because the adapter restarts optimizees itself."
            )
        discrete = venv.config.action == "discrete"
        if shared_factor and not discrete:
            raise ConfigError(
                f"shared_factor=True and the action form {venv.config.action!r} do not go together; make the "
                "population with action='discrete'."
            )
        if max_jump is not None and (not discrete or max_jump < 1):
            raise ConfigError(
                f"max_jump is {max_jump} with the action form {venv.config.action!r}; expected an integer >= 1 with "
                "'discrete'."
            )
        self.population, self.shared_factor, self.max_jump = venv, shared_factor, max_jump
        action_space = spaces.Discrete(N_FACTORS) if shared_factor else venv.single_action_space
        super().__init__(venv.num_envs, venv.single_observation_space, action_space)
        self._actions: NDArray[Any] | None = None

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Sets the seeds that the next :meth:`reset` gives to the optimizees.

        Args:
            seed: Any integer >= 0; None draws seeds that nobody can foresee.

        Returns:
            The seeds; ``Syn2RealEnv(...).reset(seed=s)`` with one of them makes the same episode.
        """
        self._seeds = [int(word) for word in np.random.SeedSequence(seed).generate_state(self.num_envs)]
        return self._seeds

    def reset(self) -> NDArray[np.float32]:
        """Starts new episodes of all optimizees, with the seeds and options that were set since the last reset.

        Returns:
            Observations ``(num_envs, n_layers * n_features)``; the infos are in ``reset_infos``.

        Raises:
            ConfigError: If the options differ between optimizees, or one is unknown.
        """
        options = self._options[0]
        if any(other != options for other in self._options):
            raise ConfigError("The options differ between optimizees; a population takes one dictionary for all.")
        seeds = None if all(seed is None for seed in self._seeds) else self._seeds
        observations, info = self.population.reset(seed=seeds, options=dict(options))
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = self._rows(info)
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Takes the actions ``(num_envs, n_layers)`` for :meth:`step_wait`, or ``(num_envs,)`` shared factors."""
        self._actions = np.asarray(actions)
        if self.shared_factor:
            self._actions = np.repeat(self._actions[:, None], len(self.population.layer_names), axis=1)

    def step_wait(self) -> VecEnvStepReturn:
        """Makes one window of every optimizee, and restarts those whose episode ends with it.

        Returns:
            Observations ``(num_envs, n_layers * n_features)``, rewards and ends ``(num_envs,)``, and one info per
            optimizee. Where an episode has ended, the observation is the first of the next one, and the info is that
            of the end, with ``"terminal_observation"`` and ``"TimeLimit.truncated"``.
        """
        assert self._actions is not None, "step_async() comes before step_wait()"
        observations, rewards, terminated, truncated, info = self.population.step(self._actions)
        self._actions = None
        done = terminated | truncated
        infos = self._rows(info)
        for row, cut in zip(infos, truncated & ~terminated, strict=True):
            row["TimeLimit.truncated"] = bool(cut)
        if done.any():
            for i in np.flatnonzero(done):
                infos[i]["terminal_observation"] = observations[i].copy()
            observations, info = self.population.reset(options={"reset_mask": done})
            self.reset_infos = [
                new if ended else old for new, old, ended in zip(self._rows(info), self.reset_infos, done, strict=True)
            ]
        return observations, rewards.astype(np.float32), done, infos

    @staticmethod
    def _rows(info: dict[str, Any]) -> list[dict[str, Any]]:
        columns = {key: value for key, value in info.items() if not key.startswith("_")}
        n = len(next(iter(columns.values())))
        return [{key: value[i] for key, value in columns.items()} for i in range(n)]

    def action_masks(self) -> NDArray[np.bool_]:
        """Factors that may follow the current rates, ``(num_envs, n_layers * 11)``; needs `max_jump`.

        Raises:
            AttributeError: Without `max_jump`: there is nothing to mask then.
        """
        if self.max_jump is None:
            raise AttributeError(_NO_MASKS)
        return factor_masks(self.population.episodes.rates, self.population.config.base_lr, self.max_jump)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the population, the same for every optimizee; one value for each of `indices`."""
        return [self._attribute(attr_name)] * len(self._indices(indices))

    def _attribute(self, name: str) -> Any:
        if name == "action_masks":
            if self.max_jump is None:  # so that SB3's has_attr says that there are none
                raise AttributeError(_NO_MASKS)
            return self.action_masks
        return getattr(self.population, name)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute of the population.

        Raises:
            ConfigError: If `indices` leaves out an optimizee: the attribute belongs to all of them.
        """
        self._require_all(f"The attribute {attr_name!r} is", indices)
        setattr(self.population, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Calls a method of the population once, and gives what came of it for each of `indices`.

        ``evaluate``, ``render`` and ``action_masks`` give each optimizee its own result.

        Raises:
            ConfigError: If the method would move optimizees that `indices` leaves out.
        """
        if method_name in _STEPPING:
            self._require_all(f"{method_name}() acts on", indices)
        result = self._attribute(method_name)(*method_args, **method_kwargs)
        if method_name in _PER_OPTIMIZEE and result is not None:
            return [result[i] for i in self._indices(indices)]
        return [result] * len(self._indices(indices))

    def env_is_wrapped(self, wrapper_class: Any, indices: VecEnvIndices = None) -> list[bool]:
        """False for each of `indices`: a population is not made of wrapped environments."""
        return [False] * len(self._indices(indices))

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """One picture of each running episode, or None without ``render_mode="rgb_array"``."""
        pictures = self.population.render()
        return [None] * self.num_envs if pictures is None else list(pictures)

    def close(self) -> None:
        """Closes the population."""
        self.population.close()

    def _indices(self, indices: VecEnvIndices) -> list[int]:
        return [int(i) for i in self._get_indices(indices)]

    def _require_all(self, what: str, indices: VecEnvIndices) -> None:
        if sorted(i % self.num_envs for i in self._indices(indices)) != list(range(self.num_envs)):
            raise ConfigError(f"{what} the whole population; got the indices {indices}, expected None.")
