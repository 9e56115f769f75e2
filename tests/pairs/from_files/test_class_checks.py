"""Checks of the classes of source and target."""

from __future__ import annotations

import numpy as np
import pytest

from l2o_env.errors import ConfigError
from l2o_env.pairs.from_files.class_checks import require_every_class, require_same_classes, warn_of_empty_classes
from l2o_env.pairs.images.labelled import Pixels


def _images(name: str, labels: list[int], *classes: str) -> Pixels:
    return Pixels(np.zeros((len(labels), 2, 2), np.uint8), np.array(labels), classes, name)


def test_classes_are_the_same_in_any_order() -> None:
    source = _images("source images", [0], "cat", "dog")
    require_same_classes(source, None)
    require_same_classes(source, _images("target images", [0], "dog", "cat"))
    told = r"source images and of the target images differ: only the first have none, only the second have \['ox'\]"
    with pytest.raises(ConfigError, match=told):
        require_same_classes(source, _images("target images", [0], "dog", "ox", "cat"))


@pytest.mark.parametrize(
    "name", ["Traffic Light", "traffic-light", "traffic_light ", "ｔraffic light", "TRAFFIC LIGHT"]
)
def test_names_that_look_alike_are_told(name: str) -> None:
    source = _images("source images", [0], "cat", "traffic light")
    with pytest.raises(ConfigError, match=f"remove some. 'traffic light' and '{name}' have the same letters"):
        require_same_classes(source, _images("target images", [0], "dog", name))


def test_classes_without_images_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "l2o_env")
    whole, gaps = _images("photos", [1, 0], "cat", "dog"), _images("photos", [1, 1], "cat", "dog", "ox")
    require_every_class(whole)
    warn_of_empty_classes(whole)
    assert not caplog.messages
    with pytest.raises(ConfigError, match=r"These classes of the photos have no images: \['cat', 'ox'\]\. Add some"):
        require_every_class(gaps)
    warn_of_empty_classes(gaps)
    assert caplog.messages == [
        "These classes of the photos have no images: ['cat', 'ox']. Accuracies on them are over the other 1 classes."
    ]
