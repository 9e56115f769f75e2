"""Proxies that are trained for segmentation networks, on masks or on classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from l2o_env import ConfigError, pairs
from l2o_env.models.adapted.by_name import builder
from l2o_env.models.adapted.fcn8s import FCN8sClassifier
from l2o_env.pairs.images.image_split import ImageSplit
from l2o_env.pairs.pair import Pair
from tests.image_trees import MicroSegNet, class_folders, mask_folders, save_weights

COLOURS = ("red", "green", "blue")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("L2O_ENV_CACHE", str(tmp_path / "cache"))
    mask_folders(tmp_path / "source", n=6)
    mask_folders(tmp_path / "target", n=3, seed=1)
    save_weights(tmp_path / "weights.pt", MicroSegNet())
    return tmp_path


def _settings(tree: Path, **settings: Any) -> dict[str, Any]:
    given = {"source": tree / "source", "weights": tree / "weights.pt", "backbone": MicroSegNet}
    return {**given, "size": 16, "n_validation": 2, **settings}


def three_colours() -> MicroSegNet:
    """A network of one's own that is to be trained."""
    return MicroSegNet(3)


def _proxy_test(pair: Pair) -> tuple[Tensor, Tensor]:
    split = pair.proxy_test
    assert isinstance(split, ImageSplit)
    samples = [split.base(i) for i in range(len(split))]
    images, labels = (torch.stack(column) for column in zip(*samples, strict=True))
    return split.finish(images, labels, torch.float32)


def test_a_proxy_of_ones_own_is_trained_per_pixel_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask_folders(tree / "real", n=8, classes=COLOURS, seed=2)
    mask_folders(tree / "test", n=4, classes=COLOURS, seed=3)
    given = {"backbone": three_colours, "weights": "train", "proxy_data": tree / "real", "proxy_test": tree / "test"}
    state = torch.get_rng_state()
    pair = pairs.make("folders", **_settings(tree, **given, proxy_epochs=60))
    assert torch.equal(torch.get_rng_state(), state)
    images, labels = _proxy_test(pair)
    right = (pair.proxy(images).argmax(1) == labels)[labels >= 0]
    assert right.float().mean() > 0.8
    assert len(list((tree / "cache").glob("proxy-own-*.safetensors"))) == 1
    monkeypatch.setattr("l2o_env.pairs.proxies.any_network.fit", None)  # it is not trained again
    again = pairs.make("folders", **_settings(tree, **given, proxy_epochs=60))
    for mine, theirs in zip(again.proxy.parameters(), pair.proxy.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_proxy_of_fcn8s_is_trained_on_classes(tree: Path) -> None:
    class_folders(tree / "real", n=12, classes=COLOURS, seed=4)
    class_folders(tree / "test", n=6, classes=COLOURS, seed=5)
    given = {"backbone": "fcn8s", "width": 1 / 16, "weights": "train", "proxy_data": tree / "real"}
    given |= {"proxy_test": tree / "test", "proxy_epochs": 40, "size": 32}
    pair = pairs.make("folders", **_settings(tree, **given))
    images, labels = _proxy_test(pair)
    assert pair.proxy(images).shape == (18, 3, 1, 1)
    assert (pair.proxy(images).mean((-2, -1)).argmax(1) == labels).float().mean() > 0.6
    classifier = FCN8sClassifier(3, 1 / 16)
    classifier.load_state_dict(pair.proxy.state_dict())
    torch.testing.assert_close(classifier(images), pair.proxy(images).mean((-2, -1)))


def test_the_proxy_of_torchvisions_is_the_classification_network_below(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "l2o_env.pairs.proxies.any_network.fit", lambda *args, **kwargs: None
    )  # its weights as they are drawn
    class_folders(tree / "real", n=1, classes=COLOURS)
    given = {"backbone": "lraspp_mobilenet_v3_large", "weights": "train", "proxy_data": tree / "real", "size": 32}
    pair = pairs.make("folders", **_settings(tree, **given))
    below = builder("mobilenet_v3_large")(num_classes=3)
    assert torch.equal(pair.proxy.head[3].weight, below.classifier[3].weight)
    assert torch.equal(pair.proxy.backbone["0"][0].weight, below.features[0][0].weight)
    assert pair.n_proxy_classes == 3


def test_a_proxy_whose_training_diverges_is_told_and_not_kept(tree: Path) -> None:
    mask_folders(tree / "real", n=2, classes=COLOURS)
    given = {"backbone": three_colours, "weights": "train", "proxy_data": tree / "real", "proxy_epochs": 20}
    with pytest.raises(ConfigError, match="diverged at a proxy_learning_rate of 1e\\+30; give a lower one"):
        pairs.make("folders", **_settings(tree, **given, proxy_learning_rate=1e30))
    assert not list((tree / "cache").glob("*.safetensors"))
