from __future__ import annotations

import torch

from l2o_env.adaptation import information_maximisation


def test_sure_predictions_of_all_classes_have_the_most() -> None:
    torch.testing.assert_close(information_maximisation(torch.eye(4)), torch.tensor(4.0).log())
    assert information_maximisation(torch.eye(4)[[0, 0, 0]]) == 0  # sure, of one class
    torch.testing.assert_close(information_maximisation(torch.full((5, 4), 0.25)), torch.tensor(0.0))


def test_pixels_count_like_images() -> None:
    rows = torch.rand(12, 3).softmax(1)
    dense = rows.reshape(2, 2, 3, 3).movedim(-1, 1)
    torch.testing.assert_close(information_maximisation(dense), information_maximisation(rows))
