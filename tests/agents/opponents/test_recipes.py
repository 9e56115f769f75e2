"""How people fine-tune: usual settings, and the best of a grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agents.opponents import RECIPES, SEARCHES, TUNED, check_searches, tune_recipe
from agents.opponents.searches import MIN_EPISODES
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.evaluate import evaluate
from tests.agents.opponents.observed import rates


@pytest.fixture
def config(tiny: str) -> EnvConfig:
    return EnvConfig(pairs=(tiny,), budget=6, window=2, batch_size=8, device="cpu")


def test_rates_of_recipes_by_hand(config: EnvConfig) -> None:
    begin = 1 / 6  # the middle of the first of three windows
    cosine = (1 + np.cos(np.pi * begin)) / 2
    expected = {
        "adamw-cosine": [1e-3 * cosine] * 3,
        "adamw-layer-decay": [1e-3 * 0.75**k for k in (2, 1, 0)],
        "prodigy": [cosine] * 3,
        "schedule-free": [2.5e-3] * 3,
    }
    warm = (1 + np.cos(np.pi * (begin - 0.1) / 0.9)) / 2
    expected["adamw-layer-decay"] = [warm * rate for rate in expected["adamw-layer-decay"]]
    for name, values in expected.items():
        schedule = RECIPES[name].schedule(name, config)
        np.testing.assert_allclose(rates(schedule, [0.0])[0], values, err_msg=name)


@pytest.mark.parametrize("name", RECIPES)
def test_the_best_of_a_grid_is_the_best_by_value(name: str, config: EnvConfig) -> None:
    recipe = RECIPES[name]
    tuned = tune_recipe(name, config, "tiny", recipe.min_episodes, seed=0)
    assert (tuned.name, tuned.shape, tuned.config_overrides) == (f"tuned-{name}", recipe.shape, recipe.overrides)
    assert tuned.rate in recipe.rates  # the smallest budget has the two ends of the grid
    other = replace(tuned, rate=next(rate for rate in recipe.rates if rate != tuned.rate))
    # By the very seeds of the search.
    found = {}
    for schedule in (tuned, other):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("l2o_env.evaluation.evaluate.episode_seeds", lambda seed, stream, n: _seeds(n))
            found[schedule.rate] = evaluate({"it": schedule}, ["tiny"], 4, config)["v_end"].mean()
    assert found[tuned.rate] > found[other.rate]


def _seeds(n: int) -> list[int]:
    from l2o_env.evaluation.rollout import episode_seeds

    return episode_seeds(0, "tune_recipe", n)


def test_what_diverges_is_not_chosen(config: EnvConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(RECIPES["sgd-warmup-cosine"], rates=(1e-3, 1e30))
    monkeypatch.setattr("agents.opponents.recipes.RECIPES", {"it": recipe})
    assert tune_recipe("it", config, "tiny", 8, seed=0).rate == pytest.approx(1e-3)


def test_searches_know_what_they_give_and_need(config: EnvConfig) -> None:
    assert set(SEARCHES) == set(TUNED) == set(MIN_EPISODES)
    for name, search in SEARCHES.items():
        found = search(config, "tiny", MIN_EPISODES[name], 0, None)
        assert tuple(agent.name for agent in found) == TUNED[name]
        check_searches([name], MIN_EPISODES[name])
        with pytest.raises(ConfigError, match=f"{MIN_EPISODES[name] - 1} episodes are too few to tune '{name}'"):
            check_searches([name], MIN_EPISODES[name] - 1)
    with pytest.raises(ConfigError, match="Unknown search for a tuned opponent 'adamw'"):
        check_searches(["adamw"], 100)
