"""Backgrounds, and how ink is laid on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from l2o_env.pairs.rendered import backgrounds as bg


def test_patches_come_from_one_half_of_the_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    photograph = np.zeros((40, 60, 3), dtype=np.uint8)
    photograph[:, 30:] = 255
    monkeypatch.setattr(bg, "photographs", lambda: (photograph, photograph))
    rng = np.random.default_rng(0)
    assert (bg.backgrounds("photo", 200, rng, "left") == 0.0).all()
    assert (bg.backgrounds("photo", 200, rng, "right") == 1.0).all()


@pytest.mark.parametrize("kind", ["flat", "gradient", "noise"])
def test_backgrounds(kind: str) -> None:
    images = bg.backgrounds(kind, 500, np.random.default_rng(0))
    assert images.shape == (500, 16, 16, 3)
    assert images.dtype == np.float32
    assert 0.0 <= images.min() < images.max() <= 1.0
    assert abs(images.mean() - 0.5) < 0.03
    spread = images.std((1, 2)).mean()
    assert {"flat": spread < 1e-6, "gradient": 0.05 < spread < 0.15, "noise": 0.08 < spread < 0.15}[kind]


def test_styles_by_hand() -> None:
    rng = np.random.default_rng(0)
    ink = np.zeros((50, 16, 16), dtype=np.float32)
    ink[:, 4:8] = 1.0
    behind = np.full((50, 16, 16, 3), 0.3, dtype=np.float32)
    difference = bg.lay_ink("difference", ink, behind, rng)
    assert np.allclose(difference[:, 4:8], 0.7)
    assert np.allclose(difference[:, 8:], 0.3)
    assert np.allclose(bg.lay_ink("inverted", ink, behind, rng), 1.0 - difference)
    painted = bg.lay_ink("paint", ink, behind, rng, min_contrast=0.25)
    assert np.allclose(painted[:, 8:], 0.3)
    assert np.allclose(painted[:, 4:8], painted[:, 4:5, :1])
    contrast = np.abs(painted[:, 4, 0] - 0.3).mean(-1)
    assert 0.25 <= contrast.min() < 0.3


def test_upsampling_is_torchs_bilinear() -> None:
    small = np.random.default_rng(0).random((3, 8, 8), dtype=np.float32)
    right = F.interpolate(torch.from_numpy(small)[:, None], size=(16, 16), mode="bilinear")[:, 0]
    assert np.allclose(bg.upsample(small), right.numpy(), atol=1e-6)
