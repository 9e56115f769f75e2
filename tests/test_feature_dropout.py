"""Episodes whose observations lack a source look like the others but for its features."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from l2o_env import ConfigError, EnvConfig, split_layers
from l2o_env.evaluation.evaluate import check_runs
from l2o_env.feature_dropout import FeatureDropout
from l2o_env.observation import SOURCES, features_of
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.tiny import TINY
from tests.training.loops import policy

MakeVec = Callable[..., Syn2RealVectorEnv]


def test_it_masks_what_needs_what_an_episode_lacks(make_vec: MakeVec) -> None:
    plain, dropped = make_vec(8), make_vec(8, feature_dropout=0.5)
    expected, _ = plain.reset(seed=1)
    observations, _ = dropped.reset(seed=1)
    lacking = dropped.episodes.dropout.lacking
    assert lacking.any(0).all()
    assert not lacking.all(0).any()
    for row, mine, theirs in zip(lacking, split_layers(observations), split_layers(expected), strict=True):
        masked = features_of(*(source for source, lacks in zip(SOURCES, row, strict=True) if lacks))
        np.testing.assert_array_equal(mine[:, ~masked], theirs[:, ~masked])
        assert (mine[:, masked & features_of("loss", "validation")] == 0).all()


def test_an_episode_lacks_the_same_from_start_to_end_and_state_brings_it_back(make_vec: MakeVec) -> None:
    venv = make_vec(4, feature_dropout=0.5)
    venv.reset(seed=1)
    state, lacking = venv.get_state(), venv.episodes.dropout.lacking.copy()
    venv.step(venv.action_space.sample())
    np.testing.assert_array_equal(venv.episodes.dropout.lacking, lacking)
    venv.reset(seed=2)
    assert (venv.episodes.dropout.lacking != lacking).any()
    venv.set_state(state)
    np.testing.assert_array_equal(venv.episodes.dropout.lacking, lacking)


def test_common_random_numbers_lack_the_same() -> None:
    dropout = FeatureDropout(0.5, 4)
    rngs = [np.random.default_rng(seed) for seed in range(4)]
    dropout.start(rngs, [0, 1, 3], common=True)
    assert (dropout.lacking[[0, 1, 3]] == dropout.lacking[0]).all()
    assert not dropout.lacking[2].any()


def test_nothing_is_drawn_and_evaluation_masks_nothing(tiny: str) -> None:
    rng = np.random.default_rng(0)
    FeatureDropout(0.0, 1).start([rng], [0], common=False)
    assert rng.random() == np.random.default_rng(0).random()
    (run,) = check_runs({"mine": policy("sgd")}, [tiny], EnvConfig(**{**TINY, "feature_dropout": 0.5}))
    assert run.config.feature_dropout == 0


def test_what_asg_observes_has_no_sources() -> None:
    with pytest.raises(ConfigError, match="observation is 'asg'"):
        EnvConfig(feature_dropout=0.1, observation="asg")
