"""Policies whose rates are multiplied."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.opponents import Schedule
from l2o_env import ConfigError, EnvConfig, LearnedRates, ScaledPolicy, evaluate, layer_groups, param_groups
from l2o_env.action import decide
from l2o_env.evaluation.agent import settings_for
from l2o_env.observation import N_FEATURES
from tests.training.loops import network, policy

OBSERVATIONS = np.random.default_rng(0).normal(size=(2, 3 * N_FEATURES)).astype(np.float32)


@pytest.mark.parametrize("form", ["log", "log+guidance", "relative", "relative_update", "discrete"])
@pytest.mark.parametrize("factor", [0.1, 2.0])
def test_rates_are_those_of_the_policy_times_the_factor(form: str, factor: float) -> None:
    config = EnvConfig(action=form)
    agent = policy(action=form)
    scaled = ScaledPolicy(agent, factor)
    chosen = [each.act(OBSERVATIONS, None, True)[0] for each in (agent, scaled)]
    current, ratio = np.full((2, 3), 1e-3), np.full((2, 3), 0.02)
    before = decide(chosen[0], current, config, ratio)
    # Where actions are relative to the current rates, those are multiplied from the start of an episode on.
    current = factor * current if form == "relative" else current
    after = decide(chosen[1], current, settings_for(scaled, config), ratio)
    within = (after.rates > config.lr_min * 1.001) & (after.rates < config.lr_max * 0.999)
    assert within.any()
    np.testing.assert_allclose(after.rates[within], factor * before.rates[within], rtol=1e-6)
    if form == "log+guidance":
        np.testing.assert_allclose(after.guidance_weight, before.guidance_weight)
    if form == "relative":
        assert settings_for(scaled, config).base_lr == factor * config.base_lr


def test_an_environment_with_other_limits_is_refused() -> None:
    scaled, config = ScaledPolicy(policy(), 0.1), EnvConfig()
    scaled.check_env(settings_for(scaled, config))
    with pytest.raises(ConfigError, match="This policy was trained with"):
        scaled.check_env(config)


def test_a_schedule_is_multiplied_too() -> None:
    agent = ScaledPolicy(Schedule("mine", 0.01), 0.1)
    rates, _ = agent.act(OBSERVATIONS, None, True)
    np.testing.assert_allclose(rates, 1e-3)
    assert agent.name == "mine x 0.1"


def test_what_is_recorded_is_what_the_policy_says() -> None:
    agent = policy()
    actions, _ = agent.act(OBSERVATIONS, None, True)
    said, own = (each.describe(OBSERVATIONS, None, actions) for each in (ScaledPolicy(agent, 0.5), agent))
    assert set(own) == {"log_prob", "entropy"}
    for name, values in own.items():
        np.testing.assert_array_equal(said[name], values)


def test_it_drives_ones_own_training_and_an_evaluation(tiny: str) -> None:
    rates = {}
    for factor in (1.0, 0.1):
        model, _ = network()
        optimizer = torch.optim.AdamW(param_groups(model, layer_groups(model)), lr=1e-3)
        rates[factor] = LearnedRates(optimizer, model, ScaledPolicy(policy(), factor), total_updates=20)
        images = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
        model(images).square().mean().backward()
        optimizer.step()
    np.testing.assert_allclose(rates[0.1].rates, 0.1 * rates[1.0].rates)
    config = EnvConfig(pairs=(tiny,), budget=4, window=2, batch_size=8, device="cpu")
    table = evaluate({"policy": policy(), "slow": ScaledPolicy(policy(), 0.01)}, [tiny], 2, config)
    moved = (table["v_end"] - table["v_start"]).abs().groupby(table["policy"]).max()
    assert moved["slow"] < 0.1 * moved["policy"]


def test_what_cannot_be_multiplied_is_told() -> None:
    for factor in (0, -1.0, np.nan, np.inf, True, "0.1"):
        with pytest.raises(ConfigError, match=r"The factor of the rates is .*; expected a number above 0"):
            ScaledPolicy(policy(), factor)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="There is no folder"):
        ScaledPolicy("nowhere", 0.1)
