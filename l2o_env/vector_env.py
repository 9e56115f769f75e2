"""A population of fine-tuning runs as a Gymnasium vector environment.

Longer than other files, because the docstring is a third of it: it is the contract that users read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from l2o_env.action import Decision, action_space, check_rates, decide
from l2o_env.config import EnvConfig
from l2o_env.episodes import Episodes, StepResult, check_options, check_render_mode, generator_state, restore_generator
from l2o_env.errors import ConfigError, WrongTypeError, require_integer, unknown_name
from l2o_env.sub_environments import UNKNOWN_SEED, SubEnvironments


# Gymnasium's class stands here once more, because clients such as skrl look for it among the direct bases.
class Syn2RealVectorEnv(SubEnvironments, VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
    """N fine-tuning runs in one batched graph; see :class:`l2o_env.env.Syn2RealEnv` for what one run is.

    ## Description
    ``gymnasium.make_vec("l2o_env/Syn2Real-v0", num_envs=16, vectorization_mode="vector_entry_point", ...)`` makes it.
    Each optimizee has its own weights, learning rates, batches and pair; all pairs have the same network.

    ## Action Space
    The space of a single run with a first dimension of `num_envs`: `Box(-1, 1, (num_envs, n_layers))`, with one number
    more for `action="log+guidance"`, or `MultiDiscrete`, with 11 factors, of shape `(num_envs, n_layers)`.

    ## Observation Space
    `Box` of shape `(num_envs, n_layers * n_features)`, or `(num_envs, 5 + n_layers)` with `observation="asg"`.

    ## Rewards
    `(num_envs,)`, float64, each as in a single run. With ``NEXT_STEP`` it is 0 in the step that starts an episode.

    ## Starting State
    As in a single run. ``reset(seed=s)`` derives one independent stream per optimizee from ``SeedSequence(s)``;
    ``reset(seed=[s0, s1, ...])`` gives each optimizee the stream that a single environment gets from that seed. With
    ``common_random_numbers=True`` optimizees that start together all start from the stream of the first of them.
    ``options={"pair": name}`` picks the pair of all optimizees, also for the episodes that auto-reset starts;
    ``options={"reset_mask": mask}`` resets some of them.

    ## Episode End
    As in a single run, for each optimizee by itself, or truncated after `max_episode_steps`; `autoreset_mode` says what
    follows. docs/vector.md tells where this differs from Gymnasium's own vector environments.

    ## Arguments
    Below; the others are the fields of :class:`l2o_env.config.EnvConfig`.

    ## Version History
    - v0: first version.

    Args:
        num_envs: Number of optimizees, at least 1.
        autoreset_mode: When optimizees whose episode has ended start the next: ``NEXT_STEP`` (in the next call of
            ``step``, whose action and reward do not count for them), ``SAME_STEP`` (at once; the last observation and
            info are in ``info["final_obs"]`` and ``info["final_info"]``), or ``DISABLED``.
        render_mode: ``"rgb_array"`` or None; ``render`` returns one picture per optimizee.
        max_episode_steps: Steps after which an episode that has not ended is truncated; None: never.
        **config: Fields of :class:`l2o_env.config.EnvConfig`.

    Raises:
        ConfigError: If a setting cannot work.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 2, "autoreset_mode": AutoresetMode.NEXT_STEP}
    closed = True  # until there is something to close: older Gymnasiums close even what the constructor refused to make

    def __init__(
        self,
        num_envs: int = 16,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        **config: Any,
    ) -> None:
        super().__init__()
        self.num_envs = num_envs = require_integer("num_envs", num_envs, most=10**6)
        check_render_mode(render_mode)
        if max_episode_steps is not None:
            max_episode_steps = require_integer("max_episode_steps", max_episode_steps)
        self.max_episode_steps = max_episode_steps
        self.config = EnvConfig.from_kwargs(config)
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError as error:
            raise unknown_name("auto-reset mode", autoreset_mode, [mode.value for mode in AutoresetMode]) from error
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = render_mode
        self._make_population()
        self._pair: str | None = None
        self._ended = np.zeros(num_envs, np.bool_)
        self._steps = np.zeros(num_envs, np.int64)  # of the running episodes
        self._history: list[list[dict[str, Any]]] = [[] for _ in range(num_envs)]
        self.on_step: Callable[[dict[str, Any], NDArray[np.bool_]], None] | None = None
        """Called with the infos of each step and the mask of the optimizees that made a window; for logs."""

    def _make_population(self) -> None:
        """Builds the population that the settings describe, and its spaces."""
        self.episodes = Episodes(self.config, self.num_envs)
        self.closed = False
        self.single_observation_space = self.episodes.space
        self.single_action_space = action_space(self.config, self.episodes.layout.n_layers)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layer groups, from the input to the head."""
        return self.episodes.layout.group_names

    @property
    def pair_names(self) -> tuple[str, ...]:
        """Name of the pair of each optimizee, ``config.pairs[info["pair"][i]]``.

        Raises:
            ResetNeeded: If no episode was started yet.
        """
        return self.episodes.pair_names

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Starts new episodes.

        Args:
            seed: See the class; None goes on with the streams there are.
            options: ``"pair"`` (a name, or None to draw again) and ``"reset_mask"`` (``(num_envs,)``, bool).

        Returns:
            Observations ``(num_envs, n_layers * n_features)`` and infos.

        Raises:
            ConfigError: If an option is unknown or has the wrong form; a TypeError too, if a mask is not of booleans.
        """
        options = check_options(options, ("pair", "reset_mask"), self.config.pairs)
        fresh = self._reset_mask(options.get("reset_mask"))
        self._seed(seed, fresh)
        if "pair" in options:
            self._pair = options["pair"]
        result = self._restart(fresh, resting=~fresh)
        return result.observations, self._info(result, fresh)

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Makes one window of updates with the learning rates that the actions stand for.

        Args:
            actions: One action per optimizee, ``(num_envs, ...)``.

        Raises:
            ConfigError: If the actions have a wrong shape or hold a NaN; a TypeError too, if it is a single number.
            ResetNeeded: If there is no running episode.
        """
        self._require_episode()
        if np.isscalar(actions):
            raise WrongTypeError(f"The actions are the number {actions!r}; expected one action per optimizee.")
        return self._step(decide(actions, self.episodes.rates, self.config, self.episodes.update_ratio))

    def step_rates(
        self, rates: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Like :meth:`step`, with physical learning rates ``(num_envs, n_layers)``; 0 freezes a layer group."""
        self._require_episode()
        return self._step(Decision(check_rates(rates, self.episodes.rates.shape), None))

    def _step(
        self, decision: Decision
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        waiting, self._ended = self._ended, np.zeros(self.num_envs, np.bool_)
        if waiting.any():
            self._start(waiting)
        result = self._advance(decision, waiting)
        if self.on_step is not None:
            self.on_step(result.infos, ~waiting)
        info = self._info(result, np.ones(self.num_envs, np.bool_))
        observations = result.observations
        self._steps += ~waiting
        truncated = ~waiting & (self._steps >= (self.max_episode_steps or np.inf))
        ended = result.terminated | truncated
        if self.autoreset_mode == AutoresetMode.SAME_STEP and ended.any():
            info = self._add_final(info, observations, ended)
            restarted = self._restart(ended, resting=~ended)
            observations = restarted.observations
            for key, value in restarted.infos.items():
                info[key] = np.where(_like(ended, value), value, info[key])
        else:
            self._ended = ended
        return observations, result.rewards, result.terminated, truncated, info

    def _start(self, fresh: NDArray[np.bool_]) -> None:
        indices = [int(i) for i in np.flatnonzero(fresh)]
        self.episodes.start(self._rngs, indices, self._pair)
        self._steps[indices] = 0
        for i in indices:
            self._history[i] = []

    def _restart(self, fresh: NDArray[np.bool_], resting: NDArray[np.bool_]) -> StepResult:
        self._start(fresh)
        self._ended = self._ended & ~fresh
        return self._advance(Decision(self.episodes.rates, None), fresh, resting)

    def _advance(
        self, decision: Decision, fresh: NDArray[np.bool_], resting: NDArray[np.bool_] | None = None
    ) -> StepResult:
        result = self.episodes.advance(decision.rates, fresh, resting, decision.guidance_weight)
        if self.render_mode == "rgb_array":
            for i in range(self.num_envs):
                if resting is None or not resting[i]:
                    row = {key: value[i] for key, value in result.infos.items()}
                    self._history[i].append({**row, "pair": self.pair_names[i]})
        return result

    def _info(self, result: StepResult, present: NDArray[np.bool_]) -> dict[str, Any]:
        return {**result.infos, **{f"_{key}": present.copy() for key in result.infos}}

    def _add_final(
        self, info: dict[str, Any], observations: NDArray[np.float32], ended: NDArray[np.bool_]
    ) -> dict[str, Any]:
        final_obs = np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(ended):
            final_obs[i] = observations[i].copy()
        final = {key: (ended.copy() if key.startswith("_") else value) for key, value in info.items()}
        return {
            **info,
            "final_obs": final_obs,
            "_final_obs": ended.copy(),
            "final_info": final,
            "_final_info": ended.copy(),
        }

    def _require_episode(self) -> None:
        if self.episodes.observations is None:
            raise ResetNeeded("There is no episode yet; call reset() before step().")
        if self.autoreset_mode == AutoresetMode.DISABLED and self._ended.any():
            raise ResetNeeded(
                f"The episodes of the optimizees {np.flatnonzero(self._ended).tolist()} have ended; call "
                "reset(options={'reset_mask': mask}) before step()."
            )

    def _reset_mask(self, mask: Any) -> NDArray[np.bool_]:
        if mask is None:
            return np.ones(self.num_envs, np.bool_)
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            kind = ConfigError if mask.dtype == np.bool_ else WrongTypeError
            raise kind(
                f"reset_mask has shape {mask.shape} and type {mask.dtype}; expected ({self.num_envs},) booleans with "
                "at least one True."
            )
        if self.episodes.observations is None and not mask.all():
            raise ConfigError("The first reset must reset every optimizee; leave out reset_mask.")
        return mask

    def _seed(self, seed: int | Sequence[int | None] | None, fresh: NDArray[np.bool_]) -> None:
        """Gives new streams to those that start; the others keep theirs, as do those without a seed."""
        if seed is None:
            self._draw_streams()
            return
        new: list[tuple[np.random.Generator, int] | None]
        if isinstance(seed, int | np.integer):
            children = np.random.SeedSequence(seed).spawn(self.num_envs)
            new = [(np.random.Generator(np.random.PCG64(child)), UNKNOWN_SEED) for child in children]
        else:
            if len(seed) != self.num_envs:
                raise ConfigError(f"Got {len(seed)} seeds for {self.num_envs} environments; expected one for each.")
            new = [None if s is None else seeding.np_random(int(s)) for s in seed]
        self._draw_streams()
        for i, stream in enumerate(new):
            if stream is not None and fresh[i]:
                self._rngs[i], self._seeds[i] = stream

    def evaluate(self, split: str) -> NDArray[np.float64]:
        """Accuracy ``(num_envs,)`` of every optimizee as it is now on the images of a split of its pair.

        See :meth:`l2o_env.env.Syn2RealEnv.evaluate`.

        Raises:
            ConfigError: If there is no such split, or a pair has no images of it.
            ResetNeeded: If no episode was started yet.
        """
        return self.episodes.accuracy(split)

    def class_accuracy(self, split: str) -> NDArray[np.float64]:
        """Like :meth:`evaluate` for each class ``(num_envs, n_classes)``; NaN for a class without images.

        Evaluation only; on ``"target"``.
        """
        return self.episodes.class_accuracy(split)

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """One picture ``(height, width, 3)`` of each running episode: learning rates, losses and drift so far."""
        if self.render_mode is None:
            return None
        from l2o_env.results.episode_picture import draw_episode

        return tuple(draw_episode(history, self.layer_names) for history in self._history)

    def close_extras(self, **kwargs: Any) -> None:
        """Called by ``close``."""
        self.episodes.close()

    def get_state(self) -> dict[str, Any]:
        """Everything of the running episodes: restoring it and going on equals never having stopped."""
        return {
            "episodes": self.episodes.get_state(),
            "rngs": [generator_state(rng) for rng in self._rngs],
            "pair": self._pair,
            "ended": self._ended.copy(),
            "steps": self._steps.copy(),
            "history": [list(history) for history in self._history],
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes up a state that ``get_state`` returned, here or in an environment of the same settings."""
        self.episodes.set_state(state["episodes"])
        self._take_streams([restore_generator(rng) for rng in state["rngs"]])
        self._pair = state["pair"]
        self._ended = state["ended"].copy()
        self._steps = np.array(state.get("steps", np.zeros(self.num_envs, np.int64)))  # older states have none
        self._history = [list(history) for history in state["history"]]

    def get_streams(self) -> dict[str, Any]:
        """The random streams of the optimizees, for where the rest of :meth:`get_state` is not needed.

        That is before a reset of all optimizees: new episodes depend on nothing else.
        """
        return {"rngs": [generator_state(rng) for rng in self._rngs], "updates_made": self.episodes.updates_made}

    def set_streams(self, streams: Mapping[str, Any]) -> None:
        """Takes up what :meth:`get_streams` returned, here or in an environment of the same settings."""
        self._take_streams([restore_generator(state) for state in streams["rngs"]])
        self.episodes.updates_made = streams["updates_made"]

    def __getstate__(self) -> dict[str, Any]:
        """Settings and state; the population is built anew where the pickle is loaded."""
        return {
            "arguments": {
                "num_envs": self.num_envs,
                "autoreset_mode": self.autoreset_mode,
                "render_mode": self.render_mode,
                "max_episode_steps": self.max_episode_steps,
            },
            "config": asdict(self.config),
            "spec": self.spec,
            "state": self.get_state(),
        }

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        """Builds the environment again and takes up its state."""
        self.__init__(**pickled["arguments"], **pickled["config"])  # type: ignore[misc]
        self.spec = pickled["spec"]
        self.set_state(pickled["state"])


def _like(mask: NDArray[np.bool_], value: NDArray[Any]) -> NDArray[np.bool_]:
    return mask.reshape(-1, *[1] * (value.ndim - 1))
