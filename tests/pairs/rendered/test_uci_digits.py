"""The handwritten digits are divided by their writers."""

from __future__ import annotations

import numpy as np

from l2o_env.pairs.rendered.uci_digits import divide_by_writer, uci_halves


def test_no_digit_of_the_target_or_the_test_pretrains_the_proxy() -> None:
    first, second = uci_halves()
    pretraining, held_out = divide_by_writer(first)
    assert [len(d[1]) for d in (pretraining, held_out, second)] == [748, 150, 899]
    from sklearn.datasets import load_digits

    labels = np.concatenate([d[1] for d in (pretraining, held_out, second)])
    assert (labels == load_digits().target).all()


def test_ink_is_enlarged_to_the_familys_images() -> None:
    for ink, labels in uci_halves():
        assert (ink.shape, ink.dtype) == ((len(labels), 16, 16), np.float32)
        assert ink.min() == 0 < 0.9 < ink.max() <= 1
        assert set(labels) == set(range(10))
