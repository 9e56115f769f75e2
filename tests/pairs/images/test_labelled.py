"""Images that are in memory, and the order of their classes."""

from __future__ import annotations

import pickle

import numpy as np

from l2o_env.pairs.images.labelled import Pixels, in_order


def test_images_in_memory() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 5), np.uint8)
    images = Pixels(pixels, np.array([1, 0, 1, 2]), ("a", "b", "c"))
    image, label = images[3]
    assert (image.size, image.mode, label, len(images)) == ((5, 3), "L", 2, 4)
    np.testing.assert_array_equal(np.asarray(image), pixels[3])
    some = images.take([3, 1])
    np.testing.assert_array_equal(some.pixels, pixels[[3, 1]])
    assert some.labels.tolist() == [2, 0]
    assert pickle.loads(pickle.dumps(images)).fingerprint() == images.fingerprint()
    assert some.fingerprint() != images.take([1, 3]).fingerprint()
    turned = in_order(images, ("c", "a", "b"))
    assert (turned.labels.tolist(), turned.classes) == ([2, 1, 2, 0], ("c", "a", "b"))  # type: ignore[union-attr]
