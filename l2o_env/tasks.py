"""Distributions of fine-tuning tasks: for policies that are to bear more than one budget, batch size and network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import numpy as np

from l2o_env import pairs
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError, require_integer, shortened, unknown_name
from l2o_env.optimizers import RULES
from l2o_env.pairs.spec import LABEL

TaskPart = Literal["train", "test"]
"""What tasks are for: to learn on, or to be judged on."""
Range = tuple[float, float]
"""Smallest and largest value."""
_Choice = TypeVar("_Choice")
_HARDLY_ANY = 0.01
"""Shares of labels below this are none."""


class Task(NamedTuple):
    """A fine-tuning run to be made.

    Attributes:
        pair: What of, a pair of the embedded family with its settings.
        settings: How, as keywords of :class:`l2o_env.config.EnvConfig`.
    """

    pair: str
    settings: dict[str, Any]

    def config(self, config: EnvConfig) -> EnvConfig:
        """The settings of an environment of this task.

        Args:
            config: All others.
        """
        settings = dict(self.settings)
        if settings.get("optimizer", config.optimizer) != config.optimizer:
            config = config.with_optimizer(settings.pop("optimizer"))
        return replace(config, pairs=(self.pair,), **settings)


@dataclass(frozen=True)
class TaskRanges:
    """What tasks are drawn from: ranges of numbers, and lists of names, each as likely as the others.

    Raises:
        ConfigError: If a range is empty or a name unknown.
    """

    members: tuple[str, ...]
    """Members of the embedded family: renderers, backgrounds, classes of the proxy."""
    networks: tuple[str, ...] = ("small", "narrow", "deep", "unnormalised")
    """Their networks."""
    optimizers: tuple[str, ...] = ("adamw", "sgd")
    """What makes the updates, where actions mean the same with any."""
    budget: Range = (100, 1000)
    """Updates of an episode, log-uniform."""
    batch_size: Range = (8, 128)
    """Images of an update, log-uniform."""
    n_train_per_class: Range = (15, 240)
    """Training images of each class, log-uniform."""
    guidance_weight: Range = (0.03, 3.0)
    """Weight of the guidance term, log-uniform."""
    label_noise: Range = (0.0, 0.5)
    """Share of the training labels that is drawn anew; half of the tasks have the least of it, the others any."""
    n_windows: int = 20
    """Windows of an episode, about: of a budget that they do not divide, the last is cut short."""

    def __post_init__(self) -> None:
        # Networks are the pairs' own to check, below.
        for name, known in (("members", pairs.names()), ("optimizers", tuple(RULES)), ("networks", None)):
            values: Any = getattr(self, name)
            if isinstance(values, str) or not values:
                raise ConfigError(f"{name} is {shortened(values)}; expected a list of at least one name.")
            for value in values:
                if known is not None and value not in known:
                    raise unknown_name(name.removesuffix("s"), value, known)
        require_integer("n_windows", self.n_windows)
        for name in ("budget", "batch_size", "n_train_per_class"):
            self._check_range(name, least=1.0)
        self._check_range("guidance_weight", least=None)
        self._check_range("label_noise", least=0.0)
        for member in self.members:
            for network in self.networks:
                pairs.check(pairs.spec(member, network=network, label_noise=self.label_noise[1]))

    def _check_range(self, name: str, least: float | None) -> None:
        """A range of positive numbers, or of those from `least`."""
        value = getattr(self, name)
        numbers = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
        ok = len(numbers) == 2 and all(isinstance(x, int | float) and math.isfinite(x) for x in numbers)
        if not ok or numbers[0] > numbers[1] or (numbers[0] <= 0 if least is None else numbers[0] < least):
            raise ConfigError(
                f"{name} is {shortened(value)}; expected a range: the smallest and the largest value, both "
                f"{'> 0' if least is None else f'>= {least:g}'}, in this order."
            )

    @property
    def mean_budget(self) -> float:
        """Updates of an episode, on the whole."""
        least, most = self.budget
        return (most - least) / math.log(most / least) if most > least else least

    def draw(self, rng: np.random.Generator, *, any_optimizer: bool, label: str | None = None) -> Task:
        """Draws a task.

        Args:
            rng: Where it is drawn from: as many numbers each time, whatever comes out.
            any_optimizer: Whether the task has an optimizer too, or that of the environment.
            label: What tables call the pair; None: the name of its member.
        """
        member, network, optimizer = (_one_of(rng, names) for names in (self.members, self.networks, self.optimizers))
        budget, batch_size, n_train = (
            round(_log_uniform(rng, limits)) for limits in (self.budget, self.batch_size, self.n_train_per_class)
        )
        guidance_weight = float(f"{_log_uniform(rng, self.guidance_weight):.3g}")
        clean, noise = rng.random() < 0.5, rng.uniform(*self.label_noise)
        noise = self.label_noise[0] if clean or noise < _HARDLY_ANY else round(float(noise), 2)
        pair = pairs.spec(
            member, network=network, n_train_per_class=n_train, label_noise=noise, **{LABEL: label or member}
        )
        settings: dict[str, Any] = {
            "budget": budget,
            "window": max(round(budget / self.n_windows), 1),
            "batch_size": batch_size,
            "guidance_weight": guidance_weight,
        }
        if any_optimizer:
            settings["optimizer"] = optimizer
        return Task(pair, settings)


def _one_of(rng: np.random.Generator, values: Sequence[_Choice]) -> _Choice:
    return values[int(rng.integers(len(values)))]


def _log_uniform(rng: np.random.Generator, limits: Range) -> float:
    return math.exp(rng.uniform(math.log(limits[0]), math.log(limits[1])))


TASKS: Mapping[str, Mapping[TaskPart, Mapping[str, Any]]] = {
    "wide": {
        "train": {},
        "test": {"networks": ("small", "narrow", "deep", "unnormalised", "wide", "deeper")},
    }
}
"""Distributions by name: what differs from the defaults of :class:`TaskRanges` in either part. Members are those of
the part: a policy is judged on pairs that it never saw, and on networks of which some are wider or deeper."""


def task_ranges(name: str, part: TaskPart) -> TaskRanges:
    """What the tasks of a distribution are drawn from.

    Raises:
        ConfigError: If there is no such distribution, or part of it.
    """
    if name not in TASKS:
        raise unknown_name("distribution of tasks", name, TASKS)
    if part not in get_args(TaskPart):
        raise unknown_name("part", part, get_args(TaskPart))
    return TaskRanges(members=pairs.names(part), **TASKS[name][part])


def held_out_tasks(name: str, n: int, *, any_optimizer: bool) -> list[Task]:
    """The first `n` tasks that policies are judged on, the same ones each time; called ``wide-01``, ``wide-02``, ….

    Args:
        name: Of the distribution.
        n: How many.
        any_optimizer: See :meth:`TaskRanges.draw`.

    Raises:
        ConfigError: If there is no such distribution.
    """
    ranges, rng = task_ranges(name, "test"), np.random.Generator(np.random.PCG64(0))
    labels = [f"{name}-{k:02d}" for k in range(1, require_integer("n", n) + 1)]
    return [ranges.draw(rng, any_optimizer=any_optimizer, label=label) for label in labels]
