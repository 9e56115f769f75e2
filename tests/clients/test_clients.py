"""Every script of docs/clients.md runs, where its library is installed."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml
from gymnasium.vector import VectorEnv

from l2o_env.asg import ASGVectorEnv
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.clients.scripts import ROOT, STAND_IN, blocks, run, run_script

FINDS = {
    "Stable-Baselines3": ("stable_baselines3", r"actions of the saved policy: \[\["),
    "sb3-contrib": ("sb3_contrib", r"CrossQ has learned"),
    "TorchRL": ("torchrl", r"(mean reward: -?\d+\.\d+\s+){2}"),
    "skrl": ("skrl", r"trained on 1\s+(?s:.*)trained on 4"),
    "Tianshou": ("tianshou", r"best return: -?\d+\.\d+"),
    "Optuna": ("optuna", r"best: \{'noise_std': 0\.\d+\}"),
    "DACBench": ("dacbench", r"StaticAgent mean last reward: -?\d(?s:.*)RandomAgent mean last reward: -?\d"),
    "Weights & Biases": ("wandb", r"sent: \d\d+ charts"),
    "The released ASG": ("torch", r"factors of the base rate: \[[01]\.\d* "),
}
"""The module of each client, and what its script prints."""


@pytest.mark.parametrize("client", FINDS)
def test_the_script_runs_as_it_is(client: str, tmp_path: Path) -> None:
    module, printed = FINDS[client]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    assert re.search(printed, run_script(client, tmp_path))


def test_gymnasiums_class_is_a_direct_base() -> None:
    """Clients such as skrl look one class up."""
    for kind in (Syn2RealVectorEnv, ASGVectorEnv):
        assert VectorEnv in kind.__bases__


@pytest.mark.parametrize("file", sorted((ROOT / "examples" / "rl_zoo").glob("*.yml")), ids=lambda file: file.stem)
def test_rl_zoo_trains_with_each_file(file: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("rl_zoo3") is None:
        pytest.skip("rl_zoo3 is not installed")
    train = f"{STAND_IN}import runpy; runpy.run_module('rl_zoo3.train', run_name='__main__')"
    for env_id in yaml.safe_load(file.read_text(encoding="utf-8")):
        options = f"--algo {file.stem} --env {env_id} --gym-packages l2o_env --conf-file {file} --eval-freq -1 -n 64"
        settings = ["--env-kwargs", "budget:60", "window:3", "batch_size:8"]
        run([sys.executable, "-c", train, *options.split(), *settings], tmp_path)
        name = env_id.replace("/", "-")
        assert (tmp_path / "logs" / file.stem / f"{name}_1" / f"{name}.zip").is_file()


def test_rl_zoo_trains_searches_and_films(tmp_path: Path) -> None:
    if importlib.util.find_spec("rl_zoo3") is None:
        pytest.skip("rl_zoo3 is not installed")
    (text,) = blocks("RL Zoo", "sh")
    train, search, film = (shlex.split(line) for line in text.replace("\\\n", " ").splitlines())
    as_module = f"{STAND_IN}import runpy; runpy.run_module('rl_zoo3.train', run_name='__main__')"
    assert train[:3] == search[:3] == ["python", "-m", "rl_zoo3.train"] and film[:2] == ["python", "-c"]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    short = ["-n", "40", "--eval-freq", "20", "--eval-episodes", "1", "--n-eval-envs", "1"]
    run([sys.executable, "-c", as_module, *train[3:], *short], tmp_path)
    folder = tmp_path / "logs" / "ppo" / "l2o_env-Syn2Real-v0_1"
    assert (folder / "l2o_env-Syn2Real-v0.zip").is_file()
    few = ["--n-trials", "1", "--n-evaluations", "1", *short]
    run([sys.executable, "-c", as_module, *search[3:], *few], tmp_path)
    assert list((tmp_path / "logs" / "ppo").glob("report_*.csv"))
    run([sys.executable, "-c", STAND_IN + film[2], *film[3:], "-n", "4"], tmp_path)
    assert list(folder.glob("videos/*.mp4"))


def _anchor(heading: str) -> str:
    """What GitHub makes of it."""
    return heading.lower().replace("&", "").replace(" ", "-")


def test_every_client_of_the_table_has_its_section() -> None:
    text = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| \[[^]]+\]\(#([\w-]+)\)", text, flags=re.MULTILINE)
    headings = [_anchor(name) for name in re.findall(r"^## (.+)$", text, flags=re.MULTILINE)]
    assert named == headings
    assert {_anchor(name) for name in FINDS} | {"rl-zoo", "cleanrl"} == set(headings)
