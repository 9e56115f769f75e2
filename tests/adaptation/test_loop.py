from __future__ import annotations

import numpy as np
import pytest
import torch

from l2o_env.adaptation import METHODS
from l2o_env.adaptation.loop import batch_indices
from l2o_env.errors import ConfigError
from tests.adaptation.made import adaptation
from tests.tiny import tiny_pair


def test_batches_go_through_all_images_before_any_comes_again() -> None:
    pools = [np.arange(6), np.array([7, 8, 9])]
    source, target = batch_indices(pools, False, 3, 2, np.random.default_rng(0))
    assert sorted(torch.cat(source).tolist()) == list(range(6))
    assert sorted(torch.cat(target).tolist()) == [7, 7, 8, 8, 9, 9]
    source, target = batch_indices([np.arange(6), np.array([], np.int64)], True, 3, 2, np.random.default_rng(0))
    assert [len(part) for part in target] == [0, 0, 0]
    source, target = batch_indices([np.array([3, 5]), np.array([0, 1])], True, 2, 2, np.random.default_rng(1))
    assert [len(a) + len(b) for a, b in zip(source, target, strict=True)] == [2, 2]
    assert sorted(torch.cat(source).tolist()) == [3, 5]
    assert sorted(torch.cat(target).tolist()) == [0, 1]


@pytest.mark.parametrize("method", [name for name in METHODS if name != "adabn"])
def test_a_run_that_goes_on_ends_as_one_that_never_stopped(method: str) -> None:
    whole, cut = adaptation(method), adaptation(method)
    whole.run_round()
    cut.run_round()
    going_on = adaptation(method)
    going_on.load_state({key: value.clone() for key, value in cut.state().items()})
    going_on.round = 1
    a, b = whole.run_round(), going_on.run_round()
    assert a.losses == b.losses
    first, second = whole.state(), going_on.state()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert torch.equal(a.probabilities, b.probabilities)


def test_seeds_make_a_difference_and_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (adaptation("cbst", seed=seed) for seed in (0, 0, 1))
    found = [run.run_round().losses["ce"] for run in (first, again, other)]
    assert found[0] == found[1] != found[2]
    assert torch.equal(before, torch.get_rng_state())


def test_a_round_that_diverges_leaves_the_weights_from_before() -> None:
    run = adaptation("source_only", lr=1e30, clip_norm=None, updates=9)
    before = {key: value.clone() for key, value in run.model.state_dict().items()}
    assert run.run_round().diverged
    assert all(torch.equal(value, before[key]) for key, value in run.model.state_dict().items())


def test_the_state_of_another_network_is_told() -> None:
    run = adaptation("source_only", tiny_pair(n_convolutions=2))
    with pytest.raises(ConfigError, match="The state is that of another network or method"):
        run.load_state(adaptation("source_only").state())


def test_source_only_descends_on_the_source_alone() -> None:
    run, low = adaptation("source_only", updates=30), adaptation("source_only", updates=30, lr=1e-6)
    assert run.run_round().losses["ce"] < low.run_round().losses["ce"]
