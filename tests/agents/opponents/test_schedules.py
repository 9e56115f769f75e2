"""Hand-made opponents: shapes, profiles, saving and loading, against numbers computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.base import Agent
from agents.opponents import PerLayer, RandomRates, Schedule, default_opponents, load, shapes
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.observation import FEATURE_NAMES, N_FEATURES


def _observations(progress: list[float], n_layers: int = 3) -> np.ndarray:
    layers = np.zeros((len(progress), n_layers, N_FEATURES), np.float32)
    layers[:, :, FEATURE_NAMES.index("progress")] = np.array(progress)[:, None]
    return layers.reshape(len(progress), -1)


def _rates(agent: Any, progress: list[float], n_layers: int = 3) -> np.ndarray:
    return np.asarray(agent.act(_observations(progress, n_layers), None, True)[0])


def test_warmup_poly_is_the_formula_of_asg() -> None:
    p = np.array([0.0, 0.05, 0.1, 0.5, 0.9, 1.0])
    expected = [0.01, (0.01 + 0.99 * 0.25) * 0.95**0.9, 0.9**0.9, 0.5**0.9, 0.2**0.9, 0.2**0.9]
    np.testing.assert_allclose(shapes.warmup_poly(p, 0.1), expected)


def test_warmup_cosine_rises_to_one_and_falls_to_zero() -> None:
    p = np.array([0.0, 0.05, 0.1, 0.55, 1.0])
    np.testing.assert_allclose(shapes.warmup_cosine(p, 0.1), [0, 0.5, 1, 0.5, 0], atol=1e-12)


def test_a_shape_is_read_at_the_middle_of_the_coming_window() -> None:
    agent = Schedule("s", 0.1, "uniform", "warmup_cosine", window_share=0.1)
    expected = 0.1 * shapes.warmup_cosine(np.array([0.05, 0.55]), shapes.WARMUP)
    np.testing.assert_allclose(_rates(agent, [0.0, 0.5]), np.repeat(expected[:, None], 3, axis=1))


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("uniform", [1, 1, 1]),
        ("tenth_backbone", [0.1, 0.1, 1]),
        ("small_backbone", [0.03, 0.03, 1]),
        ("discriminative", [1 / 2.6**2, 1 / 2.6, 1]),
        ("head_only", [0, 0, 1]),
    ],
)
def test_profiles_over_layers(profile: Any, expected: list[float]) -> None:
    agent = Schedule("s", 0.2, profile, "constant")
    np.testing.assert_allclose(_rates(agent, [0.0, 0.7]), 0.2 * np.array([expected, expected]))


def test_rates_per_layer_are_the_given_ones() -> None:
    agent = PerLayer("p", (0.001, 0.01, 0.1))
    np.testing.assert_allclose(_rates(agent, [0.3]), [[0.001, 0.01, 0.1]])


def test_random_rates_stay_within_their_limits_and_follow_their_seed() -> None:
    first, again, other = (_rates(RandomRates("r", 1e-4, 0.3, seed), [0.0] * 200) for seed in (0, 0, 1))
    assert first.min() >= 1e-4
    assert first.max() <= 0.3
    assert abs(np.log10(first).mean() - (np.log10(1e-4) + np.log10(0.3)) / 2) < 0.15
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_opponent_is_an_agent_that_survives_saving(tmp_path: Path) -> None:
    opponents = default_opponents(EnvConfig(), seed=3)
    assert set(opponents) == {
        "uniform", "small-backbone", "asg-sgd", "cosine", "discriminative", "frozen-backbone", "random-init", "random",
    }  # fmt: skip
    for name, agent in opponents.items():
        assert isinstance(agent, Agent)
        assert (agent.name, agent.output) == (name, "rates")
        agent.save(tmp_path / name)
        loaded = load(tmp_path / name)
        fresh = default_opponents(EnvConfig(), seed=3)[name]
        np.testing.assert_array_equal(_rates(loaded, [0.0, 0.4]), _rates(fresh, [0.0, 0.4]))
    assert getattr(opponents["random-init"], "config_overrides", {}) == {"random_init": True}


def test_predict_takes_one_observation_or_a_batch() -> None:
    agent = Schedule("s", 0.2)
    batch, _ = agent.predict(_observations([0.0, 0.5]))
    single, _ = agent.predict(_observations([0.0])[0])
    np.testing.assert_array_equal(batch, np.full((2, 3), 0.2))
    np.testing.assert_array_equal(single, np.full(3, 0.2))


class _Counter(Agent):
    """Counts the calls of each row, as an agent with a memory does."""

    def act(self, observations: np.ndarray, state: Any, deterministic: bool) -> tuple[np.ndarray, Any]:
        counts = (np.zeros(len(observations)) if state is None else state) + 1
        return counts[:, None], counts

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def forget(self, state: Any, rows: np.ndarray) -> Any:
        return np.where(rows, 0, state)


def test_predict_forgets_the_rows_whose_episode_begins() -> None:
    agent, batch = _Counter(), _observations([0.0, 0.5])
    _, state = agent.predict(batch)
    counts, state = agent.predict(batch, state, np.array([False, True]))
    assert counts.tolist() == [[2], [1]]
    counts, state = agent.predict(batch, state, np.array([False, False]))
    assert counts.tolist() == [[3], [2]]
    counts, _ = agent.predict(batch, state, np.array([True, True]))
    assert counts.tolist() == [[1], [1]]


def test_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rate"):
        Schedule("s", -0.1)
    with pytest.raises(ConfigError, match=r"holds no schedule\.json"):
        load(tmp_path)
    for text, message in (
        ("{", "is damaged"),
        ('{"agent": "Scedule"}', "Did you mean 'Schedule'"),
        ('{"agent": "Schedule", "speed": 1}', "does not describe a Schedule"),
    ):
        (tmp_path / "schedule.json").write_text(text)
        with pytest.raises(ConfigError, match=message):
            load(tmp_path)
    with pytest.raises(ConfigError, match="Unknown"):
        Schedule("s", 0.1, "uniform", "warmup_cosin")  # type: ignore[arg-type]
