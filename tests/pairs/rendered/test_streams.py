"""Random streams of one seed."""

from __future__ import annotations

from typing import get_args

import numpy as np

from l2o_env.pairs.rendered.streams import Purpose, stream, torch_seed

PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


def test_each_purpose_and_each_seed_has_a_stream_of_its_own() -> None:
    draws = {
        tuple(np.random.default_rng(stream(entropy, purpose)).integers(2**32, size=4))
        for purpose in PURPOSES
        for entropy in (0, 1, (0, 1))
    }
    assert len(draws) == 3 * len(PURPOSES)
    assert len({torch_seed(0, purpose) for purpose in PURPOSES}) == len(PURPOSES)
    assert all(0 <= torch_seed(seed, "proxy_weights") < 2**63 for seed in range(50))


def test_streams_stay_what_they_were() -> None:
    first = ("train", "validation", "target", "proxy_train", "proxy_test", "proxy_weights", "label_noise", "shifted")
    assert first == PURPOSES
    expected = np.random.SeedSequence(7, spawn_key=(2,))
    assert stream(7, "target").generate_state(3).tolist() == expected.generate_state(3).tolist()
