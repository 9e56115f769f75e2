"""How people fine-tune: usual settings, and the best of a grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agents.opponents import RECIPES, SEARCHES, TUNED, Schedule, check_searches, tune_recipe
from agents.opponents.recipes import LONGEST_STEP, MIN_SEEDS
from agents.opponents.searches import MIN_EPISODES
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.evaluation.evaluate import evaluate
from l2o_env.evaluation.rollout import episode_seeds
from tests.agents.opponents.observed import rates

SEEDS = episode_seeds(0, "tune_recipe", MIN_SEEDS)


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


def _mean_v(schedule: Schedule, config: EnvConfig, monkeypatch: pytest.MonkeyPatch) -> float:
    """By the very seeds of a search with the smallest budget."""
    monkeypatch.setattr("l2o_env.evaluation.evaluate.episode_seeds", lambda seed, stream, n: SEEDS)
    return float(evaluate({"it": schedule}, ["tiny"], len(SEEDS), config)["v_end"].mean())


@pytest.mark.parametrize("name", RECIPES)
def test_the_best_of_a_grid_is_better_than_its_neighbours(
    name: str, config: EnvConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPES[name]
    tuned = tune_recipe(name, config, "tiny", recipe.min_episodes, seed=0)
    assert (tuned.name, tuned.shape, tuned.config_overrides) == (f"tuned-{name}", recipe.shape, recipe.overrides)
    # The smallest budget has the two ends of the grid; from there it goes outward by the longest step.
    low, high = recipe.rates
    ladder = [low / LONGEST_STEP**k for k in range(4, 0, -1)] + [low, high]
    ladder += [high * LONGEST_STEP**k for k in range(1, 5)]
    place = int(np.argmin(np.abs(np.log(ladder) - np.log(tuned.rate))))
    assert tuned.rate == pytest.approx(ladder[place])
    value = _mean_v(tuned, config, monkeypatch)
    for rate in (ladder[k] for k in (place - 1, place + 1) if 0 <= k < len(ladder)):
        assert value > _mean_v(replace(tuned, rate=rate), config, monkeypatch), rate


def test_a_grid_goes_on_outward_from_its_edge(config: EnvConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[float] = []

    def values(candidates: list[Schedule], *_: object) -> np.ndarray:
        """V is the better the nearer the rate is to `best`."""
        tried.extend(candidate.rate for candidate in candidates)
        return np.array([[-abs(np.log(candidate.rate / best))] for candidate in candidates])

    monkeypatch.setattr("agents.opponents.recipes._values", values)
    grid = np.geomspace(3e-4, 1e-2, 8)
    step = grid[1] / grid[0]
    # The best, and the rates beyond the grid that are tried: two until one is worse, and never more than four.
    for best, beyond in ((1e-3, []), (1.1e-2, [1]), (2e-2, [1, 2]), (1.0, [1, 2, 3, 4]), (2e-4, [-1, -2])):
        tried.clear()
        tuned = tune_recipe("adamw-cosine", config, "tiny", 64, seed=0)
        expected = [*grid, *(grid[-1] * step**k if k > 0 else grid[0] * step**k for k in beyond)]
        np.testing.assert_allclose(tried, expected, err_msg=str(best))
        assert tuned.rate == min(tried, key=lambda rate: abs(np.log(rate / best)))


def test_what_diverges_is_not_chosen(config: EnvConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(RECIPES["sgd-warmup-cosine"], rates=(1e-3, 1e30))
    monkeypatch.setattr("agents.opponents.recipes.RECIPES", {"it": recipe})
    assert tune_recipe("it", config, "tiny", 8, seed=0).rate <= 1e-3  # or beyond it


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
