"""Policies whose rates are multiplied."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.opponents import Schedule
from agents.reinforce import Reinforce
from l2o_env import ConfigError, EnvConfig, LearnedRates, ScaledPolicy, evaluate, layer_groups, param_groups
from l2o_env.action import decide
from l2o_env.observation import N_FEATURES
from tests.training.loops import network, policy

OBSERVATIONS = np.random.default_rng(0).normal(size=(2, 3 * N_FEATURES)).astype(np.float32)


@pytest.mark.parametrize("form", ["log", "log+guidance", "relative_update"])
def test_rates_are_those_of_the_policy_times_the_factor(form: str) -> None:
    agent = policy(action=form)
    config, ratio = EnvConfig(action=form), np.full((2, 3), 0.02)
    current = np.full((2, 3), 1e-3)
    plain, _ = agent.act(OBSERVATIONS, None, True)
    scaled, _ = ScaledPolicy(agent, 0.5).act(OBSERVATIONS, None, True)
    before, after = (decide(actions, current, config, ratio) for actions in (plain, scaled))
    assert (np.abs(before.rates / after.rates - 1) > 0.1).all()
    np.testing.assert_allclose(after.rates, 0.5 * before.rates, rtol=1e-4)
    if form == "log+guidance":
        np.testing.assert_allclose(after.guidance_weight, before.guidance_weight)


def test_rates_stay_within_the_limits_of_the_form() -> None:
    config = EnvConfig()
    actions, _ = ScaledPolicy(policy(), 1e-9).act(OBSERVATIONS, None, True)
    np.testing.assert_allclose(decide(actions, np.full((2, 3), 1e-3), config).rates, config.lr_min)


def test_a_schedule_is_multiplied_too() -> None:
    agent = ScaledPolicy(Schedule("mine", 0.01), 0.1)
    rates, _ = agent.act(OBSERVATIONS, None, True)
    np.testing.assert_allclose(rates, 1e-3)
    assert agent.name == "mine x 0.1"


def test_what_is_recorded_is_what_the_policy_says_of_its_own_actions() -> None:
    agent = policy()
    plain, _ = agent.act(OBSERVATIONS, None, True)
    scaled, _ = ScaledPolicy(agent, 0.5).act(OBSERVATIONS, None, True)
    said, own = ScaledPolicy(agent, 0.5).describe(OBSERVATIONS, None, scaled), agent.describe(OBSERVATIONS, None, plain)
    assert set(own) == {"log_prob", "entropy"}
    for name, values in own.items():
        np.testing.assert_allclose(said[name], values, rtol=1e-3, atol=1e-3)


def test_it_drives_ones_own_training_and_an_evaluation(tiny: str) -> None:
    rates = {}
    for factor in (1.0, 0.1):
        model, _ = network()
        optimizer = torch.optim.AdamW(param_groups(model, layer_groups(model)), lr=1e-3)
        rates[factor] = LearnedRates(optimizer, model, ScaledPolicy(policy(), factor), total_updates=20)
        for images in torch.randn(2, 8, 6, generator=torch.Generator().manual_seed(0)):
            model(images).square().mean().backward()
            optimizer.step()
            rates[factor].step()
            optimizer.zero_grad()
    first = [rates[factor].rates for factor in (1.0, 0.1)]
    assert (first[1] < 0.2 * first[0]).all()
    config = EnvConfig(pairs=(tiny,), budget=4, window=2, batch_size=8, device="cpu")
    table = evaluate({"policy": policy(), "slow": ScaledPolicy(policy(), 0.01)}, [tiny], 2, config)
    moved = (table["v_end"] - table["v_start"]).abs().groupby(table["policy"]).max()
    assert moved["slow"] < 0.1 * moved["policy"]


def test_what_cannot_be_multiplied_is_told() -> None:
    for form in ("relative", "discrete"):
        with pytest.raises(ConfigError, match=f"Rates of the action form '{form}' can't be multiplied"):
            ScaledPolicy(Reinforce(EnvConfig(action=form)), 0.1)
    for factor in (0, -1.0, np.nan, np.inf, True, "0.1"):
        with pytest.raises(ConfigError, match=r"The factor of the rates is .*; expected a number above 0"):
            ScaledPolicy(policy(), factor)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="There is no folder"):
        ScaledPolicy("nowhere", 0.1)
