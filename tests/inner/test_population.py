"""The inner loop: against plain PyTorch, stacked against looped, statistics, divergence, state, and what it reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from l2o_env import pairs
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.guidance import kl_divergence
from l2o_env.inner.build import make_population
from l2o_env.inner.looped import LoopedPopulation
from l2o_env.inner.metrics import Evaluation
from l2o_env.inner.population import Population, batch_order
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.stream_data import StreamData
from l2o_env.inner.window import Start, Window
from l2o_env.models.base import Optimizee, new_generator
from l2o_env.models.layout import Layout
from l2o_env.windows import fixed_windows
from tests.tiny import TINY, TinyNet, tiny_pair

KINDS: tuple[type[Population], ...] = (StackedPopulation, LoopedPopulation)
RATES = np.array([0.01, 0.03, 0.1])
TINIES = (tiny_pair(), tiny_pair(seed=1, n_train=45, n_validation=33, name="tiny-4", n_proxy_classes=4))


def _config(**changes: Any) -> EnvConfig:
    return EnvConfig(**{**TINY, "budget": 50, "window": 7, **changes})


def _windows(population: Population, rates: NDArray[np.float64]) -> Iterator[Window]:
    config = population.config
    while (population.done < config.budget).any():
        yield population.run(rates, fixed_windows(population.done, config.window, config.budget))


# --- against plain PyTorch ------------------------------------------------------------------------------------------


def _plain_loop(pair: pairs.Pair, config: EnvConfig, start: Start, rates: NDArray[np.float64]) -> Iterator[Tensor]:
    """Fine-tuning as one would write it without this package; yields the weights after each update."""
    model = pair.make_model(new_generator(start.init_seed))
    assert isinstance(model, TinyNet)
    stem = [model.stem.weight, model.stem_norm.weight, model.stem_norm.bias]
    layer1 = [model.layer1.weight, model.layer1_norm.weight, model.layer1_norm.bias]
    head = [model.head.weight, model.head.bias]
    params = [*stem, *layer1, *head]
    optimizer = torch.optim.SGD(
        [
            {"params": stem, "lr": rates[0]},
            {"params": layer1, "lr": rates[1]},
            {"params": head, "lr": rates[2]},
        ],
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )
    with torch.no_grad():
        probs = pair.proxy(pair.train.images).softmax(-1)
    for batch in batch_order(len(pair.train), config, start.batch_seed):
        logits, proxy_logits = model(pair.train.images[batch])
        loss = F.cross_entropy(logits, pair.train.labels[batch])
        loss = loss + config.guidance_weight * kl_divergence(proxy_logits, probs[batch])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, config.clip_norm)
        optimizer.step()
        yield torch.cat([p.detach().reshape(-1) for p in params])


@pytest.mark.parametrize(("n", "clip_norm"), [(1, 5.0), (1, 0.5), (2, 0.5)], ids=["unclipped", "clipped", "two"])
def test_a_looped_optimizee_equals_a_plain_sgd_loop_bit_for_bit(n: int, clip_norm: float) -> None:
    config, start = _config(clip_norm=clip_norm), Start(0, 11, 12)
    norms: list[float] = []
    population = LoopedPopulation(TINIES[:1], n, config)
    population.start({i: start if i == 0 else Start(0, 21, 22) for i in range(n)})
    gradients = population._gradients

    def recording(index: Tensor, *, separate: bool) -> Any:
        found = gradients(index, separate=separate)
        norms.append(float(found.total[0].norm()))
        return found

    population._gradients = recording  # type: ignore[method-assign]
    plain = list(_plain_loop(TINIES[0], config, start, RATES))
    # Every window ends with a validation and the separate gradients, which must leave no trace.
    for _ in _windows(population, np.tile(RATES, (n, 1))):
        assert torch.equal(population.weights[0], plain[int(population.done[0]) - 1])
    assert len(norms) == len(plain) == 50
    clipped = sum(norm > clip_norm for norm in norms)
    assert (clipped == 0) if clip_norm == 5.0 else (10 <= clipped < 50)


def test_batches_are_shuffled_epochs_one_after_the_other() -> None:
    config = _config(budget=9, batch_size=8)
    order = batch_order(20, config, seed=3)
    assert order.shape == (9, 8)
    for epoch in order.flatten()[:60].view(3, 20):
        assert sorted(epoch.tolist()) == list(range(20))
    assert torch.equal(order, batch_order(20, config, seed=3))
    assert not torch.equal(order, batch_order(20, config, seed=4))
    assert not torch.equal(order.flatten()[:20], order.flatten()[20:40])


def test_a_batch_may_be_larger_than_the_training_set() -> None:
    order = batch_order(5, _config(budget=2, window=1, batch_size=8), seed=0)
    assert sorted(order.flatten()[:15].tolist()) == sorted([*range(5)] * 3)


# --- stacked against looped ------------------------------------------------------------------------------------------

STARTS = {0: Start(0, 1, 2), 1: Start(1, 3, 4), 2: Start(1, 5, 6), 3: Start(0, 7, 8)}
RATES_OF_EACH = np.array([[0.01, 0.03, 0.1], [0.1, 0.0, 0.02], [0.003, 0.05, 0.3], [0.02, 0.02, 0.02]])


def _assert_same_window(a: Window, b: Window, atol: float) -> None:
    for name in a.layers:
        np.testing.assert_allclose(a.layers[name], b.layers[name], rtol=atol, atol=atol, err_msg=name)
    for name in a.head:
        np.testing.assert_allclose(a.head[name], b.head[name], rtol=atol, atol=atol, err_msg=name)
    for name in ("train_ce", "train_kl", "val_ce", "val_kl"):
        x, y = getattr(a.measurements, name), getattr(b.measurements, name)
        np.testing.assert_allclose(x, y, rtol=atol, atol=atol, err_msg=name)
    np.testing.assert_array_equal(a.diverged, b.diverged)


@pytest.mark.parametrize(
    ("dtype", "tolerance", "guidance"),
    [(torch.float64, 1e-9, "kl"), (torch.float64, 1e-9, "none"), (torch.float32, 1e-4, "kl")],
)
def test_stacked_and_looped_go_the_same_way(dtype: torch.dtype, tolerance: float, guidance: str) -> None:
    config = _config(pairs=("tiny", "tiny-4"), guidance=guidance)
    stacked, looped = (kind(TINIES, 4, config, dtype) for kind in KINDS)
    assert stacked.n_proxy_classes == 4
    for population in (stacked, looped):
        population.start(STARTS)
        assert population.weights.dtype == dtype
    begin = stacked.weights.clone()
    lengths = []
    for a, b in zip(_windows(stacked, RATES_OF_EACH), _windows(looped, RATES_OF_EACH), strict=True):
        torch.testing.assert_close(stacked.weights, looped.weights, rtol=tolerance, atol=tolerance)
        _assert_same_window(a, b, 10 * tolerance)
        lengths.append(stacked.done.copy())
    np.testing.assert_array_equal(np.diff(lengths, axis=0)[:, 0], [7] * 6 + [1])
    assert (stacked.weights - begin).norm(dim=-1).min() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_with_fewer_proxy_classes_is_not_changed_by_its_neighbours(kind: type[Population]) -> None:
    mixed = kind(TINIES, 4, _config(pairs=("tiny", "tiny-4")), torch.float64)
    mixed.start(STARTS)
    alone = kind(TINIES[:1], 1, _config(), torch.float64)
    alone.start({0: STARTS[3]})
    for a, b in zip(_windows(mixed, RATES_OF_EACH), _windows(alone, RATES_OF_EACH[3:]), strict=True):
        torch.testing.assert_close(mixed.weights[3], alone.weights[0], rtol=1e-9, atol=1e-9)
        assert a.measurements.val_kl[3] == pytest.approx(b.measurements.val_kl[0], rel=1e-9, abs=1e-12)
    for split in ("validation", "target", "proxy_test"):
        assert mixed.evaluate(split).accuracy[3] == alone.evaluate(split).accuracy[0]


@pytest.mark.parametrize("kind", KINDS)
def test_optimizees_may_be_at_different_places_of_their_episodes(kind: type[Population]) -> None:
    config = _config(budget=12, window=5)
    together = kind(TINIES[:1], 3, config, torch.float64)
    together.start({i: Start(0, i, i) for i in range(3)})
    rates = np.tile(RATES, (3, 1))
    plan = np.array([[5, 0, 2], [0, 5, 3], [5, 1, 0]])
    found = [together.run(rates, lengths) for lengths in plan]
    for i in range(3):
        alone = kind(TINIES[:1], 1, config, torch.float64)
        alone.start({0: Start(0, i, i)})
        for window, lengths in zip(found, plan, strict=True):
            expected = alone.run(rates[:1], lengths[i : i + 1])
            for name, value in expected.layers.items():
                np.testing.assert_allclose(window.layers[name][i], value[0], rtol=1e-9, atol=1e-12, err_msg=name)
            for name in ("train_ce", "train_kl", "val_ce", "val_kl", "val_accuracy"):
                a, b = getattr(window.measurements, name)[i], getattr(expected.measurements, name)[0]
                assert a == pytest.approx(b, rel=1e-9, abs=1e-12), name
        torch.testing.assert_close(together.weights[i], alone.weights[0], rtol=1e-9, atol=1e-9)
        assert together.done[i] == alone.done[0] == plan[:, i].sum()


@pytest.mark.parametrize("kind", KINDS)
def test_one_diverging_optimizee_leaves_the_others_alone(kind: type[Population]) -> None:
    config = _config()
    rates = np.tile(RATES, (3, 1))
    wild = rates.copy()
    wild[1] = 1e38
    calm, mixed = (kind(TINIES[:1], 3, config) for _ in range(2))
    for population in (calm, mixed):
        population.start({i: Start(0, i, i) for i in range(3)})
        population.run(rates, np.full(3, 7))
    before = mixed.weights[1].clone()
    expected, found = calm.run(rates, np.full(3, 7)), mixed.run(wild, np.full(3, 7))
    np.testing.assert_array_equal(found.diverged, [False, True, False])
    assert not expected.diverged.any()
    others = [0, 2]
    assert torch.equal(mixed.weights[others], calm.weights[others])
    np.testing.assert_array_equal(found.measurements.val_ce[others], expected.measurements.val_ce[others])
    np.testing.assert_array_equal(found.measurements.train_ce[others], expected.measurements.train_ce[others])
    for name, value in expected.layers.items():
        np.testing.assert_array_equal(found.layers[name][others], value[others], err_msg=name)
    assert torch.equal(mixed.weights[1], before)  # the last finite ones that a window ended with
    # A new episode takes nothing over from the wreck.
    for population in (calm, mixed):
        population.start({1: Start(0, 9, 9)})
        population.run(rates, np.full(3, 7))
    assert torch.equal(mixed.weights, calm.weights)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", [torch.inf, 100.1])
def test_a_validation_that_is_beyond_the_limit_is_divergence_too(
    kind: type[Population], loss: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    population = kind(TINIES[:1], 2, _config())
    population.start({0: Start(0, 1, 2), 1: Start(0, 3, 4)})
    before, evaluate = population.weights.clone(), population.evaluate

    def overflowing(split: str) -> Evaluation:
        found = evaluate(split)
        found.ce[0], found.ce[1] = 99.9, loss  # divergence_loss is 100
        return found

    monkeypatch.setattr(population, "evaluate", overflowing)
    window = population.run(np.tile(RATES, (2, 1)), np.full(2, 7))
    np.testing.assert_array_equal(window.diverged, [False, True])
    assert torch.equal(population.weights[1], before[1])
    assert not torch.equal(population.weights[0], before[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_rate_of_zero_freezes_a_layer_group(kind: type[Population]) -> None:
    population = kind(TINIES[:1], 1, _config())
    population.start({0: Start(0, 1, 2)})
    window = population.run(np.array([[0.0, 0.1, 0.1]]), np.array([7]))
    stem, layer1, head = population.layout.group_sums((population.weights - population.reference).abs())[0]
    assert stem == 0
    assert min(layer1, head) > 0
    assert window.layers["drift"][0, 0] == window.layers["update_ratio"][0, 0] == 0


# --- what a window measures ------------------------------------------------------------------------------------------


def _model_of(pair: pairs.Pair, layout: Layout, weights: Tensor | None, i: int = 0) -> Optimizee:
    """The i-th optimizee as a module of its own, or the proxy if there are no weights; in float64."""
    model = pair.make_model(new_generator(0)).double()
    if weights is not None:
        model.load_state_dict({k: v[i] for k, v in layout.unflatten(weights).items()}, strict=False)
    return model


@pytest.mark.parametrize("weight", [0.3, 2.0])
@pytest.mark.parametrize("kind", KINDS)
def test_statistics_are_those_of_the_last_batch_and_of_the_window(kind: type[Population], weight: float) -> None:
    pair, config, start = TINIES[0], _config(guidance_weight=weight), Start(0, 11, 12)

    def after(*lengths: int) -> tuple[Population, Window]:
        population = kind([pair], 1, config, torch.float64)
        population.start({0: start})
        windows = [population.run(RATES[None], np.array([length])) for length in lengths]
        return population, windows[-1]

    (beginning, _), (before_last, _), (population, window) = after(7), after(7, 4), after(7, 5)
    model, first_model = (_model_of(pair, population.layout, weights) for weights in (before_last.weights, None))
    params = [dict(model.named_parameters())[name] for name in population.layout.names]
    batch = batch_order(len(pair.train), config, start.batch_seed)[11]
    images = pair.train.images[batch].double()
    logits, proxy_logits = model(images)
    ce = F.cross_entropy(logits, pair.train.labels[batch])
    kl = kl_divergence(proxy_logits, first_model(images)[1].softmax(-1).detach())

    def gradient(loss: Tensor) -> Tensor:
        found = torch.autograd.grad(loss, params, retain_graph=True, allow_unused=True, materialize_grads=True)
        return torch.cat([g.reshape(-1) for g in found])

    reference = population.layout.flatten(dict(pair.make_model(new_generator(11)).double().named_parameters()))
    vectors = {
        "task": gradient(ce),
        "guidance": gradient(kl),
        "total": gradient(ce + weight * kl),
        "momentum": before_last.state["momentum_buffer"][0],
        "end": population.weights[0],
        "begin": beginning.weights[0],
        "first": reference.detach(),
    }
    for k in range(population.n_layers):
        t, g, whole, m, end, begin, first = (
            vector.detach().split(population.layout.group_sizes)[k].numpy() for vector in vectors.values()
        )
        expected = {
            "task_rms": np.sqrt(np.mean(t**2)),
            "guidance_rms": np.sqrt(np.mean(g**2)),
            "cosine": 0.0 if not g.any() else t @ g / np.linalg.norm(t) / np.linalg.norm(g),
            "update_ratio": np.linalg.norm(end - begin) / np.linalg.norm(begin),
            "drift": np.linalg.norm(end - first) / np.linalg.norm(first),
            "alignment": m @ whole / np.linalg.norm(m) / np.linalg.norm(whole),
        }
        for name, value in expected.items():
            assert window.layers[name][0, k] == pytest.approx(value, rel=1e-7, abs=1e-9), (name, k)
    assert window.layers["guidance_rms"][0, 2] == 0  # the proxy's head does not see the new head
    matrix = population.layout.unflatten(population.weights)["head.weight"][0].numpy()
    assert window.head["head_mean"][0] == pytest.approx(matrix.mean())
    assert window.head["head_std"][0] == pytest.approx(matrix.std())


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_means_over_the_window_and_over_the_validation_images(kind: type[Population]) -> None:
    pair, config, start = TINIES[1], _config(pairs=("tiny-4",)), Start(0, 11, 12)
    rates = np.array([[0.02, 0.02, 0.02]])
    population = kind([pair], 1, config, torch.float64)
    population.start({0: start})
    losses = [population.run(rates, np.array([1])).measurements for _ in range(4)]
    population.start({0: start})
    window = population.run(rates, np.array([4])).measurements
    assert window.train_ce[0] == pytest.approx(np.mean([m.train_ce[0] for m in losses]), rel=1e-9)
    assert window.train_kl[0] == pytest.approx(np.mean([m.train_kl[0] for m in losses]), rel=1e-9)

    model, proxy = (_model_of(pair, population.layout, weights) for weights in (population.weights, None))
    images, labels = pair.validation.images.double(), pair.validation.labels
    with torch.no_grad():
        logits, proxy_logits = model(images)
        probs = proxy(images)[1].softmax(-1)
    assert window.val_ce[0] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-9)
    assert window.val_kl[0] == pytest.approx(kl_divergence(proxy_logits, probs).item(), rel=1e-9)
    assert window.val_kl[0] > 1e-4
    assert window.val_accuracy[0] == (logits.argmax(-1) == labels).double().mean().item()
    assert np.isnan(window.target_accuracy[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_of_no_update_only_measures(kind: type[Population]) -> None:
    population = kind(TINIES[:1], 2, _config())
    population.start({0: Start(0, 1, 2), 1: Start(0, 3, 4)})
    before = population.get_state()
    window = population.run(np.ones((2, 3)), np.zeros(2, np.int64))
    after = population.get_state()
    for key in ("weights", "reference"):
        assert torch.equal(before[key], after[key])
    assert torch.equal(before["rule"]["momentum_buffer"], after["rule"]["momentum_buffer"])
    np.testing.assert_array_equal(after["done"], 0)
    assert window.measurements.train_ce.min() > 0
    np.testing.assert_allclose(window.measurements.val_kl, 0, atol=1e-6)  # an optimizee starts as its proxy
    for name in ("update_ratio", "drift", "alignment"):
        np.testing.assert_array_equal(window.layers[name], 0, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_without_guidance_there_is_no_guidance_gradient(kind: type[Population]) -> None:
    population = kind(TINIES[:1], 1, _config(guidance="none"))
    population.start({0: Start(0, 1, 2)})
    window = population.run(RATES[None], np.array([7]))
    np.testing.assert_array_equal(window.layers["guidance_rms"], 0)
    np.testing.assert_array_equal(window.layers["cosine"], 0)
    assert window.measurements.val_kl[0] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_accuracy_and_predictions_are_those_of_each_optimizee_on_its_own_pair(kind: type[Population]) -> None:
    population = kind(TINIES, 4, _config(pairs=("tiny", "tiny-4")))
    population.start(STARTS)
    population.run(RATES_OF_EACH, np.full(4, 20))
    predictions = population.predictions("target")
    for i, start in STARTS.items():
        pair = TINIES[start.pair]
        model = _model_of(pair, population.layout, population.weights, i)
        assert pair.target is not None
        for split, data, which in (("target", pair.target, 0), ("proxy_test", pair.proxy_test, 1)):
            with torch.no_grad():
                predicted = model(data.images.double())[which].argmax(-1)
            expected = (predicted == data.labels).float().mean()
            assert population.evaluate(split).accuracy[i] == pytest.approx(expected.item())
            if which == 0:
                assert torch.equal(predictions[i], predicted)


# --- starts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_determines_everything(kind: type[Population]) -> None:
    def end(start: Start, config: EnvConfig) -> Tensor:
        population = kind(TINIES[:1], 1, config)
        population.start({0: start})
        population.run(RATES[None], np.array([7]))
        return population.weights

    assert torch.equal(end(Start(0, 1, 2), _config()), end(Start(0, 1, 2), _config()))
    for other in (Start(0, 1, 3), Start(0, 2, 2)):
        assert not torch.equal(end(Start(0, 1, 2), _config()), end(other, _config()))


@pytest.mark.parametrize("kind", KINDS)
def test_random_init_draws_the_backbone_and_keeps_the_proxy_head(kind: type[Population]) -> None:
    pretrained, random = (kind(TINIES[:1], 1, _config(random_init=flag)) for flag in (False, True))
    for population in (pretrained, random):
        population.start({0: Start(0, 1, 2)})
    stem, layer1, head = pretrained.layout.group_sums((pretrained.weights - random.weights).abs())[0]
    assert min(stem, layer1) > 0
    assert head == 0
    window = random.run(RATES[None], np.array([0]))
    assert window.measurements.val_kl[0] > 1e-4


def test_a_population_leaves_the_shared_pair_alone() -> None:
    pair = tiny_pair()
    pair.proxy.train()
    for kind in KINDS:
        kind([pair], 1, _config(), torch.float64)
        assert pair.proxy.training
        assert all(p.dtype == torch.float32 for p in pair.proxy.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_global_random_generators_are_not_touched(kind: type[Population]) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()
    for random_init in (False, True):
        population = kind(TINIES[:1], 2, _config(random_init=random_init))
        population.start({0: Start(0, 1, 2), 1: Start(0, 3, 4)})
        population.run(np.tile(RATES, (2, 1)), np.array([7, 3]))
        population.evaluate("target")
    assert torch.equal(torch_state, torch.get_rng_state())
    assert all(np.array_equal(a, b) for a, b in zip(numpy_state, np.random.get_state(), strict=True))


# --- state -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_going_on_from_a_state_equals_never_having_stopped(source: type[Population], target: type[Population]) -> None:
    config = _config(pairs=("tiny", "tiny-4"))
    population = source(TINIES, 4, config)
    population.start(STARTS)
    population.run(RATES_OF_EACH, np.array([7, 7, 3, 0]))
    state = population.get_state()
    first = population.run(RATES_OF_EACH, np.array([7, 3, 7, 7]))
    other = target(TINIES, 4, config)
    other.set_state(state)
    second = other.run(RATES_OF_EACH, np.array([7, 3, 7, 7]))
    if source is target:
        assert torch.equal(population.weights, other.weights)
        for name, value in first.layers.items():
            np.testing.assert_array_equal(value, second.layers[name])
        # The state is a copy: it can be taken up again.
        population.set_state(state)
        population.run(RATES_OF_EACH, np.array([7, 3, 7, 7]))
        assert torch.equal(population.weights, other.weights)
    else:
        torch.testing.assert_close(population.weights, other.weights, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_a_state_before_the_first_start(kind: type[Population]) -> None:
    population, other = (kind(TINIES[:1], 2, _config()) for _ in range(2))
    other.set_state(population.get_state())
    for each in (population, other):
        each.start({0: Start(0, 1, 2), 1: Start(0, 3, 4)})
        each.run(np.tile(RATES, (2, 1)), np.array([7, 7]))
    assert torch.equal(population.weights, other.weights)


# --- what is read, and when ------------------------------------------------------------------------------------------


class Unreadable:
    """Stands in for the target's images and labels: whatever is done with it is an error."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the target's {name} was read")

    def __len__(self) -> int:
        raise AssertionError("the target's length was read")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", [Unreadable(), None], ids=["unreadable", "none"])
@pytest.mark.parametrize("reward", ["transfer", "proxy_guided", "val_loss", "val_accuracy", "train_loss"])
def test_the_target_is_never_read(kind: type[Population], target: Any, reward: str) -> None:
    pair = dataclasses.replace(TINIES[0], target=target)
    population = kind([pair], 1, _config(reward=reward))
    population.start({0: Start(0, 1, 2)})
    window = population.run(RATES[None], np.array([7]))
    assert np.isnan(window.measurements.target_accuracy[0])
    population.evaluate("proxy_test")
    with pytest.raises((AssertionError, ConfigError), match=r"target's labels was read|no labelled target images"):
        population.evaluate("target")


@pytest.mark.parametrize("kind", KINDS)
def test_transfer_reads_the_shifted_images(kind: type[Population]) -> None:
    images, labels = TINIES[0].train.images[:21], TINIES[0].train.labels[:21]
    pair = dataclasses.replace(TINIES[0], shifted=lambda: pairs.Split(images, labels))
    population = kind([pair, TINIES[1]], 2, _config(reward="transfer"))
    population.start({0: Start(0, 1, 2), 1: Start(1, 1, 2)})
    found = population.run(np.stack([RATES, RATES]), np.array([7, 7])).measurements
    with torch.no_grad():
        logits, proxy_logits = population.optimizee(0)(images)
        kl = kl_divergence(proxy_logits, pair.proxy(images).softmax(1))
    assert found.shifted_accuracy[0] == pytest.approx((logits.argmax(1) == labels).double().mean().item())
    assert found.shifted_kl[0] == pytest.approx(kl.item(), rel=1e-5)
    assert (found.shifted_accuracy[1], found.shifted_kl[1]) == (found.val_accuracy[1], found.val_kl[1])
    plain = kind([pair], 1, _config(reward="proxy_guided"))
    plain.start({0: Start(0, 1, 2)})
    assert np.isnan(plain.run(RATES[None], np.array([7])).measurements.shifted_kl[0])


def test_shifted_images_of_streamed_pairs_come_with_the_proxys_outputs() -> None:
    made: list[int] = []

    def shifted() -> pairs.Split:
        made.append(1)
        return TINIES[1].validation

    pair = dataclasses.replace(TINIES[0], shifted=shifted)
    for _ in range(2):  # two populations, which make them once
        (batch,) = StreamData(pair, torch.device("cpu"), torch.float32).chunks("shifted")
        assert torch.equal(batch.images, TINIES[1].validation.images)
        assert batch.probs is not None
        torch.testing.assert_close(batch.probs, pair.proxy(batch.images).softmax(1))
    assert made == [1]
    (batch,) = StreamData(TINIES[0], torch.device("cpu"), torch.float32).chunks("shifted")
    assert torch.equal(batch.images, TINIES[0].validation.images)


def test_the_oracle_reads_the_target() -> None:
    population = LoopedPopulation(TINIES[:1], 1, _config(reward="target_oracle"))
    population.start({0: Start(0, 1, 2)})
    window = population.run(RATES[None], np.array([7]))
    assert window.measurements.target_accuracy[0] == population.evaluate("target").accuracy[0].item()
    with pytest.raises(ConfigError, match="'tiny' has no labelled target images"):
        LoopedPopulation([dataclasses.replace(TINIES[0], target=None)], 1, _config(reward="target_oracle"))


class _NothingFromTheHost(TorchDispatchMode):
    """Fails on every operation on host data (0-dimensional constants aside) while ``inside`` a window."""

    inside = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.inside:
            for leaf in tree_leaves((args, kwargs, result)):
                if isinstance(leaf, Tensor):
                    assert leaf.device.type == "meta" or leaf.dim() == 0, f"{func} between host and device"
        return result


@pytest.mark.parametrize("lengths", [[5, 5, 5], [5, 0, 2]], ids=["in-step", "out-of-step"])
def test_nothing_is_read_back_and_nothing_sent_within_a_window(lengths: list[int]) -> None:
    """Runs a window on PyTorch's device without data, where to read anything back is an error of PyTorch's own."""
    population = StackedPopulation(TINIES, 3, _config(pairs=("tiny", "tiny-4")), kernels=False)
    population.start({0: Start(0, 1, 2), 1: Start(1, 3, 4), 2: Start(0, 5, 6)})
    for name, value in vars(population).items():
        if isinstance(value, Tensor):
            setattr(population, name, value.to("meta"))
    for tensors in (population._frozen, population.state):
        tensors.update({name: value.to("meta") for name, value in tensors.items()})
    population.device = torch.device("meta")
    mode, gradients, update = _NothingFromTheHost(), population._gradients, population._update
    updates = 0
    finished: list[Tensor] = []

    def first_of_the_window(index: Tensor, *, separate: bool) -> Any:
        mode.inside = True
        return gradients(index, separate=separate)

    def last_of_the_window(active: NDArray[np.bool_], mask: Tensor) -> None:
        nonlocal updates
        update(active, mask)
        updates += 1
        mode.inside = updates < 5

    def finish(statistics: Any, window_start: Tensor, ce: Tensor, kl: Tensor) -> Any:
        finished.extend([statistics.cosine, ce, kl])

    population._gradients = first_of_the_window  # type: ignore[method-assign]
    population._update = last_of_the_window  # type: ignore[method-assign]
    population._finish = finish  # type: ignore[method-assign]
    with mode:
        population.run(np.tile(RATES, (3, 1)), np.array(lengths))
    assert updates == 5
    assert [tuple(tensor.shape) for tensor in finished] == [(3, 3), (3,), (3,)]
    with pytest.raises((RuntimeError, NotImplementedError)):
        finished[1].tolist()


def test_a_window_is_read_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    population = StackedPopulation(TINIES[:1], 3, _config(), kernels=False)
    population.start({i: Start(0, i, i) for i in range(3)})
    reads: list[str] = []

    def counted(name: str, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        reads.append(name)
        return original(*args, **kwargs)

    for name in ("cpu", "item", "tolist", "__bool__", "__int__", "__float__", "__index__"):
        original = getattr(Tensor, name)
        monkeypatch.setattr(Tensor, name, lambda *args, _n=name, _o=original, **kw: counted(_n, _o, *args, **kw))
    population.run(np.tile(RATES, (3, 1)), np.full(3, 7))
    assert reads == ["cpu"]


# --- what cannot work ------------------------------------------------------------------------------------------------


def test_auto_stacks_what_can_be_stacked(tinies: tuple[str, str]) -> None:
    auto = _config(pairs=tinies)
    assert isinstance(make_population(auto, 2), StackedPopulation)
    assert isinstance(make_population(auto, 1), LoopedPopulation)
    assert isinstance(make_population(dataclasses.replace(auto, implementation="looped"), 2), LoopedPopulation)
    assert isinstance(make_population(dataclasses.replace(auto, implementation="stacked"), 1), StackedPopulation)


class _Normalised(TinyNet):
    """A network with batch statistics."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__(generator)
        self.stem_norm = nn.BatchNorm2d(4)  # type: ignore[assignment]


def _altered(name: str, **changes: Any) -> pairs.Pair:
    return dataclasses.replace(tiny_pair(), name=name, **changes)


def test_batches_that_a_network_cannot_normalise_are_told() -> None:
    class Pooled(TinyNet):
        smallest_batch = 9

    both = [TINIES[0], _altered("pooled", make_model=Pooled)]
    with pytest.raises(ConfigError, match=r"batch_size is 8, but .* of 'pooled' .*expected batches of at least 9"):
        LoopedPopulation(both, 1, _config())
    assert LoopedPopulation(both, 1, _config(batch_size=9)).n == 1


def test_networks_with_batch_statistics_are_looped() -> None:
    pair = _altered("normalised", make_model=_Normalised)
    with pytest.raises(ConfigError, match=r"_Normalised has buffers.*implementation='looped'"):
        StackedPopulation([pair], 2, _config())
    population = LoopedPopulation([pair], 2, _config())
    population.start({0: Start(0, 1, 2), 1: Start(0, 3, 4)})
    assert not population.run(np.tile(RATES, (2, 1)), np.array([7, 7])).diverged.any()


class _Wide(TinyNet):
    """The same layer groups, with another number of classes."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__(generator)
        self.head = nn.utils.skip_init(nn.Linear, 4, 5)


class _OneGroup(TinyNet):
    def layer_groups(self) -> dict[str, list[str]]:
        return {"all": [name for names in super().layer_groups().values() for name in names]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("network", [_Wide, _OneGroup])
def test_pairs_of_one_population_need_one_network(kind: type[Population], network: type[Optimizee]) -> None:
    with pytest.raises(ConfigError) as caught:
        kind([TINIES[0], _altered("other", make_model=partial(network))], 2, _config())
    for part in ("same network", "'tiny'", "'other'", "stem, layer1, head", "one environment for each network"):
        assert part in str(caught.value)


def test_images_of_other_sizes_are_looped(monkeypatch: pytest.MonkeyPatch) -> None:
    padded = [pairs.Split(F.pad(s.images, (4, 4, 4, 4)), s.labels) for s in (TINIES[0].train, TINIES[0].validation)]
    large = _altered("large", train=padded[0], validation=padded[1])
    with pytest.raises(ConfigError, match=r"images of one shape.*implementation='looped'"):
        StackedPopulation([TINIES[0], large], 2, _config())
    monkeypatch.setattr(pairs, "check", lambda name: None)
    monkeypatch.setattr(pairs, "make", {"tiny": TINIES[0], "large": large}.__getitem__)
    population = make_population(_config(pairs=("tiny", "large")), 2)
    assert isinstance(population, LoopedPopulation)
    population.start({0: Start(0, 1, 2), 1: Start(1, 1, 2)})
    assert not population.run(np.tile(RATES, (2, 1)), np.array([7, 7])).diverged.any()


def test_what_is_wrong_is_found_before_a_pair_is_built(monkeypatch: pytest.MonkeyPatch, tiny: str) -> None:
    def built(name: str) -> pairs.Pair:
        raise AssertionError(f"{name} was built")

    monkeypatch.setattr(pairs, "make", built)
    with pytest.raises(ConfigError, match="'gpu0' is not there"):
        make_population(_config(device="gpu0"), 1)
    with pytest.raises(ConfigError, match=r"Unknown pair 'tyni'\. Did you mean 'tiny'\?"):
        make_population(_config(pairs=(tiny, "tyni")), 1)


def test_an_unknown_split_names_the_known_ones() -> None:
    population = LoopedPopulation(TINIES[:1], 1, _config())
    population.start({0: Start(0, 1, 2)})
    with pytest.raises(ConfigError, match=r"Unknown split 'targt'\. Did you mean 'target'\?.*'proxy_test'"):
        population.evaluate("targt")
