"""What a policy makes of what it observes: against its own mean schedule, and with statistics hidden from it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l2o_env import pairs as pair_registry
from l2o_env.config import EnvConfig
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


def mean_episode(agent: AgentLike, config: EnvConfig, pairs: Sequence[str], n_seeds: int, seed: int) -> MeanEpisode:
    """Runs a policy on pairs and takes the means over all episodes, as far as each went.

    Args:
        agent: The policy.
        config: Settings to run it with.
        pairs: Names of pairs whose networks have the same number of layer groups.
        n_seeds: Episodes on each pair; their seeds are not those of an evaluation.
        seed: Seed of the episodes.
    """
    sums = _Sums()
    for pair in pairs:
        n = min(n_seeds, MAX_OPTIMIZEES)
        settings = replace(config, pairs=(pair,), common_random_numbers=False, feature_dropout=0.0)
        venv = Syn2RealVectorEnv(n, **asdict(settings))
        seeds = episode_seeds(seed, "ablation", n_seeds)
        for start in range(0, n_seeds, n):
            part = seeds[start : start + n]
            run_episodes(venv, agent, seeds=part + part[:1] * (n - len(part)), on_step=sums)
    return sums.means()


class _Sums:
    """Watches rollouts, and adds up what was observed and done at each step."""

    def __init__(self) -> None:
        self._rates: list[NDArray[np.float64]] = []
        self._features: list[NDArray[np.float64]] = []
        self._counts: list[int] = []
        self._observed = np.zeros(0, np.float32)

    def __call__(self, step: Step) -> None:
        if step.number:
            if step.number > len(self._counts):
                layers = split_layers(self._observed)
                self._rates.append(np.zeros(layers.shape[1]))
                self._features.append(np.zeros(layers.shape[1:]))
                self._counts.append(0)
            k, running = step.number - 1, step.running
            self._rates[k] += np.log(np.maximum(step.info["lr"][running], _SMALLEST_RATE)).sum(0)
            self._features[k] += split_layers(self._observed)[running].sum(0)
            self._counts[k] += int(running.sum())
        self._observed = step.observations.copy()

    def means(self) -> MeanEpisode:
        counts = np.array(self._counts)
        return MeanEpisode(
            np.exp(np.stack(self._rates) / counts[:, None]), np.stack(self._features) / counts[:, None, None]
        )


class OpenLoop(BaseAgent):
    """Replays the rates of a mean episode, whatever it observes."""

    output: Output = "rates"

    def __init__(self, episode: MeanEpisode) -> None:
        self._rates = episode.rates

    def act(
        self, observations: NDArray[np.float32], state: int | None, deterministic: bool
    ) -> tuple[NDArray[np.float64], int]:
        """Rates ``(N, n_layers)`` of the step, and the number of the next."""
        step = min(state or 0, len(self._rates) - 1)
        return np.tile(self._rates[step], (len(observations), 1)), step + 1


class Hidden(BaseAgent):
    """A policy that observes, in place of one feature, what that is on the whole at the same step and layer."""

    def __init__(self, agent: AgentLike, feature: str, episode: MeanEpisode) -> None:
        self._agent = completed(agent)
        self._feature = FEATURE_NAMES.index(feature)
        self._values = episode.features[..., self._feature]
        self.output = self._agent.output

    def act(
        self, observations: NDArray[np.float32], state: tuple[int, Any] | None, deterministic: bool
    ) -> tuple[NDArray[Any], tuple[int, Any]]:
        """What the policy does; the state is the number of the next step and the policy's own."""
        step, inner = (0, None) if state is None else state
        layers = split_layers(observations).copy()
        layers[..., self._feature] = self._values[min(step, len(self._values) - 1)]
        actions, inner = self._agent.act(layers.reshape(observations.shape), inner, deterministic)
        return actions, (step + 1, inner)


def check_ablations(names: Sequence[str]) -> None:
    """Raises ConfigError unless the names say what can be taken from a policy."""
    known = (STATISTICS, EACH, *FEATURE_NAMES)
    for name in names:
        if name not in known:
            raise unknown_name("ablation", name, known)


def ablated(base: Contestant, names: Sequence[str], pairs: Sequence[str], n_seeds: int, seed: int) -> list[Contestant]:
    """A policy without what it is to do without, as contestants beside it.

    Args:
        base: The policy.
        names: ``"statistics"`` for its mean schedule, names of features, or ``"each"`` for each of them.
        pairs: Pairs of the evaluation. Means are over those whose networks have the same number of layer groups.
        n_seeds: Episodes on each pair that means are taken over.
        seed: Seed of these episodes.

    Raises:
        ConfigError: If it does not observe the features of layer groups, or sets the weight of the guidance too.
    """
    if base.config.observation != "layers" or base.config.action == "log+guidance":
        raise ConfigError(
            f"{base.policy!r} has observation {base.config.observation!r} and action {base.config.action!r}; ablations "
            "are of policies that set rates alone, by the features of each layer group. Leave out --ablate."
        )
    by_layers: dict[int, list[str]] = {}
    for pair in pairs:
        by_layers.setdefault(pair_registry.make(pair).layout.n_layers, []).append(pair)
    found: list[Contestant] = []
    for group in by_layers.values():
        episode = mean_episode(base.load(), base.config, group, n_seeds, seed)
        for each in _in_turn(names):
            name = _name(base.policy, each)
            digest = hashlib.sha256(f"{base.digest} {name}".encode())
            digest.update(episode.rates.tobytes() + episode.features.tobytes())
            load = partial(_without, base, each, episode)
            found.append(
                replace(
                    base, policy=name, load=load, digest=digest.hexdigest(), modes=("deterministic",),
                    pairs=tuple(group),
                )
            )  # fmt: skip
    return found


def _in_turn(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(each for name in names for each in (FEATURE_NAMES if name == EACH else (name,))))


def _without(base: Contestant, name: str, episode: MeanEpisode) -> AgentLike:
    return OpenLoop(episode) if name == STATISTICS else Hidden(base.load(), name, episode)


def _name(policy: str, ablation: str) -> str:
    return f"{policy} open loop" if ablation == STATISTICS else f"{policy} without {ablation}"


def gains(table: pd.DataFrame, base: Contestant, names: Sequence[str]) -> pd.DataFrame:
    """What a policy has over itself without something, on the same pairs and seeds.

    Args:
        table: The tidy table of an evaluation.
        base: The policy.
        names: What was taken from it; see :func:`ablated`.

    Returns:
        A line per ablation: ``policy``, ``ablation``, and for ``v_end`` and ``real_accuracy`` the mean difference over
        pairs and seeds with half the width of its 95 % interval over seeds, ``<column>_gain`` and ``…_gain_ci``.
    """
    import pandas as pd

    def values(policy: str) -> pd.DataFrame:
        rows = table[(table["policy"] == policy) & (table["selection"] == base.selection)]
        rows = rows[(rows["mode"] == "deterministic") & (rows["run"] == base.run)]
        return rows.set_index(["pair", "seed"])[list(GAINED)]

    lines = []
    for name in _in_turn(names):
        other = _name(base.policy, name)
        by_seed = (values(base.policy) - values(other)).groupby("seed").mean()
        line: dict[str, Any] = {"policy": base.policy, "ablation": other}
        for column in by_seed:
            line[f"{column}_gain"], line[f"{column}_gain_ci"] = mean_and_half_width(by_seed[column].to_numpy(float))
        lines.append(line)
    return pd.DataFrame(lines)
