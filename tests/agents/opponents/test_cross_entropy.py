"""The search per layer: better than its start, from its seed, within its budget."""

from __future__ import annotations

import pytest

from agents.opponents import CrossEntropyConfig, PerLayer, tune_per_layer
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.evaluate import evaluate


def test_the_search_per_layer_beats_its_start(config: EnvConfig) -> None:
    tuned = tune_per_layer(config, "tiny", 16 * 6, seed=0, search=CrossEntropyConfig(min_generations=6))
    start = PerLayer("start", (0.01,) * 3)
    frame = evaluate({"tuned": tuned, "start": start}, ["tiny"], 8, config)
    values = frame.groupby("policy")["v_end"].mean()
    assert values["tuned"] > values["start"] + 0.05
    assert all(config.lr_min <= rate <= config.lr_max for rate in tuned.rates)


def test_tuning_follows_its_seed(config: EnvConfig) -> None:
    first, again, other = (tune_per_layer(config, "tiny", 16, seed=seed).rates for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_it_keeps_to_its_budget_and_reads_no_target(config: EnvConfig, episodes_run: list[int]) -> None:
    tune_per_layer(config, "tiny", 20, seed=0)
    assert 16 <= sum(episodes_run) <= 20


def test_too_small_a_budget_is_refused(config: EnvConfig) -> None:
    with pytest.raises(ConfigError, match="too few for a search"):
        tune_per_layer(config, "tiny", 1, seed=0)
