"""Options of ``l2o train``: where settings come from, bad ones told in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.agents.commands.jobs import train


@pytest.fixture(scope="module", autouse=True)
def _two_pairs(tinies: tuple[str, str]) -> None:
    """Registers ``tiny`` and ``tiny-4``."""


def test_settings_come_from_file_and_command_line(tmp_path: Path) -> None:
    pytest.importorskip("sb3_contrib")
    (tmp_path / "hp.yaml").write_text("gamma: 0.5\nn_epochs: 3\n")
    more = f"--algo ppo --hp-file {tmp_path / 'hp.yaml'} --hp gamma=0.7 --hp net_arch=8 --checkpoints 0"
    more += " --env batch_size=6 --env kl_weight=10"
    few = "--episodes 4 --num-envs 4 --eval-seeds 1 --eval-pairs tiny"
    assert train(tmp_path / "run", *few.split(), *more.split()) == 0
    found = json.loads((tmp_path / "run" / "config.json").read_text())
    config, env = found["algorithm"], found["environment"]
    assert (config["name"], config["gamma"], config["n_epochs"], config["net_arch"]) == ("ppo", 0.7, 3, [8])
    assert (env["batch_size"], env["kl_weight"], env["budget"]) == (6, 10.0, 4)
    assert not (tmp_path / "run" / "policy-best").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--algo reinforced", "Unknown algorithm 'reinforced'. Did you mean 'reinforce'?"),
        ("--algo sac --action discrete", "log+guidance; 'discrete' goes with reinforce, asg, ppo"),
        ("--algo dqn", "'dqn' takes the forms discrete; 'log' goes with reinforce, ppo"),
        ("--hp gama=1", "Unknown hyper-parameter of reinforce 'gama'. Did you mean 'gamma'?"),
        ("--hp gamma=high", "gamma is 'high'; expected a number."),
        ("--hp gamma", "Got the hyper-parameter 'gamma'; expected name=value"),
        ("--env batchsize=6", "Unknown setting of the environment 'batchsize'. Did you mean 'batch_size'?"),
        ("--env batch_size=1.5", "batch_size is '1.5'; expected an integer."),
        ("--env batch_size", "Got the setting 'batch_size'; expected name=value, such as batch_size=16."),
        ("--env budget=6", "--env sets budget, which this command has options of its own for"),
        ("--hp-file none.yaml", "The file of hyper-parameters none.yaml cannot be read: No such file"),
        ("--tuning-episodes 5", "5 episodes are too few to tune 'adamw-cosine'; give at least 8"),
        ("--tuned adam", "Unknown search for a tuned opponent 'adam'"),
        ("--checkpoints -1", "--checkpoints is -1; expected"),
        ("--pairs tinny", "Unknown pair 'tinny'. Did you mean 'tiny'?"),
        ("--eval-pairs tinny", "Unknown pair 'tinny'. Did you mean 'tiny'?"),
        ("--reward proxy", "Unknown reward 'proxy'. Did you mean 'proxy_guided'?"),
        ("--action lag", "Unknown action form 'lag'. Did you mean 'log'?"),
        ("--guidance kk", "Unknown guidance 'kk'. Did you mean 'kl'?"),
        ("--guidance-weight -1", "guidance_weight is -1.0; expected a finite number >= 0"),
        ("--window 5", "window 5 is larger than the budget of 4 updates"),
        ("--num-envs 0", "--num-envs is 0; expected an integer >= 1"),
        ("--episodes 0", "--episodes is 0; expected"),
        ("--eval-seeds 0", "--eval-seeds is 0; expected"),
        ("--seed -1", "--seed is -1; expected"),
        ("--device quantum", "Device 'quantum' is not there"),
        ("--full", "--quick and --full exclude each other"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, told: str
) -> None:
    assert train(tmp_path / "run", *options.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert told in error
    assert list(tmp_path.iterdir()) == []
