"""The environment in the hands of others: each example runs, where its package is at hand."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

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


def test_rl_zoo_trains_by_the_id(tmp_path: Path) -> None:
    if importlib.util.find_spec("rl_zoo3") is None:
        pytest.skip("rl_zoo3 is not installed")
    command = [
        sys.executable, "-c", "import tests.tiny as t; t.register_tinies(); from rl_zoo3.train import train; train()",
        "--algo", "ppo", "--env", "l2o_env/Syn2Real-v0", "--gym-packages", "l2o_env",
        "--conf-file", str(ROOT / "examples" / "rl_zoo.yml"), "--log-folder", str(tmp_path), "-n", "40",
        "--env-kwargs", "pairs:'tiny'", "budget:60", "window:3", "batch_size:8", "--eval-freq", "-1",
    ]  # fmt: skip
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert list(tmp_path.glob("ppo/l2o_env-Syn2Real-v0_1/l2o_env-Syn2Real-v0.zip"))


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
