"""A population that goes through tasks: what agents learn on that are to bear any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2o_env.action import ANY_OPTIMIZER
from l2o_env.config import EnvConfig
from l2o_env.episodes import generator_state, restore_generator
from l2o_env.errors import ConfigError, shortened
from l2o_env.tasks import Task, TaskRanges
from l2o_env.vector_env import Syn2RealVectorEnv


class TaskVectorEnv(Syn2RealVectorEnv):
    """A population that is given another task at each reset, drawn from ranges.

    All its optimizees make the same task, each with a head and batches of its own. Settings, names of the layer groups
    and spaces are those of the running task, which is why agents that learn here must run on any network, and why no
    Gymnasium id makes it.

    Args:
        num_envs: Number of optimizees.
        ranges: What tasks are drawn from.
        task_seed: Seed of the tasks.
        **config: Fields of :class:`l2o_env.config.EnvConfig` that tasks leave open.

    Attributes:
        task: The running task.

    Raises:
        ConfigError: If a setting cannot work.
    """

    def __init__(self, num_envs: int, ranges: TaskRanges, *, task_seed: int = 0, **config: Any) -> None:
        self.ranges, self.common = ranges, EnvConfig.from_kwargs(config)
        self._task_rng = np.random.Generator(np.random.PCG64(task_seed))
        self.task = self._draw()
        self._fresh = True
        super().__init__(num_envs, **vars(self.task.config(self.common)))

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Draws a task and starts its episodes.

        Args:
            seed: Of the episodes, as ever; tasks have their own.
            options: None, or ``{"pair": None}``.

        Raises:
            ConfigError: If an option asks for a pair, or for some optimizees alone.
        """
        if options is not None and (set(options) - {"pair"} or options.get("pair") is not None):
            raise ConfigError(f"The options are {shortened(options)}; expected none: each reset draws a task for all.")
        if not self._fresh:  # the first was drawn to make the population
            self._become(self._draw())
        self._fresh = False
        return super().reset(seed=seed)

    def _draw(self) -> Task:
        return self.ranges.draw(self._task_rng, any_optimizer=self.common.action == ANY_OPTIMIZER)

    def _become(self, task: Task) -> None:
        made = self.episodes.updates_made
        self.episodes.close()
        self.task, self.config = task, task.config(self.common)
        self._make_population()
        self.episodes.updates_made = made

    def get_streams(self) -> dict[str, Any]:
        """See :meth:`Syn2RealVectorEnv.get_streams`; with the stream of the tasks."""
        return {**super().get_streams(), "tasks": generator_state(self._task_rng)}

    def set_streams(self, streams: Mapping[str, Any]) -> None:
        """Takes up what :meth:`get_streams` returned."""
        super().set_streams(streams)
        self._task_rng = restore_generator(streams["tasks"])
        self._fresh = False

    def __getstate__(self) -> dict[str, Any]:
        """Refused."""
        raise TypeError("A population of tasks cannot be pickled; keep its streams, which get_streams gives.")
