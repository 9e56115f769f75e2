"""Traffic signs as they are drawn."""

from __future__ import annotations

import numpy as np

from l2o_env.pairs.rendered.signs import KINDS, SIGNS, draw_sign, render_signs


def test_every_sign_looks_different() -> None:
    signs = [draw_sign(k, "DejaVuSans-Bold", 0.08) for k in range(43)]
    drawn = [np.concatenate([np.asarray(part).reshape(128, 128, -1) for part in sign], 2) for sign in signs]
    for i in range(43):
        for k in range(i):
            assert (drawn[i] != drawn[k]).any(-1).mean() > 0.01, (SIGNS[i], SIGNS[k])
    # Red rims, blue discs, a yellow diamond.
    assert drawn[0][64, 5, :3].tolist() == [190, 20, 30]
    assert drawn[35][64, 12, :3].tolist() == [20, 70, 170]
    assert drawn[12][64, 64, :3].tolist() == [245, 190, 30]
    assert (KINDS[0], KINDS[18], KINDS[35], KINDS[12]) == (0, 1, 2, 3)


def test_renderings_depend_on_the_seed_alone() -> None:
    labels, behind = np.array([0, 14, 40]), np.full((3, 32, 32, 3), 0.5, np.float32)
    first, again, other = (
        render_signs(labels, behind, np.random.default_rng(seed), "DejaVuSans-Bold", 0.08) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert (first.min() >= 0, first.max() <= 1) == (True, True)
    assert np.abs(first[:, 0, 0] - 0.5).max() < 0.1  # a corner shows the background
