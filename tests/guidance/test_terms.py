"""Guidance terms beyond the KL: formulas written out in float64, derivatives, both populations, weights, cap, state."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from torch import Tensor

from l2o_env.action import action_space, decide
from l2o_env.config import EnvConfig, GuidanceName
from l2o_env.env import Syn2RealEnv
from l2o_env.errors import ConfigError
from l2o_env.guidance import TERMS, si
from l2o_env.guidance.base import feature_map, positions
from l2o_env.guidance.csg import _VIEWS, attention_pool, info_nce, projection
from l2o_env.guidance.feature import feature_distance
from l2o_env.guidance.l2sp import l2_distance
from l2o_env.guidance.si import flatten_known, importance_of, importance_penalty
from l2o_env.guidance.views import Strength, random_view
from l2o_env.guidance.weight import scheduled_weight
from l2o_env.inner.build import make_population
from l2o_env.inner.looped import LoopedPopulation
from l2o_env.inner.population import Gradients, Population, batch_order
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.window import Start
from l2o_env.models.base import Optimizee, new_generator
from l2o_env.models.importance import fisher_importance
from l2o_env.models.layout import Layout
from l2o_env.pairs.proxies.pretraining import ProxyTraining
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.conformance import sb3_check_env
from tests.tiny import TINY, TinyNet, tiny_pair

TINIES = (tiny_pair(), tiny_pair(seed=1, n_train=45, n_validation=33, name="tiny-4", n_proxy_classes=4))
NEW = ("l2sp", "si", "feature", "csg")
KINDS: tuple[type[Population], ...] = (StackedPopulation, LoopedPopulation)


def _config(**changes: Any) -> EnvConfig:
    return EnvConfig(**{**TINY, "budget": 12, "window": 4, **changes})


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=new_generator(seed), dtype=torch.float64)


# --- formulas --------------------------------------------------------------------------------------------------------


def test_l2_distance() -> None:
    weights, reference = _random(7), _random(7, seed=1)
    a, b = weights.tolist(), reference.tolist()
    expected = sum((x - y) ** 2 for x, y in zip(a[:4], b[:4], strict=True)) / 2
    expected += 0.1 * sum(x**2 for x in a[4:]) / 2
    assert l2_distance(weights, reference, 4, 0.1).item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: l2_distance(x, reference, 4, 0.1), weights.requires_grad_())


def test_importance_penalty() -> None:
    weights, reference, importance = _random(5), _random(5, seed=1), _random(5, seed=2).abs()
    rows = zip(weights.tolist(), reference.tolist(), importance.tolist(), strict=True)
    expected = sum(omega * (x - y) ** 2 for x, y, omega in rows)
    assert importance_penalty(weights, reference, importance).item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: importance_penalty(x, reference, importance), weights.requires_grad_())


def test_fisher_importance_is_of_the_evaluated_proxy_and_images_from_all_over(monkeypatch: pytest.MonkeyPatch) -> None:
    assert si.FISHER_IMAGES == 256

    def make_model(generator: torch.Generator) -> Optimizee:
        model = TINIES[1].make_model(generator)
        model.register_forward_pre_hook(lambda m, x: (torch.nn.functional.dropout(x[0], 0.5, m.training),))
        return model

    monkeypatch.setattr(si, "FISHER_IMAGES", 4)
    found = importance_of(replace(TINIES[1], make_model=make_model), torch.device("cpu"))
    images = TINIES[1].train.images[[0, 11, 22, 33]]  # of 45
    expected = fisher_importance(TINIES[1].make_model(new_generator(0)), images)
    torch.testing.assert_close(found["stem.weight"], expected["stem.weight"])


def test_importance_comes_from_the_proxys_own_training_where_there_is_one() -> None:
    images = TINIES[0].train
    own = {"stem.weight": torch.ones(4, 3, 3, 3)}
    assert importance_of(replace(TINIES[0], importance=lambda: own), torch.device("cpu")) is own
    estimated = importance_of(TINIES[0], torch.device("cpu"))
    torch.testing.assert_close(
        estimated["stem.weight"],
        fisher_importance(TINIES[0].make_model(new_generator(0)), images.images)["stem.weight"],
    )
    layout = Layout.of(TINIES[0].make_model(new_generator(0)))
    flat = layout.unflatten(flatten_known(layout, own))
    assert flat["stem.weight"].min() == 1
    assert not any(flat[name].any() for name in layout.names if name != "stem.weight")


def test_feature_distance() -> None:
    a, b = _random(2, 3, 2, 2), _random(2, 3, 2, 2, seed=1)
    total = 0.0
    for image in range(2):
        for row in range(2):
            for column in range(2):
                total += sum((float(a[image, c, row, column]) - float(b[image, c, row, column])) ** 2 for c in range(3))
    assert feature_distance(a, b).item() == pytest.approx(total / 8, rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: feature_distance(x, b), a.requires_grad_())


def test_positions_of_maps_tokens_and_vectors() -> None:
    features = _random(2, 3, 2, 4)
    places = positions(features)
    assert places.shape == (2, 8, 3)
    torch.testing.assert_close(places[1, 6], features[1, :, 1, 2])
    assert positions(places) is places
    assert positions(features[..., 0, 0]).shape == (2, 1, 3)


def test_attention_pool() -> None:
    # Two places with the vectors (3, 0) and (1, 0): the mean is (2, 0), the weights 6 and 2 of 8.
    features = torch.tensor([[[[3.0, 1.0]], [[0.0, 0.0]]]], dtype=torch.float64)
    torch.testing.assert_close(attention_pool(features), torch.tensor([[2.5, 0.0]], dtype=torch.float64))
    torch.testing.assert_close(attention_pool(features / 100), attention_pool(features) / 100)
    assert not attention_pool(torch.zeros(1, 2, 3, 3)).any()
    assert torch.autograd.gradcheck(attention_pool, _random(2, 3, 2, 2).abs().requires_grad_())


def test_info_nce() -> None:
    queries, keys, queue = (torch.nn.functional.normalize(_random(n, 4, seed=n), dim=-1) for n in (2, 3, 5))
    keys = keys[:2]
    filled = torch.tensor([True, True, False, True, False])
    expected = 0.0
    for q, k in zip(queries.tolist(), keys.tolist(), strict=True):
        positive = math.exp(sum(a * b for a, b in zip(q, k, strict=True)) / 0.07)
        others = [queue[j].tolist() for j in (0, 1, 3)]
        negatives = sum(math.exp(sum(a * b for a, b in zip(q, o, strict=True)) / 0.07) for o in others)
        expected -= math.log(positive / (positive + negatives)) / 2
    assert expected > 0.1
    assert info_nce(queries, keys, queue, filled, 0.07).item() == pytest.approx(expected, rel=1e-12)
    assert info_nce(queries, keys, queue, torch.zeros(5, dtype=torch.bool), 0.07).item() == pytest.approx(0, abs=1e-12)
    queries = queries.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: info_nce(x, keys, queue, filled, 0.07), queries)


def test_the_projection_keeps_angles_where_it_can() -> None:
    features = _random(3, 8)
    projected = features @ projection(8, 16)
    torch.testing.assert_close(projected @ projected.mT, features @ features.mT)
    narrow = projection(16, 8)
    torch.testing.assert_close(narrow.mT @ narrow, torch.eye(8, dtype=torch.float64))


def test_views_are_moved_images_and_nothing_at_no_strength() -> None:
    images = _random(4, 3, 8, 8)
    still = Strength(0, 0, 0, 0, 0, 0)
    torch.testing.assert_close(random_view(images, np.random.default_rng(0), still), images)
    a, b, again = (random_view(images, np.random.default_rng(seed)) for seed in (0, 1, 0))
    assert a.shape == images.shape and torch.equal(a, again)
    assert (a - b).abs().mean() > 0.05


class _Drawn(np.random.Generator):
    """Draws these numbers, one of each kind for one image: angle, shear, dx, dy, scale, contrast, brightness."""

    def __init__(self, **drawn: float) -> None:
        super().__init__(np.random.PCG64(0))
        kinds = ("angle", "shear", "dx", "dy", "scale", "contrast", "brightness")
        self._drawn = np.array([[drawn.get(kind, 0.0)] for kind in kinds])

    def uniform(self, *args: Any, **kwargs: Any) -> Any:
        assert args == (-1, 1, (7, 1))
        return self._drawn


@pytest.mark.parametrize(
    "drawn",
    [
        {"angle": 1.0},
        {"shear": 1.0},
        {"dx": 1.0, "dy": -0.5},
        {"scale": -1.0},
        {"angle": -0.7, "shear": 0.6, "dx": 0.3, "dy": 1.0, "scale": 1.0},
    ],
)
def test_views_show_the_places_that_they_say(drawn: dict[str, float]) -> None:
    """An image that says where each of its places is, in units of half its side, shows where the view's come from."""
    grid = (torch.arange(41, dtype=torch.float64) * 2 + 1) / 41 - 1
    places = torch.stack(torch.meshgrid(grid, grid, indexing="xy"))
    found = random_view(places[None], _Drawn(**drawn))[0]
    angle = math.radians(15) * drawn.get("angle", 0)
    x, y = places * math.exp(0.15 * drawn.get("scale", 0))
    x = x + 0.15 * drawn.get("shear", 0) * y
    # A tenth of the side is a fifth of the unit.
    expected = torch.stack([
        math.cos(angle) * x - math.sin(angle) * y + 0.2 * drawn.get("dx", 0),
        math.sin(angle) * x + math.cos(angle) * y + 0.2 * drawn.get("dy", 0),
    ])  # fmt: skip
    inner = (..., slice(10, 31), slice(10, 31))
    torch.testing.assert_close(found[inner], expected[inner])
    assert (found - places)[inner].abs().max() > 0.05


def test_views_change_contrast_and_brightness_around_the_images_mean() -> None:
    images = _random(1, 3, 8, 8) * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)[:, None, None] + 5
    mean, std = images.mean(), images.std()
    found = random_view(images, _Drawn(contrast=0.5))
    torch.testing.assert_close(found, mean + math.exp(0.15) * (images - mean))
    torch.testing.assert_close(random_view(images, _Drawn(brightness=-1.0)), images - 0.3 * std)


def test_views_repeat_the_border_where_there_is_no_image() -> None:
    images = _random(1, 1, 10, 10)
    found = random_view(images, _Drawn(dx=1.0, dy=1.0))  # by a pixel each
    torch.testing.assert_close(found[..., :9, :9], images[..., 1:, 1:])
    torch.testing.assert_close(found[..., :9, 9], images[..., 1:, 9])


# --- in a population -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cap", [None, 0.05])
@pytest.mark.parametrize("guidance", NEW)
def test_stacked_and_looped_go_the_same_way(guidance: str, cap: float | None) -> None:
    config = _config(pairs=("tiny", "tiny-4"), guidance=guidance, guidance_cap=cap, csg_dim=6)
    populations = [kind(TINIES, 3, config, torch.float64) for kind in KINDS]
    rates = np.array([[0.01, 0.03, 0.1], [0.1, 0.0, 0.02], [0.003, 0.05, 0.3]])
    weights = np.array([0.3, 1.0, 0.1])
    for population in populations:
        population.start({0: Start(0, 1, 2), 1: Start(1, 3, 4), 2: Start(1, 5, 6)})
    begin = populations[0].weights.clone()
    for lengths in ([4, 0, 2], [4, 3, 4]):
        a, b = (population.run(rates, np.array(lengths), weights) for population in populations)
        torch.testing.assert_close(populations[0].weights, populations[1].weights, rtol=1e-9, atol=1e-10)
        for name in a.layers:
            np.testing.assert_allclose(a.layers[name], b.layers[name], rtol=1e-7, atol=1e-9, err_msg=name)
    assert (populations[0].weights - begin).norm(dim=-1).min() > 1e-3
    assert (a.layers["guidance_rms"] > 0).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("guidance", ["l2sp", "si", "feature"])
def test_gradients_are_those_of_the_formula(kind: type[Population], guidance: str) -> None:
    pair, config = TINIES[0], _config(guidance=guidance, guidance_weight=0.7, clip_norm=1e6)
    population = kind([pair], 1, config, torch.float64)
    population.start({0: Start(0, 1, 2)})
    layout = population.layout
    population.weights += 0.1 * torch.sin(torch.arange(layout.n_weights, dtype=torch.float64))
    model, frozen = (pair.make_model(new_generator(1)).double() for _ in range(2))
    model.load_state_dict({k: v[0] for k, v in layout.unflatten(population.weights).items()}, strict=False)
    named, first = dict(model.named_parameters()), dict(frozen.named_parameters())
    batch = batch_order(len(pair.train), config, 2)[0]
    images, labels = pair.train.images[batch].double(), pair.train.labels[batch]
    backbone = [name for name in layout.names if not name.startswith("head")]
    if guidance == "l2sp":
        term = sum((named[name] - first[name]).square().sum() for name in backbone) / 2
        term = term + 0.05 * sum(named[name].square().sum() for name in ("head.weight", "head.bias"))
    elif guidance == "si":
        omega = fisher_importance(pair.make_model(new_generator(0)), pair.train.images)
        term = sum((omega[name].double() * (named[name] - first[name]).square()).sum() for name in layout.names)
    else:
        difference = feature_map(model, images) - feature_map(frozen, images).detach()
        term = difference.square().sum(1).mean()
    ce = torch.nn.functional.cross_entropy(model(images)[0], labels)
    found = _gradients(population)
    assert found.scale == 0.7
    _assert_gradients(found, 0, ce, term, [named[name] for name in layout.names])


def _gradients(population: Population) -> Gradients:
    """Those of the next update, with the guidance term's own."""
    population.guidance_weight.set(None)
    return population._gradients(population._batches(np.arange(1))[:, 0], separate=True)


def _assert_gradients(found: Gradients, row: int, ce: Tensor, term: Tensor, params: list[Tensor]) -> None:
    """Asserts that an optimizee's gradients are those of the term, and of CE + 0.7 times the term."""
    assert found.guidance is not None
    alone = torch.autograd.grad(term, params, retain_graph=True, allow_unused=True, materialize_grads=True)
    total = torch.autograd.grad(ce + 0.7 * term, params)
    torch.testing.assert_close(found.guidance[row], torch.cat([g.flatten() for g in alone]))
    torch.testing.assert_close(found.total[row], torch.cat([g.flatten() for g in total]))


def _pooled(features: Tensor, matrix: Tensor) -> list[Tensor]:
    """Attention-pooled and projected vectors of length 1, image by image, of feature maps ``(n, channels, h, w)``."""
    found = []
    for places in features.flatten(2).mT:
        products = places @ places.mean(0)
        vector = (products / products.sum()) @ places @ matrix
        found.append(vector / vector.square().sum().sqrt())
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_csg_are_those_of_the_formula(kind: type[Population]) -> None:
    """Two optimizees with queues of two batches: one that has lost its first batch, one that is not full."""
    pair, temperature, matrix = TINIES[0], 0.2, projection(4, 6)
    config = _config(guidance="csg", csg_dim=6, csg_queue=16, csg_temperature=temperature, guidance_weight=0.7)
    population = kind([pair], 2, replace(config, clip_norm=None), torch.float64)
    population.start({0: Start(0, 1, 2), 1: Start(0, 3, 4)})
    done = [3, 1]
    population.run(np.zeros((2, 3)), np.array(done))
    layout = population.layout
    population.weights += 0.1 * torch.sin(torch.arange(layout.n_weights, dtype=torch.float64))
    found = _gradients(population)
    frozen = pair.make_model(new_generator(0)).double()
    for row, (init, seed) in enumerate([(1, 2), (3, 4)]):
        model = pair.make_model(new_generator(init)).double()
        model.load_state_dict({k: v[row] for k, v in layout.unflatten(population.weights).items()}, strict=False)
        order = batch_order(len(pair.train), config, seed)

        def views(update: int, seed: int = seed, order: Tensor = order) -> tuple[Tensor, Tensor]:
            images, rng = pair.train.images[order[update]].double(), np.random.default_rng([seed, update, _VIEWS])
            return random_view(images, rng), random_view(images, rng)

        earlier = range(max(done[row] - 2, 0), done[row])
        queue = [key.detach() for u in earlier for key in _pooled(feature_map(frozen, views(u)[1]), matrix)]
        assert len(queue) == 8 * len(earlier)
        mine, others = views(done[row])
        queries, keys = _pooled(feature_map(model, mine), matrix), _pooled(feature_map(frozen, others), matrix)
        term = torch.zeros((), dtype=torch.float64)
        for q, k in zip(queries, keys, strict=True):
            positive = (q @ k.detach() / temperature).exp()
            term = term - (positive / (positive + sum((q @ other / temperature).exp() for other in queue))).log() / 8
        assert term > 0.1
        batch = order[done[row]]
        ce = torch.nn.functional.cross_entropy(model(pair.train.images[batch].double())[0], pair.train.labels[batch])
        _assert_gradients(found, row, ce, term, [model.get_parameter(name) for name in layout.names])


def test_the_cap_takes_the_gradient_away_beyond_it() -> None:
    def after(**settings: Any) -> Population:
        population = StackedPopulation(TINIES[:1], 2, _config(**settings), torch.float64)
        population.start({0: Start(0, 1, 2), 1: Start(0, 3, 4)})
        population.run(np.full((2, 3), 0.1), np.full(2, 6))
        return population

    free, unguided = after(guidance_weight=3.0).weights, after(guidance="none").weights
    torch.testing.assert_close(after(guidance_weight=3.0, guidance_cap=1e3).weights, free)
    # The term is zero at the start and then above so low a cap at each update.
    torch.testing.assert_close(after(guidance_weight=3.0, guidance_cap=1e-12).weights, unguided, rtol=1e-6, atol=1e-8)
    assert (free - unguided).abs().max() > 1e-3
    population = after(guidance_weight=3.0, guidance_cap=0.3)
    population.guidance_weight.set(np.full(2, 3.0))
    scale = population.guidance_weight.scale(torch.tensor([0.05, 0.2], dtype=torch.float64))
    assert isinstance(scale, Tensor)
    assert scale.flatten().tolist() == [3.0, 0.0]


def test_weights_of_ones_own_equal_a_setting() -> None:
    populations = [
        StackedPopulation(TINIES[:1], 2, _config(guidance_weight=weight), torch.float64) for weight in (0.2, 0.9)
    ]
    mixed = StackedPopulation(TINIES[:1], 2, _config(), torch.float64)
    for population in (*populations, mixed):
        population.start({0: Start(0, 1, 2), 1: Start(0, 3, 4)})
        population.run(np.full((2, 3), 0.05), np.full(2, 6), np.array([0.2, 0.9]) if population is mixed else None)
    for row, population in enumerate(populations):
        torch.testing.assert_close(mixed.weights[row], population.weights[row])
    assert not torch.allclose(mixed.weights[0], populations[1].weights[0])


def test_the_queue_holds_the_last_keys_of_updated_optimizees_and_is_part_of_the_state() -> None:
    config = _config(guidance="csg", csg_queue=20, csg_dim=6)
    population, other = (LoopedPopulation(TINIES[:1], 2, config, torch.float64) for _ in range(2))
    starts = {0: Start(0, 1, 2), 1: Start(0, 3, 4)}
    population.start(starts)
    queue = population.guidance._queue  # type: ignore[attr-defined]
    assert queue.shape == (2, 16, 6)  # two whole batches
    rates = np.full((2, 3), 0.05)
    population.run(rates, np.array([3, 0]))
    np.testing.assert_allclose(queue[0].norm(dim=-1), 1)
    assert not queue[1].any()
    state = population.get_state()
    expected = [population.run(rates, np.array([2, 3])), population.weights.clone()]
    other.start(starts)
    other.set_state(state)
    found = [other.run(rates, np.array([2, 3])), other.weights.clone()]
    assert torch.equal(found[1], expected[1])
    population.start({0: Start(0, 9, 9)})
    assert not queue[0].any() and queue[1].any()


@pytest.mark.parametrize("guidance", NEW)
def test_every_term_works_in_mixed_precision(guidance: GuidanceName) -> None:
    moved = []
    for precision in ("float32", "bf16"):
        population = LoopedPopulation(TINIES[:1], 1, _config(guidance=guidance, csg_dim=6, precision=precision))
        population.start({0: Start(0, 1, 2)})
        window = population.run(np.full((1, 3), 0.05), np.array([3]))
        assert not window.diverged.any()
        moved.append(population.weights - population.reference)
    assert (moved[0] - moved[1]).norm() < 0.1 * moved[0].norm()


def test_views_are_not_drawn_by_the_numbers_of_the_augmentation(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []

    def noting(images: Tensor, rng: np.random.Generator) -> Tensor:
        drawn.append(rng.bit_generator.state["state"])
        return images

    monkeypatch.setattr("l2o_env.guidance.csg.random_view", noting)
    population = LoopedPopulation(TINIES[:1], 1, _config(guidance="csg", csg_dim=6))
    population.start({0: Start(0, 1, 2)})
    population.run(np.full((1, 3), 0.05), np.array([1]))
    # See l2o_env.pairs.augmentation.draw.
    assert np.random.default_rng([2, 0]).bit_generator.state["state"] not in drawn


def test_without_a_named_feature_map_an_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TinyNet, "feature_layer", None)
    for guidance in ("feature", "csg"):
        with pytest.raises(ConfigError, match=f"guidance '{guidance}' needs the last feature map.*feature_layer"):
            LoopedPopulation(TINIES[:1], 1, _config(guidance=guidance))


def test_random_weights_have_no_importance() -> None:
    population = StackedPopulation(TINIES[:1], 1, _config(guidance="si", random_init=True))
    population.start({0: Start(0, 1, 2)})
    window = population.run(np.full((1, 3), 0.1), np.array([4]))
    assert not window.layers["guidance_rms"].any()


# --- its weight ------------------------------------------------------------------------------------------------------


def test_scheduled_weights() -> None:
    done, lengths = np.array([0, 40, 90]), np.array([10, 20, 10])  # midpoints at 5, 50 and 95 % of the budget
    expected = {
        "constant": [2.0, 2.0, 2.0],
        "linear": [1.9, 1.0, 0.1],
        "cosine": [1 + math.cos(0.05 * math.pi), 1.0, 1 + math.cos(0.95 * math.pi)],
        "warmup": [1.0, 2.0, 2.0],
    }
    for name, weights in expected.items():
        config = _config(budget=100, guidance_weight=2.0, guidance_schedule=name)
        np.testing.assert_allclose(scheduled_weight(config, done, lengths), weights)


def test_a_schedule_is_what_is_used_and_told(make_env: Callable[..., Syn2RealEnv]) -> None:
    env = make_env(budget=4, window=2, guidance_schedule="linear", guidance_weight=1.0)
    env.reset(seed=0)
    assert [env.step(np.zeros(3))[4]["guidance_weight"] for _ in range(2)] == [0.75, 0.25]
    plain = make_env(guidance="none")
    assert plain.reset(seed=0)[1]["guidance_weight"] == 0


def test_an_action_can_set_the_weight() -> None:
    config = _config(action="log+guidance", guidance_weight_min=0.01, guidance_weight_max=1.0)
    assert action_space(config, 3).shape == (4,)
    current = np.full((2, 3), 0.02)
    actions = np.array([[0.0, 1.0, -1.0, -1.0], [0.0, 0.0, 0.0, 0.5]])
    rates, weight = decide(actions, current, config)
    np.testing.assert_allclose(rates[0], [math.sqrt(1e-4 * 0.3), 0.3, 1e-4])
    np.testing.assert_allclose(weight, [0.01, 10**-0.5])
    assert decide(actions[:, :3], current, _config()).guidance_weight is None
    with pytest.raises(ConfigError, match=r"expected \(2, 4\), one value per layer group, the last of them"):
        decide(actions[:, :3], current, config)
    with pytest.raises(ConfigError, match="without NaN"):
        decide(np.full((2, 4), np.nan), current, config)


def test_the_weight_of_an_action_acts_and_single_equals_vector(tiny: str) -> None:
    settings = {**TINY, "action": "log+guidance", "clip_norm": 1e6}
    venv, env = Syn2RealVectorEnv(2, **settings), Syn2RealEnv(**settings)
    actions = np.array([[0.5, 0.5, 0.5, -1.0], [0.5, 0.5, 0.5, 1.0]], np.float32)
    venv.reset(seed=[3, 3])
    for _ in range(2):
        observations, _, _, _, info = venv.step(actions)
    np.testing.assert_allclose(info["guidance_weight"], [0.01, 10.0])
    assert info["val_kl"][1] < info["val_kl"][0]
    for row in range(2):
        env.reset(seed=3)
        for _ in range(2):
            observation, *_, single = env.step(actions[row])
        np.testing.assert_allclose(observation, observations[row], atol=1e-3)
        assert single["guidance_weight"] == info["guidance_weight"][row]


def test_the_checkers_find_nothing_with_a_weight_in_the_action(tiny: str) -> None:
    env = gymnasium.make("l2o_env/Syn2Real-v0", **{**TINY, "action": "log+guidance", "guidance": "feature"})
    check_env(env.unwrapped, skip_render_check=True)
    sb3_check_env(env)


@pytest.mark.parametrize("name", list(TERMS))
def test_every_name_runs(tiny: str, name: str) -> None:
    config = EnvConfig(**{**TINY, "guidance": name, "batch_size": 4})
    population = make_population(config, 2)
    assert population.guidance.name == name
    population.start({0: Start(0, 1, 2), 1: Start(0, 3, 4)})
    assert not population.run(np.full((2, 3), 0.02), np.array([3, 3])).diverged.any()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"guidance": "l2ps"}, "Unknown guidance 'l2ps'. Did you mean 'l2sp'?"),
        ({"guidance_schedule": "liner"}, "Unknown guidance schedule 'liner'. Did you mean 'linear'?"),
        ({"guidance_cap": 0.0}, "guidance_cap is 0.0; expected a finite number > 0"),
        ({"csg_queue": 0}, "csg_queue is 0; expected an integer >= 1"),
        ({"csg_temperature": 0}, "csg_temperature is 0; expected"),
        ({"l2sp_head": -1.0}, "l2sp_head is -1.0; expected"),
        ({"guidance_weight_min": 20.0}, "guidance_weight_min 20.0 must be smaller than guidance_weight_max 10.0"),
        ({"action": "log+guidance", "guidance": "none"}, "'log+guidance' sets the weight of a guidance term"),
    ],
)
def test_bad_settings(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        _config(**settings)
    assert told in str(error.value)


def test_the_proxys_training_gives_its_importance(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2O_ENV_CACHE", str(tmp_path))
    from l2o_env import pairs

    settings = {"n_train_per_class": 2, "n_validation_per_class": 1}
    training = ProxyTraining(epochs=1, batch_size=512)
    pair = pairs.make("glyphs-digits", proxy=training, **settings)
    assert pair.importance is not None
    found = pair.importance()
    assert found["stem.conv.weight"].max() > 0 and (found["layer3.conv2.weight"] >= 0).all()
    assert {path.name.split("-")[0] for path in tmp_path.glob("*.safetensors")} == {"proxy", "importance"}
    population = StackedPopulation([pair], 1, EnvConfig(budget=2, window=2, guidance="si", device="cpu"))
    population.start({0: Start(0, 1, 2)})
    population.run(np.full((1, 5), 0.05), np.array([2]))
    # What is not Ω-weighted has no gradient, and the head is new.
    gradients = _gradients(population)
    assert gradients.guidance is not None
    assert population.layout.group_sums(gradients.guidance.abs())[0, -1] == 0
    assert population.layout.group_sums(gradients.guidance.abs())[0, 0] > 0
