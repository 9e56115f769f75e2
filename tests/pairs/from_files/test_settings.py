"""Settings of pairs of image files, and what cannot work of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from l2o_env.errors import ConfigError
from l2o_env.pairs.augmentation import Augmentation
from l2o_env.pairs.from_files.settings import DenseSettings, ImageSettings


def test_what_follows_from_settings() -> None:
    settings = ImageSettings(size=32, random_crop=True, scales=2, mirror=True, contrast=0.3, cache_gb=0.5)  # type: ignore[arg-type]
    assert settings.augmentation() == Augmentation(32, (2.0,), True, contrast=0.3)
    assert settings.cache_bytes == 2**29
    network = ImageSettings("densenet121", weights="w.pt", head="fc", batchnorm="trained", feature_layer="body").network
    assert (network.backbone, network.weights, network.head) == ("densenet121", "w.pt", "fc")
    assert (network.batchnorm, network.feature_layer, network.groups) == ("trained", "body", None)
    assert ImageSettings(size=np.int64(8)).size == 8  # type: ignore[arg-type]


def test_dense_settings_are_those_of_street_scenes() -> None:
    settings = DenseSettings()
    assert settings.augmentation() == Augmentation(512, (0.75, 1.0, 1.25), True)
    assert (settings.sliding_window, settings.target_resize, settings.backbone) == (1024, 0, "fcn8s")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"size": 0}, "size is 0; expected an integer >= 1"),
        ({"resize": -1}, "resize is -1; expected an integer >= 0"),
        ({"proxy_epochs": True}, "proxy_epochs is True; expected an integer >= 1"),
        ({"random_crop": 1}, "random_crop is 1; expected true or false"),
        ({"mirror": "yes"}, "mirror is 'yes'; expected true or false"),
        ({"cache_gb": -1}, "cache_gb is -1; expected a number >= 0"),
        ({"cache_gb": "much"}, "cache_gb is 'much'; expected a number >= 0"),
        ({"weights": "train"}, "weights is 'train' and proxy_data None; a proxy is trained with weights=train and"),
        ({"proxy_data": "photos"}, "weights is 'DEFAULT' and proxy_data 'photos'; .* neither goes without the other"),
        ({"batchnorm": "frosen"}, r"Unknown batchnorm 'frosen'\. Did you mean 'frozen'"),
        ({"brightness": 2}, "brightness is 2; expected a number from 0 to 1"),
        ({"scales": (0.5, 2)}, "without a crop"),
        ({"mean": (0.5, 0.5), "std": (1, 1, 1)}, r"mean is \(0\.5, 0\.5\); expected three numbers"),
        ({"mean": (0.5, 0.5, 0.5)}, "mean and std go together"),
        ({"mean": (0, 0, 0), "std": (1, 0, 1)}, r"std is \(1, 0, 1\); expected three positive numbers"),
        ({"mean": (0, 0, float("nan")), "std": (1, 1, 1)}, "mean is"),
        ({"mean": "half", "std": "half"}, "mean is 'half'"),
        ({"mean": (124, 116, 104), "std": (58, 57, 57)}, r"mean is \(124, 116, 104\); .* divide those .* by 255"),
        ({"mean": (0, 0, 0), "std": (58, 57, 57)}, r"std is \(58, 57, 57\); .* divide those .* by 255"),
        ({"mean": (-0.5, 0, 0), "std": (1, 1, 1)}, "of RGB in \\[0, 1\\]"),
    ],
)
def test_what_cannot_work_is_told(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        ImageSettings(**settings)


def test_colours_are_what_the_networks_weights_expect_unless_they_are_given(caplog: pytest.LogCaptureFixture) -> None:
    imagenet, half = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), (0.5, 0.5, 0.5)
    assert (ImageSettings().mean, ImageSettings().std) == imagenet
    own = ImageSettings("net.py:Net")
    assert (own.mean, own.std) == imagenet
    lite = ImageSettings("efficientnet_lite0")
    assert [(x / 255 - lite.mean[0]) / lite.std[0] for x in (0, 255)] == pytest.approx([-127 / 128, 1])
    given = ImageSettings("net.py:Net", mean=half, std=(1, 1, 1))
    assert (given.mean, given.std) == (half, (1.0, 1.0, 1.0))
    caplog.set_level("WARNING", "l2o_env")
    for quiet in (given, lite, ImageSettings(), ImageSettings(weights="file.pt", mean=half, std=half)):
        quiet.warn_of_normalisation()
    assert not caplog.text
    ImageSettings(mean=half, std=half).warn_of_normalisation()
    assert (
        "The weights of resnet18 were trained with mean=(0.485, 0.456, 0.406) and std=(0.229, 0.224, 0.225) of RGB in "
        "[0, 1]; this pair has mean=(0.5, 0.5, 0.5) and std=(0.5, 0.5, 0.5). Leave both out"
    ) in caplog.text


def test_what_an_own_network_was_trained_on_has_to_be_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "l2o_env")
    ImageSettings("net.py:Net", weights="train", proxy_data="photos").warn_of_normalisation()  # trained with them
    ImageSettings("net.py:Net", "w.pt", mean=(0, 0, 0), std=(1 / 255,) * 3).warn_of_normalisation()  # on [0, 255]
    assert not caplog.text
    ImageSettings("net.py:Net", "w.pt").warn_of_normalisation()
    assert "for net.py:Net: ImageNet's mean and standard deviation are taken" in caplog.text


@pytest.mark.parametrize("key", ["target_resize", "sliding_window"])
def test_pixels_of_the_target_are_whole_numbers(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} is -1; expected a number of pixels, or 0 for none"):
        DenseSettings(**{key: -1})  # type: ignore[arg-type]
