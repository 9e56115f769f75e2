"""A proxy of any network is trained once."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from l2o_env import ConfigError, pairs
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.pairs.images.folder_listings import list_classes
from l2o_env.pairs.images.image_split import ImageSplit, Size
from l2o_env.pairs.pair import Pair
from l2o_env.pairs.proxies import any_network
from l2o_env.pairs.proxies.any_network import trained_weights
from l2o_env.pairs.proxies.pretraining import ProxyTraining
from tests.image_trees import MicroNet, class_folders, save_weights


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    class_folders(tmp_path / "source", n=6)
    class_folders(tmp_path / "target", n=3, seed=1)
    save_weights(tmp_path / "weights.pt")
    return tmp_path


def _make(tree: Path, **settings: Any) -> Pair:
    given = {"source": tree / "source", "weights": tree / "weights.pt", "backbone": MicroNet}
    return pairs.make("folders", **{**given, "size": 12, "n_validation": 4, **settings})


def _watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[nn.Module], ImageSplit]:
    """The proxies that would have been trained from now on, in a cache that is empty, and images of five classes."""
    trained: list[nn.Module] = []
    monkeypatch.setenv("L2O_ENV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(any_network, "fit", lambda proxy, *args, **kwargs: trained.append(proxy))
    listing = list_classes(class_folders(tmp_path / "real", n=1, classes="abcde"), "images of proxy_data")
    return trained, ImageSplit(listing, torch.arange(5), Size(12, 12))


@pytest.mark.parametrize("change", ["seed", "training", "images", "file"])
def test_whatever_the_weights_depend_on_trains_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    trained, images = _watched(tmp_path, monkeypatch)
    file = tmp_path / "net.py"
    file.write_text("from tests.image_trees import MicroNet")
    network, training = NetworkConfig(f"{file}:MicroNet"), ProxyTraining(epochs=1)
    first = trained_weights(network, images, 5, training, 0)
    again = trained_weights(network, images, 5, training, 0)
    assert len(trained) == 1
    assert all(torch.equal(first[name], again[name]) for name in trained[0].state_dict())
    if change == "images":
        images = replace(images, size=Size(14, 12))
    if change == "training":
        training = ProxyTraining(epochs=2)
    if change == "file":
        file.write_text("from tests.image_trees import MicroNet  # whose forward pass may be another one now")
    trained_weights(network, images, 5, training, 1 if change == "seed" else 0)
    assert len(trained) == 2


class Described(nn.Module):
    """A network whose layers do not tell what it computes."""

    def __init__(self, scale: float = 1.0, act: Any = torch.relu, dropped: float = 0.0, **more: Any) -> None:
        super().__init__()
        self.scale, self.act, self.dropped, self.more = scale, act, dropped, more
        self.body, self.fc = nn.Conv2d(3, 8, 3, stride=2), nn.Linear(8, 5)
        self.register_buffer("mean", torch.tensor(more.get("mean", 0.0)), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, 5)``."""
        features = self.act(self.body(images.flip(self.more.get("flip", ())) * self.scale - self.mean))
        pooled = features.amax((-2, -1)) if self.more.get("pool") == "max" else features.mean((-2, -1))
        power = pooled.abs() ** self.more.get("power", 1)
        return self.fc(F.dropout(power, self.dropped, self.training))[:, self.more.get("order", slice(None))]


def _closure(scale: float) -> Any:
    return lambda: Described(scale)


OUTSIDE = {"scale": 1.0}


@pytest.mark.parametrize(
    "other",
    [
        partial(Described, 2.0),
        partial(Described, act=torch.tanh),
        partial(Described, act=lambda x: x.clamp(0, 0.1)),
        partial(Described, dropped=0.5),
        partial(Described, mean=0.5),
        partial(Described, flip=(-1,)),
        partial(Described, pool="max"),
        partial(Described, power=2),
        partial(Described, order=[1, 0, 2, 3, 4]),
        _closure(2.0),
        lambda: Described(OUTSIDE["scale"]),
    ],
)
def test_what_the_layers_do_not_tell_trains_a_proxy_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: Any
) -> None:
    trained, images = _watched(tmp_path, monkeypatch)
    name = getattr(other, "__qualname__", None)
    first = _closure(1.0) if name else partial(Described)  # of the same name
    first.__qualname__ = name or ""  # type: ignore[union-attr]
    trained_weights(NetworkConfig(first), images, 5, ProxyTraining(epochs=1), 0)
    trained_weights(NetworkConfig(first), images, 5, ProxyTraining(epochs=1), 0)
    assert len(trained) == 1
    monkeypatch.setitem(OUTSIDE, "scale", 2.0)
    trained_weights(NetworkConfig(other), images, 5, ProxyTraining(epochs=1), 0)
    assert len(trained) == 2


class ThreeWay(nn.Module):
    """A network of three proxy classes, with batch normalisation and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        self.fc = nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, 3)``."""
        return self.fc(F.dropout(self.body(images).mean((-2, -1)), 0.1, self.training))


def test_a_proxy_is_trained_once_on_real_images(
    tree: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("L2O_ENV_CACHE", str(tree / "cache"))
    class_folders(tree / "real", n=12, classes=("red", "green", "blue"), seed=4)
    class_folders(tree / "test", n=6, classes=("red", "green", "blue"), seed=5)
    settings = {"backbone": ThreeWay, "weights": "train", "proxy_data": tree / "real", "proxy_test": tree / "test"}
    state = torch.get_rng_state()
    with caplog.at_level(logging.INFO, "l2o_env"):
        pair = _make(tree, **settings, proxy_epochs=25)
    (told,) = re.findall(r"The proxy names (\d+) % of its training images rightly\.", caplog.text)
    assert int(told) > 80
    assert "learned nothing" not in caplog.text
    assert torch.equal(torch.get_rng_state(), state)
    split = pair.proxy_test
    images = torch.stack([split.base(i).image for i in range(18)])  # type: ignore[union-attr]
    found = pair.proxy(split.finish(images, split.labels, torch.float32)[0]).argmax(1)  # type: ignore[union-attr]
    assert (found == split.labels).float().mean() > 0.8  # type: ignore[union-attr]
    assert len(list((tree / "cache").glob("proxy-own-*.safetensors"))) == 1
    monkeypatch.setattr(any_network, "fit", None)  # it is not trained again
    again = _make(tree, **settings, proxy_epochs=25)
    for mine, theirs in zip(again.proxy.parameters(), pair.proxy.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    with pytest.raises(ConfigError, match="MicroNet has 5 classes, and proxy_data 3"):
        _make(tree, weights="train", proxy_data=tree / "real")
    for wrong in ({"weights": "train"}, {"proxy_data": tree / "real"}):
        with pytest.raises(ConfigError, match="neither goes without the other"):
            _make(tree, **wrong)
