"""ASG's environment: its observation, its update rule, its curve, its first window."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

import l2o_env  # noqa: F401 - registers the ids
from l2o_env.asg import ASG, GTA5, VISDA17, ASGEnv, ASGVectorEnv
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.guidance import kl_divergence
from l2o_env.inner.looped import LoopedPopulation
from l2o_env.inner.population import Population, batch_order
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.window import Start
from l2o_env.lr_curve import warmup_poly
from l2o_env.models.base import new_generator
from l2o_env.optimizers.base import UpdateRule
from l2o_env.optimizers.rate_in_momentum import RateInMomentum
from l2o_env.optimizers.sgd import SGD
from tests.tiny import TINY, TinyNet, tiny_pair

PAIR = tiny_pair()
KINDS: tuple[type[Population], ...] = (StackedPopulation, LoopedPopulation)
SHORT = {**TINY, "budget": 10}


def _config(**changes: Any) -> EnvConfig:
    settings = {"pairs": ("tiny",), "budget": 12, "window": 4, "batch_size": 8, "device": "cpu"}
    return EnvConfig(**{**settings, "optimizer": "rate_in_momentum", "clip_norm": None, **changes})


def _stepped(rule: UpdateRule, rates: list[float], gradient: list[float] | None = None) -> Tensor:
    """Two weights after a step at each rate; of their squares where no gradient is given."""
    weights = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    state = rule.new_state(weights, 1)
    for rate in rates:
        found = 2 * weights if gradient is None else torch.tensor([gradient], dtype=torch.float64)
        rule.step(weights, found, torch.full((1, 1), rate, dtype=torch.float64), state)
    return weights[0]


def test_the_rate_inside_the_momentum_by_hand() -> None:
    rule = RateInMomentum(0.9, 0.1)
    # v = 0.5 (1 + 0.1, 1 - 0.2) = (0.55, 0.4); then a rate of 0 does not stop it: v = 0.9 (0.55, 0.4)
    torch.testing.assert_close(_stepped(rule, [0.5], [1.0, 1.0]), torch.tensor([0.45, -2.4], dtype=torch.float64))
    expected = torch.tensor([0.45 - 0.495, -2.4 - 0.36], dtype=torch.float64)
    torch.testing.assert_close(_stepped(rule, [0.5, 0.0], [1.0, 1.0]), expected)


def test_at_a_constant_rate_it_is_sgd() -> None:
    torch.testing.assert_close(_stepped(RateInMomentum(0.9, 0.01), [0.1] * 5), _stepped(SGD(0.9, 0.01), [0.1] * 5))


@pytest.mark.parametrize("curve", ["none", "warmup_poly"])
@pytest.mark.parametrize("kind", KINDS)
def test_updates_are_those_of_a_plain_loop(kind: type[Population], curve: str) -> None:
    config = _config(lr_curve=curve, lr_warmup=5)
    population = kind([PAIR], 2, config, torch.float64)
    population.start({0: Start(0, 1, 2), 1: Start(0, 3, 4)})
    plan = np.array([[0.1, 0.05, 0.2], [0.0, 0.1, 0.02]])
    model = PAIR.make_model(new_generator(1)).double()
    assert isinstance(model, TinyNet)
    named = dict(model.named_parameters())
    groups = [[named[name] for name in group] for group in model.layer_groups().values()]
    velocity: dict[Tensor, Tensor] = {p: torch.zeros_like(p) for group in groups for p in group}
    images, labels = PAIR.train.images.double(), PAIR.train.labels
    with torch.no_grad():
        probs = PAIR.proxy.double()(images).softmax(-1)
    PAIR.proxy.float()
    for step, batch in enumerate(batch_order(len(PAIR.train), config, 2)[:8]):
        logits, proxy_logits = model(images[batch])
        loss = F.cross_entropy(logits, labels[batch]) + 0.3 * kl_divergence(proxy_logits, probs[batch])
        gradients = dict(zip(velocity, torch.autograd.grad(loss, list(velocity)), strict=True))
        factor = 1.0 if curve == "none" else float(warmup_poly(np.array(step), 12, 5))
        with torch.no_grad():
            for group, rate in zip(groups, plan[step // 4], strict=True):
                for p in group:
                    velocity[p] = 0.9 * velocity[p] + rate * factor * (gradients[p] + 5e-4 * p)
                    p -= velocity[p]
    for rates in plan:
        population.run(np.tile(rates, (2, 1)), np.array([4, 3]))
    expected = torch.cat([p.detach().reshape(-1) for group in groups for p in group])
    torch.testing.assert_close(population.weights[0], expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("curve", ["none", "warmup_poly"])
def test_stacked_and_looped_go_the_same_way(curve: str) -> None:
    config = _config(lr_curve=curve)
    populations = [kind([PAIR], 2, config, torch.float64) for kind in KINDS]
    for population in populations:
        population.start({0: Start(0, 1, 2), 1: Start(0, 3, 4)})
        for lengths in ([4, 2], [0, 4], [3, 3]):
            window = population.run(np.array([[0.1, 0.05, 0.2], [0.3, 0.0, 0.02]]), np.array(lengths))
    torch.testing.assert_close(populations[0].weights, populations[1].weights, rtol=1e-9, atol=1e-10)
    assert np.abs(window.layers["alignment"]).max() > 0.01


def test_the_observation_is_twelve_raw_numbers_for_seven_groups(tinies: tuple[str, str]) -> None:
    env = gymnasium.make("l2o_env/ASG-v0", **SHORT).unwrapped
    assert isinstance(env, ASGEnv)
    assert env.action_space == gymnasium.spaces.MultiDiscrete([11] * 3)
    observation, info = env.reset(seed=3)
    assert observation.shape == env.observation_space.shape == (8,)
    expected = [info["train_ce"], info["train_kl"], 0.1, 1, 1, 1]  # updates 0, 1 and 2 of 10
    np.testing.assert_allclose(observation[[0, 1, 2, 5, 6, 7]], expected, rtol=1e-5)
    observation, *_, info = env.step(np.array([0, 3, 10]))
    np.testing.assert_allclose(info["lr"], [0, 0.03, 0.1])
    np.testing.assert_allclose(observation[[0, 1, 2, 5, 6, 7]], [info["train_ce"], info["train_kl"], 0.4, 0, 0.3, 1.0])


@pytest.mark.parametrize("implementation", ["stacked", "looped"])
def test_five_windows_are_what_the_released_formulas_give_update_by_update(tiny: str, implementation: str) -> None:
    settings = {**TINY, "optimizer": "rate_in_momentum", "budget": 48, "epoch_updates": 1000}
    env = ASGEnv(**settings, implementation=implementation)
    found = [env.reset(seed=3)[0]]
    start = env.episodes.population.starts[0]
    actions = ([0, 3, 10], [10, 10, 10], [1, 0, 5], [5, 5, 5])
    found += [env.step(np.array(action))[0] for action in actions]
    # The same run, one update at a time: each observed number is the mean of what each update saw before it was made.
    alone = LoopedPopulation(env.episodes.population.pairs, 1, env.config)
    assert start is not None
    alone.start({0: start})
    rates = [np.full((1, 3), env.config.base_lr), *(np.array([a]) * env.config.base_lr / 10 for a in actions)]
    t = 0
    for observation, rate, length in zip(found, rates, (3, 3, 6, 12, 24), strict=True):
        seen = []
        for _ in range(length):
            head = alone.layout.unflatten(alone.weights[0])["head.weight"].double()
            measured = alone.run(rate, np.array([1])).measurements
            seen.append([measured.train_ce[0], measured.train_kl[0], t / 48, head.mean().item(), head.std().item()])
            t += 1
        np.testing.assert_allclose(observation[:5], np.mean(seen, 0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(observation[5:], rate[0] / env.config.base_lr, rtol=1e-6)
    assert t == 48


def test_seven_layer_groups_give_twelve_numbers() -> None:
    from l2o_env.observation import space_for

    space = space_for(EnvConfig(**ASG), 7)
    assert space.shape == (12,)
    assert space.high.tolist() == [100, 100, 1, 10, 10, *[1] * 7]
    assert space_for(EnvConfig(**{**ASG, "action": "log"}), 7).high[-1] == pytest.approx(3.0)


def test_the_first_window_runs_at_the_base_rates(tiny: str) -> None:
    venv = ASGVectorEnv(2, **SHORT)
    _, info = venv.reset(seed=[3, 4])
    assert info["updates"].tolist() == [3, 3]
    population = LoopedPopulation([PAIR], 1, venv.config)
    start = venv.episodes.population.starts[1]
    assert start is not None
    population.start({0: start})
    window = population.run(np.full((1, 3), 0.1), np.array([3]))
    torch.testing.assert_close(population.weights[0], venv.episodes.population.weights[1], rtol=1e-4, atol=1e-6)
    assert info["train_ce"][1] == pytest.approx(window.measurements.train_ce[0], rel=1e-4)
    assert venv.reset(options={"reset_mask": np.array([True, False])})[1]["updates"].tolist() == [3, 3]


def test_a_first_window_that_diverges_leaves_a_measured_start(tiny: str) -> None:
    env = ASGEnv(**{**SHORT, "base_lr": 1e30, "reward": "train_loss"})
    observation, info = env.reset(seed=0)
    assert np.isfinite(observation).all() and env.observation_space.contains(observation)
    assert all(np.isfinite(info[key]) for key in ("train_ce", "train_kl", "val_ce", "val_kl", "value"))
    observation, reward, terminated, _, info = env.step(np.array([10, 10, 10]))
    assert terminated and info["diverged"] and reward == -5.0
    assert np.isfinite(observation).all()


@pytest.mark.parametrize("implementation", ["stacked", "looped"])
def test_after_a_first_window_that_diverges_smaller_rates_work(tiny: str, implementation: str) -> None:
    env = ASGEnv(**{**SHORT, "base_lr": 1e30, "implementation": implementation})
    _, info = env.reset(seed=0)
    assert all(np.isfinite(info[key]).all() for key in ("drift", "update_ratio", "task_rms"))
    assert not env.get_state()["episodes"]["population"]["rule"]["momentum_buffer"].any()
    _, _, terminated, _, info = env.step(np.array([0, 0, 0]))
    assert not terminated and not info["diverged"] and (info["drift"] == 0).all()


def test_the_recipes_are_the_published_ones() -> None:
    both = {"observation": "asg", "action": "discrete", "windows": "asg", "clip_norm": None}
    visda17 = {
        "window": 10, "optimizer": "rate_in_momentum", "base_lr": 1e-4, "batch_size": 32,
        "epoch_updates": 152_397 // 32, "budget": 30 * (152_397 // 32), "guidance_weight": 0.1,
    }  # fmt: skip
    gta5 = {
        "window": 20, "optimizer": "sgd", "lr_curve": "warmup_poly", "base_lr": 1e-3, "batch_size": 6,
        "epoch_updates": 2000, "budget": 100_000, "guidance_weight": 75.0, "guidance_cap": 9.0,
    }  # fmt: skip
    assert both | visda17 == VISDA17
    assert both | gta5 == GTA5
    # What they leave at the defaults.
    rest = {"guidance": "kl", "guidance_schedule": "constant", "momentum": 0.9, "weight_decay": 5e-4, "lr_warmup": 100}
    for recipe in (VISDA17, GTA5):
        config = EnvConfig(**recipe)
        assert {key: getattr(config, key) for key in rest} == rest
    assert (EnvConfig(**VISDA17).lr_curve, EnvConfig(**VISDA17).guidance_cap) == ("none", None)


@pytest.mark.parametrize(("recipe", "rate", "cap", "decisions"), [(VISDA17, 1e-4, None, 66), (GTA5, 1e-3, 9.0, 84)])
def test_recipes_decide_as_often_as_the_released_code_on_any_number_of_images(
    tiny: str, recipe: dict[str, Any], rate: float, cap: float | None, decisions: int
) -> None:
    env = ASGEnv(**{**recipe, "pairs": tiny, "batch_size": 8, "device": "cpu"})
    config = env.config
    assert (config.base_lr, config.guidance_cap, config.windows) == (rate, cap, "asg")
    assert env.episodes.n_steps() == decisions
    assert ASGEnv(**{**recipe, "pairs": tiny, "batch_size": 8, "epoch_updates": None}).episodes.n_steps() > decisions


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"windows": "agg"}, "Unknown window form 'agg'. Did you mean 'asg'?"),
        ({"observation": "layer"}, "Unknown observation form 'layer'. Did you mean 'layers'?"),
        ({"optimizer": "sdg"}, "Unknown optimizer 'sdg'. Did you mean 'sgd'?"),
        ({"lr_curve": "poly"}, "Unknown learning rate curve 'poly'."),
        ({"windows": "asg", "window": 12}, "before the first action, and the budget is no more than that"),
        ({"epoch_updates": 0}, "epoch_updates is 0; expected an integer >= 1"),
        ({"clip_norm": -1.0}, "clip_norm is -1.0; expected a finite number > 0"),
    ],
)
def test_bad_settings(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        _config(**settings)
    assert told in str(error.value)
