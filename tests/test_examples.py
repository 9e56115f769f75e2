"""The environment in the hands of others: each example runs, where its package is at hand."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[1]


def _example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("tiny")
def test_cleanrls_way_of_ppo_learns_on_the_population() -> None:
    example = _example("cleanrl_ppo")
    args = example.Args(pairs="tiny", budget=12, window=3, num_envs=8, updates=12, learning_rate=1e-2)
    returns = example.main(args)
    assert len(returns) == 12
    assert np.isfinite(returns).all()
    assert np.mean(returns[-3:]) > np.mean(returns[:3])


@pytest.mark.usefixtures("tiny")
def test_torchrl_accepts_the_specs() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of other packages
        pytest.importorskip("torchrl")
        rollout = _example("torchrl_env").main(pairs="tiny", budget=7, window=3)
    assert rollout["next", "done"].flatten().tolist() == [False, False, True]
    assert rollout["observation"].shape[0] == 3
    value = rollout["next", "reward"].sum().item()
    assert np.isfinite(value) and value != 0


ZOO = {
    "a2c": "stable_baselines3:A2C", "ars": "sb3_contrib:ARS", "crossq": "sb3_contrib:CrossQ",
    "ddpg": "stable_baselines3:DDPG", "ppo": "stable_baselines3:PPO", "ppo_lstm": "sb3_contrib:RecurrentPPO",
    "sac": "stable_baselines3:SAC", "td3": "stable_baselines3:TD3", "tqc": "sb3_contrib:TQC",
    "trpo": "sb3_contrib:TRPO",
}  # fmt: skip
"""RL Zoo's algorithms that have a file, by its names."""
CHOICES = {"a2c", "ppo", "ppo_lstm", "trpo"}
"""Those that take a discrete choice for each layer group, as on ASG-v0."""


@pytest.mark.parametrize("name", ZOO)
def test_rl_zoos_hyper_parameters_make_its_algorithm_on_each_id(name: str, tiny: str) -> None:
    pytest.importorskip("sb3_contrib")
    content = yaml.safe_load((ROOT / "examples" / "rl_zoo" / f"{name}.yml").read_text(encoding="utf-8"))
    ids = {"l2o_env/Syn2Real-v0"} | ({"l2o_env/ASG-v0"} if name in CHOICES else set())
    assert content.keys() == ids
    module, _, kind = ZOO[name].partition(":")
    for env_id, settings in content.items():
        own = {key: settings.pop(key) for key in ("normalize", "n_envs", "n_timesteps", "policy")}
        for key in ("noise_type", "noise_std"):
            settings.pop(key, None)
        settings["policy_kwargs"] = eval(settings.get("policy_kwargs", "{}"))
        assert set(eval(own["normalize"])) <= {"norm_obs", "norm_reward", "gamma"}
        env = gym.make(env_id, pairs=tiny, budget=60, window=3, batch_size=8)
        model = getattr(importlib.import_module(module), kind)(own["policy"], env, device="cpu", **settings)
        action, _ = model.predict(env.reset(seed=0)[0])
        assert env.action_space.contains(action)


def test_rl_zoo_has_a_file_for_each_algorithm_that_goes_with_the_environment() -> None:
    files = {path.stem for path in (ROOT / "examples" / "rl_zoo").glob("*.yml")}
    assert files == set(ZOO)
    if importlib.util.find_spec("rl_zoo3") is not None:
        from rl_zoo3.utils import ALGOS

        assert set(ALGOS) == files | {"dqn", "qrdqn"}  # they take one choice, not one for each layer group


@pytest.mark.usefixtures("tiny")
def test_the_comparison_has_intervals_over_training_seeds_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sb3_contrib")
    example = _example("compare_algorithms")
    settings = {"pairs": ("tiny",), "eval_pairs": ("tiny",), "seeds": 2, "episodes": 12, "num_envs": 4, "eval_seeds": 2}
    args = example.Args(out=tmp_path, algos=("ppo", "dqn"), budget=4, window=2, device="cpu", **settings)
    table = example.main(args)
    assert sorted(table["algorithm"]) == ["best-constant", "dqn", "ppo", "random"]
    rows = pd.read_csv(tmp_path / "results.csv")
    ppo = table.set_index("algorithm").loc["ppo"]
    means = [rows[rows["policy"] == f"ppo-{k}"]["v_end"].mean() for k in range(2)]
    assert ppo["v_end"] == pytest.approx(np.mean(means))
    assert ppo["v_end_ci"] == pytest.approx(12.7062 * np.std(means, ddof=1) / np.sqrt(2), rel=1e-4)
    assert (ppo["n"], ppo["updates"]) == (2, 48)
    printed = capsys.readouterr().out
    assert "| tiny | ppo | 2 training seeds | 48 |" in printed
    written = (tmp_path / "policies" / "ppo-1" / "policy.safetensors").stat().st_mtime_ns
    pd.testing.assert_frame_equal(example.main(args), table)
    assert (tmp_path / "policies" / "ppo-1" / "policy.safetensors").stat().st_mtime_ns == written
