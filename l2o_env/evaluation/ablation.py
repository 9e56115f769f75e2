"""What a policy makes of what it observes: against its own mean schedule, and with statistics hidden from it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l2o_env.errors import ConfigError, unknown_name
from l2o_env.evaluation.agent import AgentLike, BaseAgent, Output, completed
from l2o_env.evaluation.contestant import Contestant
from l2o_env.evaluation.intervals import mean_and_half_width
from l2o_env.evaluation.rollout import MAX_OPTIMIZEES, Step, episode_seeds, run_episodes
from l2o_env.observation import FEATURE_NAMES, split_layers
from l2o_env.vector_env import Syn2RealVectorEnv

if TYPE_CHECKING:
    import pandas as pd

STATISTICS, EACH = "statistics", "each"
GAINED = ("v_end", "real_accuracy")
"""Columns of which :func:`gains` gives the mean difference."""
_SMALLEST_RATE = 1e-12
"""Stands for a rate of 0, of which there is no geometric mean."""


@dataclass(frozen=True)
class MeanEpisode:
    """What a policy observes and does on the whole.

    Attributes:
        rates: Geometric means of the rates, ``(n_steps, n_layers)``.
        features: Means of the features that were acted on, ``(n_steps, n_layers, n_features)``.
    """

    rates: NDArray[np.float64]
    features: NDArray[np.float64]

    def at_step(self, step: int, n_layers: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rates ``(n_layers,)`` and features ``(n_layers, n_features)`` of a step, the last one for ever.

        Args:
            step: Number of the step.
            n_layers: Layer groups of the network; one of another depth gets what is at the same part of the way from
                the input to the head.
        """
        k = min(step, len(self.rates) - 1)
        return np.exp(_at_depth(np.log(self.rates[k]), n_layers)), _at_depth(self.features[k], n_layers)


def mean_episode(cases: Sequence[tuple[Contestant, Sequence[str]]], n_seeds: int, seed: int) -> MeanEpisode:
    """Runs a policy on pairs and takes the means over all episodes, as far as each went.

    Args:
        cases: The policy with its settings, and names of the pairs that it is run on with them. Their networks may
            differ in depth: means are over what is at the same part of the way from the input to the head.
        n_seeds: Episodes on each pair; their seeds are not those of an evaluation.
        seed: Seed of the episodes.
    """
    found = []
    for contestant, pairs in cases:
        agent = contestant.load()
        for pair in pairs:
            n = min(n_seeds, MAX_OPTIMIZEES)
            settings = replace(contestant.config, pairs=(pair,), common_random_numbers=False, feature_dropout=0.0)
            venv = Syn2RealVectorEnv(n, **asdict(settings))
            seeds, sums = episode_seeds(seed, "ablation", n_seeds), _Sums()
            for start in range(0, n_seeds, n):
                part = seeds[start : start + n]
                run_episodes(venv, agent, seeds=part + part[:1] * (n - len(part)), on_step=sums)
            found.append(sums)
    return _means(found)


class _Sums:
    """Watches rollouts, and adds up what was observed and done at each step."""

    def __init__(self) -> None:
        self.rates: list[NDArray[np.float64]] = []
        self.features: list[NDArray[np.float64]] = []
        self.counts: list[int] = []
        self._observed = np.zeros(0, np.float32)

    def __call__(self, step: Step) -> None:
        if step.number:
            if step.number > len(self.counts):
                layers = split_layers(self._observed)
                self.rates.append(np.zeros(layers.shape[1]))
                self.features.append(np.zeros(layers.shape[1:]))
                self.counts.append(0)
            k, running = step.number - 1, step.running
            self.rates[k] += np.log(np.maximum(step.info["lr"][running], _SMALLEST_RATE)).sum(0)
            self.features[k] += split_layers(self._observed)[running].sum(0)
            self.counts[k] += int(running.sum())
        self._observed = step.observations.copy()


def _means(found: Sequence[_Sums]) -> MeanEpisode:
    """The means over all of them, for the deepest of their networks."""
    depth = max(len(sums.rates[0]) for sums in found)
    rates, features = [], []
    for k in range(max(len(sums.counts) for sums in found)):
        there = [sums for sums in found if k < len(sums.counts)]
        n = sum(sums.counts[k] for sums in there)
        rates.append(np.exp(sum(_at_depth(sums.rates[k], depth) for sums in there) / n))
        features.append(sum(_at_depth(sums.features[k], depth) for sums in there) / n)
    return MeanEpisode(np.stack(rates), np.stack(features))


def _at_depth(values: NDArray[np.float64], n_layers: int) -> NDArray[np.float64]:
    """Values ``(n, ...)`` of layer groups for a network of `n_layers`, between which they change evenly."""
    if len(values) == n_layers:
        return values
    place = np.linspace(0, len(values) - 1, n_layers)
    below = np.minimum(place.astype(int), max(len(values) - 2, 0))
    part = (place - below).reshape(-1, *(1,) * (values.ndim - 1))
    return (1 - part) * values[below] + part * values[np.minimum(below + 1, len(values) - 1)]


class OpenLoop(BaseAgent):
    """Replays the rates of a mean episode, whatever it observes."""

    output: Output = "rates"

    def __init__(self, episode: MeanEpisode) -> None:
        self._episode = episode

    def act(
        self, observations: NDArray[np.float32], state: int | None, deterministic: bool
    ) -> tuple[NDArray[np.float64], int]:
        """Rates ``(N, n_layers)`` of the step, and the number of the next."""
        step = state or 0
        rates, _ = self._episode.at_step(step, split_layers(observations).shape[1])
        return np.tile(rates, (len(observations), 1)), step + 1


class Hidden(BaseAgent):
    """A policy that observes, in place of one feature, what that is on the whole at the same step and layer."""

    def __init__(self, agent: AgentLike, feature: str, episode: MeanEpisode) -> None:
        self._agent = completed(agent)
        self._feature = FEATURE_NAMES.index(feature)
        self._episode = episode
        self.output = self._agent.output

    def act(
        self, observations: NDArray[np.float32], state: tuple[int, Any] | None, deterministic: bool
    ) -> tuple[NDArray[Any], tuple[int, Any]]:
        """What the policy does; the state is the number of the next step and the policy's own."""
        step, inner = (0, None) if state is None else state
        layers = split_layers(observations).copy()
        layers[..., self._feature] = self._episode.at_step(step, layers.shape[1])[1][:, self._feature]
        actions, inner = self._agent.act(layers.reshape(observations.shape), inner, deterministic)
        return actions, (step + 1, inner)


def check_ablations(names: Sequence[str]) -> None:
    """Raises ConfigError unless the names say what can be taken from a policy."""
    known = (STATISTICS, EACH, *FEATURE_NAMES)
    for name in names:
        if name not in known:
            raise unknown_name("ablation", name, known)


def ablated(
    bases: Sequence[Contestant], names: Sequence[str], pairs: Sequence[str], n_seeds: int, seed: int
) -> list[Contestant]:
    """A policy without what it is to do without, as contestants beside it.

    Its means are over all pairs, or over all tasks that have the same optimizer: what it does otherwise on one than on
    another is what it makes of what it observes.

    Args:
        bases: The policy, once for the settings of each case.
        names: ``"statistics"`` for its mean schedule, names of features, or ``"each"`` for each of them.
        pairs: Pairs of a case that names none.
        n_seeds: Episodes on each pair that means are taken over.
        seed: Seed of these episodes.

    Raises:
        ConfigError: If it does not observe the features of layer groups, or sets the weight of the guidance too.
    """
    by_optimizer: dict[str, list[Contestant]] = {}
    for base in bases:
        if base.config.observation != "layers" or base.config.action == "log+guidance":
            raise ConfigError(
                f"{base.policy!r} has observation {base.config.observation!r} and action {base.config.action!r}; "
                "ablations are of policies that set rates alone, by the features of each layer group. Leave out "
                "--ablate."
            )
        by_optimizer.setdefault(base.config.optimizer, []).append(base)
    found: list[Contestant] = []
    for group in by_optimizer.values():
        episode = mean_episode([(base, base.pairs or pairs) for base in group], n_seeds, seed)
        for base in group:
            for each in _in_turn(names):
                name = _name(base.policy, each)
                digest = hashlib.sha256(f"{base.digest} {name}".encode())
                digest.update(episode.rates.tobytes() + episode.features.tobytes())
                load = partial(_without, base, each, episode)
                found.append(replace(base, policy=name, load=load, digest=digest.hexdigest(), modes=("deterministic",)))
    return found


def _in_turn(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(each for name in names for each in (FEATURE_NAMES if name == EACH else (name,))))


def _without(base: Contestant, name: str, episode: MeanEpisode) -> AgentLike:
    return OpenLoop(episode) if name == STATISTICS else Hidden(base.load(), name, episode)


def _name(policy: str, ablation: str) -> str:
    return f"{policy} open loop" if ablation == STATISTICS else f"{policy} without {ablation}"


def gains(table: pd.DataFrame, base: Contestant, names: Sequence[str], *, over: str = "seed") -> pd.DataFrame:
    """What a policy has over itself without something, on the same pairs and seeds.

    Args:
        table: The tidy table of an evaluation.
        base: The policy.
        names: What was taken from it; see :func:`ablated`.
        over: What intervals are over, ``"seed"`` or ``"pair"``: of tasks that were drawn, over these.

    Returns:
        A line per ablation: ``policy``, ``ablation``, and for ``v_end`` and ``real_accuracy`` the mean difference over
        pairs and seeds with half the width of its 95 % interval, ``<column>_gain`` and ``…_gain_ci``.
    """
    import pandas as pd

    def values(policy: str) -> pd.DataFrame:
        rows = table[(table["policy"] == policy) & (table["selection"] == base.selection)]
        rows = rows[(rows["mode"] == "deterministic") & (rows["run"] == base.run)]
        return rows.set_index(["pair", "seed"])[list(GAINED)]

    lines = []
    for name in _in_turn(names):
        other = _name(base.policy, name)
        means = (values(base.policy) - values(other)).groupby(over).mean()
        line: dict[str, Any] = {"policy": base.policy, "ablation": other}
        for column in means:
            line[f"{column}_gain"], line[f"{column}_gain_ci"] = mean_and_half_width(means[column].to_numpy(float))
        lines.append(line)
    return pd.DataFrame(lines)
