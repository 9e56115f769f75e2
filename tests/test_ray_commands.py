"""Commands on Ray, on three nodes of this machine: the same files as in one process, also if they are killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import train_policy
from l2o_env.inner.ray_worker import ray_workers
from tests.agents.commands.jobs import run_folder, train
from tests.agents.commands.test_resume import assert_same
from tests.ray_machines import Machines
from tests.ray_machines import machines as machines  # the fixture
from tests.test_examples import _example

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.filterwarnings("default")  # of Ray's own
ROOT = Path(__file__).parents[1]


def test_a_training_on_ray_ends_as_one_in_one_process(machines: Machines, tiny: str, tmp_path: Path) -> None:
    options = ("--env", "implementation=looped", "--checkpoints", "1")
    handler = signal.getsignal(signal.SIGTERM)
    for name, more in (("here", ()), ("ray", ("--workers", "2", "--ray", machines.address))):
        assert train(tmp_path / name, *options, *more) == 0
    assert signal.getsignal(signal.SIGTERM) is handler
    for name in ("results.csv", "policy/policy.safetensors"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    pd.testing.assert_frame_equal(*(pd.read_parquet(tmp_path / run / "actions.parquet") for run in ("here", "ray")))


_KILLED = """
import importlib, os, signal, sys
import train_policy
from tests.tiny import register_tinies

module, owner, method, *arguments = sys.argv[1:]
owner, calls = getattr(importlib.import_module(module), owner), []
original = getattr(owner, method)

def killed(*args):
    original(*args)
    calls.append(args)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, method, killed)
register_tinies()
train_policy.main(arguments)
"""
"""A command that is killed after the second call of a method."""


def _killed_command(module: str, owner: str, method: str, arguments: list[str]) -> None:
    command = [sys.executable, "-c", _KILLED, module, owner, method, *arguments]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == -signal.SIGKILL


def test_a_training_whose_command_is_killed_goes_on(
    machines: Machines, tinies: tuple[str, str], tmp_path: Path
) -> None:
    settings = "--quick --budget 4 --window 2 --episodes 12 --num-envs 4 --eval-seeds 3 --device cpu --checkpoints 3 "
    settings += f"--save-every 0 --pairs tiny --eval-pairs tiny tiny-4 --workers 2 --ray {machines.address} --out "
    assert train_policy.main(["train", *settings.split(), str(tmp_path / "whole")]) == 0
    ray_workers(machines.address, 1, 0.0).stop()
    arguments = ["train", *settings.split(), str(tmp_path / "killed")]
    _killed_command("agents.commands.training_state", "TrainingStates", "save", arguments)
    assert train_policy.main(["train", "--resume", str(tmp_path / "killed"), "--ray", machines.address]) == 0
    assert_same(tmp_path / "killed", tmp_path / "whole")


def test_an_evaluation_whose_command_is_killed_goes_on(
    machines: Machines, tinies: tuple[str, str], tmp_path: Path
) -> None:
    ray_workers(machines.address, 1, 0.0).stop()
    run = run_folder(tmp_path / "a")
    command = f"evaluate {run} --pairs tiny tiny-4 --seeds 2 --opponents asg-sgd --tuning-episodes 0 --device cpu"
    for name in ("whole", "killed"):
        arguments = [*command.split(), "--ray", machines.address, "--out", str(tmp_path / name)]
        if name == "killed":
            _killed_command("l2o_env.evaluation.parts", "Store", "write", arguments)
            assert len(list((tmp_path / "killed" / "parts").glob("*.actions.parquet"))) >= 2
        assert train_policy.main(arguments) == 0
    frames = [pd.read_parquet(tmp_path / name / "results.parquet") for name in ("whole", "killed")]
    pd.testing.assert_frame_equal(*(frame.drop(columns="wall_time") for frame in frames))
    pd.testing.assert_frame_equal(
        *(pd.read_parquet(tmp_path / name / "actions.parquet") for name in ("whole", "killed"))
    )


def test_an_evaluation_is_the_same_by_tasks(machines: Machines, tinies: tuple[str, str], tmp_path: Path) -> None:
    run = run_folder(tmp_path / "a")
    command = f"evaluate {run} --pairs tiny tiny-4 --seeds 2 --opponents asg-sgd --tuning-episodes 12 --tuned uniform"
    for name, more in (("here", []), ("ray", ["--ray", machines.address])):
        assert train_policy.main([*command.split(), "--device", "cpu", "--out", str(tmp_path / name), *more]) == 0
    frames = [pd.read_parquet(tmp_path / name / "results.parquet") for name in ("here", "ray")]
    pd.testing.assert_frame_equal(*(frame.drop(columns="wall_time") for frame in frames))
    pd.testing.assert_frame_equal(*(pd.read_parquet(tmp_path / name / "actions.parquet") for name in ("here", "ray")))


@pytest.mark.parametrize(
    ("command", "table"),
    [
        ("table tiny --seeds 2 --rows 1 4 --budget 4 --window 2 --episodes 4", "table.csv"),
        (
            "table tiny --adaptation --seeds 2 --starts proxy asg --methods cbst mcd --learned --budget 4 --window 2 "
            "--episodes 4 --hp rounds=2 --hp updates=2 --hp batch_size=8",
            "adaptation.csv",
        ),
        ("audit tiny tiny-4 --runs 8 --env budget=4 --env window=2", "audit.csv"),
    ],
)
def test_tables_are_the_same_by_tasks(
    machines: Machines, tinies: tuple[str, str], tmp_path: Path, command: str, table: str
) -> None:
    for name, more in (("here", []), ("ray", ["--ray", machines.address])):
        assert train_policy.main([*command.split(), "--device", "cpu", "--out", str(tmp_path / name), *more]) == 0
    assert (tmp_path / "ray" / table).read_bytes() == (tmp_path / "here" / table).read_bytes()


def test_a_sweep_runs_on_the_same_cells(machines: Machines, tiny: str, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    example = _example("sweep")
    ray.cloudpickle.register_pickle_by_value(example)  # as a script's functions are
    args = example.Args(tmp_path / "log", trials=2, parallel=2, pairs=("tiny",), seeds=2, budget=4, window=2)
    whole = example.main(replace(args, trials=3))
    example.main(replace(args, out=tmp_path / "ray", ray=machines.address))
    study = example.main(replace(args, out=tmp_path / "ray", trials=3))  # goes on
    assert [trial.value for trial in study.trials[:2]] == [trial.value for trial in whole.trials[:2]]
    assert len(study.trials) == 3


def test_algorithms_are_trained_by_tasks(machines: Machines, tiny: str, tmp_path: Path) -> None:
    example = _example("compare_algorithms")
    ray.cloudpickle.register_pickle_by_value(example)
    args = example.Args(algos=("reinforce",), pairs=("tiny",), eval_pairs=("tiny",), seeds=1, episodes=12, num_envs=4,
                        eval_seeds=2, budget=4, window=2, device="cpu")  # fmt: skip
    tables = [
        example.main(replace(args, out=tmp_path / name, ray=address))
        for name, address in (("here", None), ("ray", machines.address))
    ]
    pd.testing.assert_frame_equal(*tables)
