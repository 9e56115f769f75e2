"""The proxies of the embedded pairs: they learn, are the same bits everywhere, and are trained once."""

from __future__ import annotations

import logging
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from l2o_env import pairs
from l2o_env.models import SmallProxy, new_generator
from l2o_env.pairs import cache
from l2o_env.pairs.proxies.embedded import ProxyRecipe, small_recipe
from l2o_env.pairs.proxies.pretraining import ProxyTraining
from l2o_env.pairs.splits import in_memory
from tests.pairs.small import SMALL


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("L2O_ENV_CACHE", str(tmp_path))
    return tmp_path


def _noise() -> pairs.Split:
    """Images of five classes that nothing tells apart."""
    return pairs.Split(torch.randn(256, 3, 16, 16, generator=new_generator(0)), torch.arange(256) % 5)


def _recipe(epochs: int = 3, data: str = "noise") -> ProxyRecipe[SmallProxy]:
    return small_recipe(5, _noise, {"data": data}, 0, ProxyTraining(epochs=epochs))


def test_pretraining_learns_and_says_so(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "l2o_env"):
        pair = pairs.make("glyphs-digits", **{**SMALL, "proxy": ProxyTraining(epochs=2)})
    assert "Pretraining a proxy, once" in caplog.text
    test = in_memory(pair.proxy_test)
    accuracy = (pair.proxy(test.images).argmax(1) == test.labels).float().mean().item()
    assert accuracy > 0.4  # chance is 0.2; a fifteenth of the default training
    assert not pair.proxy.training and not any(p.requires_grad for p in pair.proxy.parameters())


_CHECKSUM = """
import sys, torch
torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(5)
from l2o_env.models import new_generator
from l2o_env.pairs import Split
from l2o_env.pairs.cache import checksum
from l2o_env.pairs.proxies.embedded import ProxyTraining, small_recipe
data = Split(torch.randn(256, 3, 16, 16, generator=new_generator(0)), torch.arange(256) % 5)
print(checksum(small_recipe(5, lambda: data, {}, 0, ProxyTraining(epochs=3)).pretrain()), torch.get_num_threads())
"""


def test_a_proxy_is_the_same_bits_in_every_process_and_with_any_number_of_threads() -> None:
    command = [sys.executable, "-c", _CHECKSUM, "2"]
    theirs, threads = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert theirs == cache.checksum(_recipe().pretrain())
    assert threads == "2"  # the caller's threads are given back


def test_the_cached_proxy_is_the_trained_one(folder: Path) -> None:
    trained, loaded = (pairs.make("glyphs-digits", **SMALL).proxy for _ in range(2))
    assert cache.checksum(trained.state_dict()) == cache.checksum(loaded.state_dict())
    assert len(list(folder.glob("proxy-*.safetensors"))) == 1


def test_a_recipe_is_followed_once_and_its_importance_is_of_the_same_training(folder: Path) -> None:
    made: list[pairs.Split] = []

    def counted() -> pairs.Split:
        made.append(_noise())
        return made[-1]

    recipe = small_recipe(5, counted, {"data": "noise"}, 0, ProxyTraining(epochs=1))
    proxy, importance = recipe.proxy(), recipe.importance()
    assert len(made) == 2  # the importance needs the training once more
    assert cache.checksum(recipe.proxy().state_dict()) == cache.checksum(proxy.state_dict())
    assert cache.checksum(recipe.importance()) == cache.checksum(importance)
    assert len(made) == 2
    assert set(importance) == {name for name, _ in proxy.named_parameters()}
    moved = {name: p - first for (name, p), first in zip(proxy.named_parameters(), _drawn().parameters(), strict=True)}
    assert all(moved[name].any() for name in importance)
    assert all((omega >= 0).all() for omega in importance.values()) and importance["stem.conv.weight"].any()


def _drawn() -> SmallProxy:
    return SmallProxy(5, new_generator(0))


def test_whatever_a_proxy_depends_on_is_in_the_key_of_the_cache(folder: Path) -> None:
    keys = [
        _recipe().key,
        _recipe(epochs=4).key,
        _recipe(data="others").key,
        small_recipe(4, _noise, {"data": "noise"}, 0, ProxyTraining(epochs=3)).key,
        small_recipe(5, _noise, {"data": "noise"}, 1, ProxyTraining(epochs=3)).key,
        small_recipe(5, _noise, {"data": "noise"}, 0, ProxyTraining(epochs=3), "deep").key,
    ]
    assert len({cache.cache_path("proxy", key) for key in keys}) == len(keys)
    # Proxies that were trained before are found again.
    assert cache.cache_path("proxy", keys[0]).name == "proxy-0dc6d347bdd31628193b672ad9d53655.safetensors"


def test_a_recipe_is_for_any_network(folder: Path) -> None:
    recipe = ProxyRecipe(
        partial(SmallProxy, 5, network="deep"), _noise, ProxyTraining(epochs=1), 3, {"a": 1}, "proxy-x"
    )
    proxy = recipe.proxy()
    assert proxy.network == "deep"
    assert [path.name for path in folder.glob("*.safetensors")] == [cache.cache_path("proxy-x", {"a": 1}).name]
