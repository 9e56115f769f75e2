"""The looped population on images that are decoded on demand, beside the same images in memory."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from l2o_env import ConfigError, pairs
from l2o_env.config import EnvConfig
from l2o_env.env import Syn2RealEnv
from l2o_env.inner import stream_data
from l2o_env.inner.build import Plan, in_workers, make_population
from l2o_env.inner.looped import LoopedPopulation
from l2o_env.inner.population import Population
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.window import Start
from l2o_env.models.base import new_generator
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.splits import Split
from tests.image_trees import MicroNet, class_folders, save_weights

SETTINGS: dict[str, Any] = {"budget": 6, "window": 3, "batch_size": 4, "device": "cpu"}
RANDOM = {"random_crop": True, "scales": (0.75, 1.0), "mirror": True, "brightness": 0.2}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    class_folders(root / "source")
    class_folders(root / "target", n=3, seed=1)
    save_weights(root / "weights.pt")
    return root


def _pair(tree: Path, **settings: Any) -> Pair:
    given = {"source": tree / "source", "target": tree / "target", "weights": tree / "weights.pt"}
    return pairs.make("folders", backbone=MicroNet, size=12, n_validation=4, **given, **settings)


def _in_memory(pair: Pair) -> Pair:
    """The same images as tensors."""
    found = {}
    for name in ("train", "validation", "target"):
        split = getattr(pair, name)
        samples = [split.base(i) for i in range(len(split))]
        images, labels = torch.stack([s.image for s in samples]), torch.stack([s.label for s in samples])
        found[name] = Split(*split.finish(images, labels, torch.float32))
    return dataclasses.replace(pair, **found)


def _population(pair: Pair, n: int = 2, **settings: Any) -> LoopedPopulation:
    population = LoopedPopulation([pair], n, EnvConfig(**{**SETTINGS, **settings}))
    population.start({i: Start(0, 10 + i, 20 + i) for i in range(n)})
    return population


def _run(population: Population, windows: int = 2) -> list[Any]:
    rates = np.full((population.n, population.n_layers), 0.02)
    return [population.run(rates, np.full(population.n, 3)).measurements for _ in range(windows)]


def test_streamed_images_train_as_those_in_memory_do(tree: Path) -> None:
    pair = _pair(tree)
    streamed, memory = _population(pair), _population(_in_memory(pair))
    for mine, theirs in zip(_run(streamed), _run(memory), strict=True):
        for key, values in vars(theirs).items():
            np.testing.assert_allclose(getattr(mine, key), values, rtol=1e-5, err_msg=key)
    torch.testing.assert_close(streamed.weights, memory.weights)
    for name in ("validation", "target"):
        for mine, theirs in zip(streamed.evaluate(name), memory.evaluate(name), strict=True):
            torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(streamed.class_accuracy("target"), memory.class_accuracy("target"))
    assert torch.equal(torch.stack(streamed.predictions("target")), torch.stack(memory.predictions("target")))


def test_the_proxy_is_asked_once_or_on_every_batch(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once = _population(_pair(tree))
    monkeypatch.setattr(stream_data, "PROXY_BYTES", 10)
    always = _population(_pair(tree))
    assert once.data[0]._train_probs is not None  # type: ignore[union-attr]
    assert always.data[0]._train_probs is None  # type: ignore[union-attr]
    for mine, theirs in zip(_run(once), _run(always), strict=True):
        np.testing.assert_allclose(mine.train_kl, theirs.train_kl, rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(mine.val_kl, theirs.val_kl, rtol=1e-5)


def test_an_augmented_run_is_the_same_again_and_from_a_state(tree: Path) -> None:
    pair = _pair(tree, **RANDOM, batchnorm="trained")
    random_state = torch.get_rng_state()
    first = _population(pair)
    expected = _run(first)
    assert torch.equal(torch.get_rng_state(), random_state)
    again = _population(pair)
    _run(again, 1)
    state = again.get_state()
    last = _population(pair, n=2)
    _run(last)
    last.set_state(state)
    for found in (_run(again, 1)[0], _run(last, 1)[0]):
        for key, values in vars(expected[1]).items():
            np.testing.assert_array_equal(getattr(found, key), values, err_msg=key)
    assert torch.equal(first.weights, again.weights)
    assert torch.equal(first.weights, last.weights)


def test_the_augmented_loss_is_that_of_the_augmented_batch(tree: Path) -> None:
    pair = _pair(tree, **RANDOM)
    population = _population(pair, n=1, budget=1, window=1)
    data = population.data[0]
    images, labels, probs = data.batch(population.order[0, 0], 20, 0)
    model = pair.make_model(new_generator(10)).eval()
    with torch.no_grad():
        logits, proxy_logits = model(images)
        torch.testing.assert_close(probs, pair.proxy(images).softmax(-1))
        kl = F.kl_div(proxy_logits.log_softmax(-1), pair.proxy(images).softmax(-1), reduction="batchmean")
    found = population.run(np.zeros((1, population.n_layers)), np.ones(1, np.int64)).measurements
    np.testing.assert_allclose(found.train_ce, F.cross_entropy(logits, labels), rtol=1e-6)
    np.testing.assert_allclose(found.train_kl, kl, atol=1e-6)


def test_frozen_batch_statistics_stay_and_trained_ones_follow_the_batches(tree: Path) -> None:
    pair = _pair(tree)
    frozen = _population(pair)
    before = [b.clone() for b in frozen._models[0].buffers()]
    _run(frozen)
    assert all(torch.equal(a, b) for a, b in zip(before, frozen._models[0].buffers(), strict=True))
    pair = _pair(tree, batchnorm="trained")
    trained = _population(pair)
    batch = trained.data[0].batch(trained.order[0, 0], 20, 0)
    reference = pair.make_model(new_generator(10)).train()
    reference(batch.images)
    rates = np.zeros((2, trained.n_layers))
    # The second one only measures: its statistics stay.
    trained.run(rates, np.array([1, 0]))
    assert not torch.equal(before[0], next(trained._models[0].buffers()))
    for mine, theirs in zip(trained._models[0].buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)
    for mine, theirs in zip(trained._models[1].buffers(), before, strict=True):
        assert torch.equal(mine, theirs)


def test_a_drawn_backbone_trains_its_statistics_though_the_proxys_are_frozen(tree: Path) -> None:
    population = _population(_pair(tree, batchnorm="frozen"), random_init=True)
    before = [b.clone() for b in population._models[0].buffers()]
    assert torch.equal(before[0], torch.zeros_like(before[0]))
    _run(population)
    after = list(population._models[0].buffers())
    assert (after[0] != before[0]).all()
    taken_out = population.optimizee(0)
    assert all(torch.equal(a, b) for a, b in zip(taken_out.buffers(), after, strict=True))


def test_statistics_of_a_diverged_optimizee_go_back_too(tree: Path) -> None:
    population = _population(_pair(tree, batchnorm="trained"))
    before = [b.clone() for b in population._models[1].buffers()]
    rates = np.full((2, population.n_layers), 0.01)
    rates[1] = 1e30
    assert population.run(rates, np.full(2, 3)).diverged.tolist() == [False, True]
    assert all(torch.equal(a, b) for a, b in zip(before, population._models[1].buffers(), strict=True))


def test_common_random_numbers_share_batches(tree: Path) -> None:
    population = _population(_pair(tree, **RANDOM))
    population.start({0: Start(0, 1, 7), 1: Start(0, 1, 7)})
    for values in vars(_run(population, 1)[0]).values():
        np.testing.assert_array_equal(values[0], values[1])
    assert set(population.data[0]._feeds["train"]._orders) == {7}  # type: ignore[union-attr]
    spent = population.window_time()
    assert 0 < spent.waiting < spent.total
    population.evaluate("target")  # waits for images too, but outside of windows
    assert population.window_time() == spent


def test_streams_are_looped_and_never_stacked(tree: Path) -> None:
    spec = pairs.spec(
        "folders", source=tree / "source", weights=tree / "weights.pt", backbone="tests.image_trees:MicroNet",
        size=12, n_validation=4,
    )  # fmt: skip
    config = EnvConfig(pairs=(spec,), **SETTINGS)
    assert isinstance(make_population(config, 2), LoopedPopulation)
    with pytest.raises(ConfigError, match="decoded on demand cannot be stacked"):
        StackedPopulation([_pair(tree)], 2, config)
    env = Syn2RealEnv(pairs=spec, **SETTINGS)
    env.reset(seed=3)
    reward = env.step(env.action_space.sample())[1]
    assert np.isfinite(reward)
    assert 0 < env.episodes.data_wait < 1
    assert env.pair_name == spec
    with pytest.raises(ConfigError, match="no labelled target images"):
        env.evaluate("target")


def test_the_time_that_worker_processes_wait_for_images_is_known(tree: Path) -> None:
    pair = _pair(tree)
    population = in_workers(Plan("looped", 3, EnvConfig(**{**SETTINGS, "pairs": pair.name, "workers": 2})), [pair])
    try:
        assert population.window_time() == (0, 0)
        population.start({i: Start(0, i, i) for i in range(3)})
        population.run(np.full((3, population.n_layers), 0.02), np.full(3, 3))
        parts = population._call_all("window_time")
        assert all(0 < part.waiting < part.total for part in parts)
        assert population.window_time() == tuple(np.sum(parts, axis=0))
    finally:
        population.close()


def test_a_pair_of_files_can_be_sent_to_another_process(tree: Path) -> None:
    pair = _pair(tree, **RANDOM)
    pair.train.base(0)  # type: ignore[union-attr]
    sent = pickle.loads(pickle.dumps(pair))
    assert not sent.train._cache
    for mine, theirs in zip(_run(_population(sent), 1), _run(_population(pair), 1), strict=True):
        np.testing.assert_array_equal(mine.val_ce, theirs.val_ce)
        np.testing.assert_array_equal(mine.train_kl, theirs.train_kl)
