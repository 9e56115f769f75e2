"""Policies without what they observe: the mean schedule, hidden features, and what is gained over them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from l2o_env import pairs
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.ablation import (
    GAINED,
    Hidden,
    MeanEpisode,
    OpenLoop,
    ablated,
    check_ablations,
    gains,
    mean_episode,
)
from l2o_env.evaluation.agent import BaseAgent
from l2o_env.evaluation.contestant import Contestant
from l2o_env.evaluation.rollout import episode_seeds, run_episodes
from l2o_env.observation import FEATURE_NAMES, N_FEATURES, split_layers
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.tiny import TINY, register_tiny_deep

CONFIG = EnvConfig(**TINY)
_VAL_CE, _PROGRESS = (FEATURE_NAMES.index(name) for name in ("val_ce", "progress"))


class ByLoss(BaseAgent):
    """Larger rates for a larger validation loss."""

    def act(self, observations: NDArray[np.float32], state: Any, deterministic: bool) -> tuple[NDArray[Any], Any]:
        return np.clip(split_layers(observations)[..., _VAL_CE] - 1.0, -1, 1), None


def _contestant(config: EnvConfig = CONFIG) -> Contestant:
    return Contestant("policy", ByLoss, "digest", config, "last", run="a", modes=("deterministic", "sampled"))


def test_the_mean_episode_is_the_mean_over_pairs_and_seeds(tinies: tuple[str, str]) -> None:
    found = mean_episode([(_contestant(), tinies)], 3, seed=5)
    rates, features = [], []
    for pair in tinies:
        venv = Syn2RealVectorEnv(3, **{**TINY, "pairs": pair})
        observations, _ = venv.reset(seed=episode_seeds(5, "ablation", 3))
        for step in range(3):
            features.append((step, split_layers(observations.copy())))
            observations, *_, info = venv.step(ByLoss().act(observations, None, True)[0])
            rates.append((step, info["lr"]))
    assert found.rates.shape == (3, 3) and found.features.shape == (3, 3, N_FEATURES)
    for step in range(3):
        mine = np.concatenate([np.log(x) for k, x in rates if k == step])
        np.testing.assert_allclose(np.log(found.rates[step]), mine.mean(0), rtol=1e-5)
        mine = np.concatenate([x for k, x in features if k == step])
        np.testing.assert_allclose(found.features[step], mine.mean(0), rtol=1e-4, atol=1e-5)


def test_open_loop_is_the_same_whatever_it_observes(tiny: str) -> None:
    episode = mean_episode([(_contestant(), [tiny])], 2, seed=0)
    seen: list[NDArray[np.float64]] = []
    venv = Syn2RealVectorEnv(2, **TINY)
    run_episodes(venv, OpenLoop(episode), seeds=[7, 8], on_step=lambda step: seen.append(step.info["lr"]))
    for step, rates in enumerate(seen[1:]):
        np.testing.assert_allclose(rates, np.tile(episode.rates[step], (2, 1)), rtol=1e-6)


def test_a_hidden_feature_does_not_reach_the_policy(tiny: str) -> None:
    episode = mean_episode([(_contestant(), [tiny])], 2, seed=0)
    observations = np.random.default_rng(0).normal(size=(4, 3 * N_FEATURES)).astype(np.float32)
    hidden, other = Hidden(ByLoss(), "val_ce", episode), Hidden(ByLoss(), "progress", episode)
    state: Any = None
    for step in range(3):
        actions, state = hidden.act(observations, state, True)
        expected = np.clip(episode.features[step, :, _VAL_CE] - 1.0, -1, 1)
        np.testing.assert_allclose(actions, np.tile(expected, (4, 1)), rtol=1e-5)
    np.testing.assert_array_equal(other.act(observations, None, True)[0], ByLoss().act(observations, None, True)[0])


def test_contestants_without_something(tinies: tuple[str, str]) -> None:
    found = ablated([_contestant()], ["statistics", "val_ce"], tinies, 2, 0)
    assert [(each.policy, each.pairs) for each in found] == [
        ("policy open loop", None), ("policy without val_ce", None)
    ]  # fmt: skip
    assert len({each.digest for each in found}) == 2
    assert {each.modes for each in found} == {("deterministic",)}
    each = ablated([_contestant()], ["each", "val_ce"], tinies, 2, 0)
    assert [a.policy for a in each] == [f"policy without {name}" for name in FEATURE_NAMES]


def test_one_mean_schedule_serves_all_tasks_of_an_optimizer(tiny: str) -> None:
    register_tiny_deep()
    sgd = CONFIG.with_optimizer("sgd" if CONFIG.optimizer != "sgd" else "adamw")
    bases = [
        replace(_contestant(config), pairs=(pair,)) for config, pair in
        ((CONFIG, tiny), (replace(CONFIG, batch_size=2), "tiny-deep"), (sgd, tiny))
    ]  # fmt: skip
    found = ablated(bases, ["statistics"], (), 2, 0)
    assert [(each.pairs, each.config.optimizer, each.config.batch_size) for each in found] == [
        (base.pairs, base.config.optimizer, base.config.batch_size) for base in bases
    ]
    rates = []
    for each in found:
        n_layers = 3 if each.pairs == (tiny,) else pairs.make("tiny-deep").layout.n_layers
        acted, _ = each.load().act(np.zeros((1, n_layers * N_FEATURES), np.float32), 1, True)
        rates.append(np.log(acted[0]))
    shallow, deep, other = rates
    assert len(deep) > len(shallow)
    assert (deep[0], deep[-1]) == pytest.approx((shallow[0], shallow[-1]))  # the same schedule, by depth
    assert abs(other - shallow).min() > 1e-3
    alone = [mean_episode([(base, base.pairs or ())], 2, 0).rates[1] for base in bases[:2]]
    assert shallow[0] == pytest.approx(np.log([one[0] for one in alone]).mean())


def test_a_mean_episode_fits_any_depth() -> None:
    episode = MeanEpisode(np.array([[1.0, 100.0], [10.0, 1000.0]]), np.array([[[0.0], [1.0]], [[2.0], [4.0]]]))
    rates, features = episode.at_step(0, 3)
    np.testing.assert_allclose(rates, [1, 10, 100])
    np.testing.assert_allclose(features, [[0], [0.5], [1]])
    rates, features = episode.at_step(7, 1)  # past its end; a network of a head alone
    np.testing.assert_allclose((rates, features[0]), [[10], [2]])


def test_what_cannot_be_taken(tiny: str) -> None:
    with pytest.raises(ConfigError, match=r"Unknown ablation 'val_cee'\. Did you mean 'val_ce'"):
        check_ablations(["val_cee"])
    check_ablations(["statistics", "each", *FEATURE_NAMES])
    for changes in ({"action": "log+guidance"}, {"observation": "asg"}):
        with pytest.raises(ConfigError, match=r"'policy' has observation .* Leave out --ablate"):
            ablated([_contestant(replace(CONFIG, **changes))], ["statistics"], [tiny], 2, 0)


def test_gains_are_paired_by_pair_and_seed() -> None:
    rows = [
        {"policy": policy, "run": "a", "selection": "last", "mode": mode, "pair": pair, "seed": seed,
         "v_end": base + value + 10.0 * (mode == "sampled"), "real_accuracy": value}
        for policy, value in (("policy", 0.5), ("policy open loop", 0.25))
        for mode in ("deterministic", "sampled")
        for pair, base in (("x", 0.0), ("y", -3.0))
        for seed in (0, 1, 2)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    table.loc[(table["policy"] == "policy") & (table["seed"] == 2), "v_end"] += 0.3
    found = gains(table, _contestant(), ["statistics"]).iloc[0]
    assert found["ablation"] == "policy open loop"
    assert found["v_end_gain"] == pytest.approx(0.35)
    assert found["v_end_gain_ci"] == pytest.approx(4.3027 * np.std([0.25, 0.25, 0.55], ddof=1) / np.sqrt(3), rel=1e-4)
    assert (found["real_accuracy_gain"], found["real_accuracy_gain_ci"]) == (0.25, 0.0)
    assert GAINED == ("v_end", "real_accuracy")
