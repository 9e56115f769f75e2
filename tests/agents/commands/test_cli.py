"""The command line: the main job on the tiny pair, interruptions, bad input."""

from __future__ import annotations

import errno
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import agents
import train_policy
from agents.algorithms.table import ALGORITHMS
from agents.commands.train import episodes_of
from agents.reinforce.agent import Reinforce
from l2o_env import pairs
from l2o_env.errors import ConfigError
from l2o_env.evaluation.evaluate import COLUMNS
from l2o_env.evaluation.rollout import episode_seeds, run_episodes
from l2o_env.results.event_log import TensorBoardLog, read_scalars
from l2o_env.results.record import StepRecorder
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.tiny import TinyNet, register_tiny_deep, tiny_pair

OPPONENTS = ["best-constant", "best-schedule", "tuned-per-layer", "uniform", "asg-sgd", "frozen-backbone"]


OPTIONS = (
    "out", "seed", "algo", "hp", "hp-file", "checkpoints", "pairs",
    "num-envs", "budget", "window", "action", "reward", "guidance", "episodes", "device", "env"
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _two_pairs(tinies: tuple[str, str]) -> None:
    """Registers ``tiny`` and ``tiny-4``."""


def _train(out: Path, *more: str) -> int:
    settings = "--quick --budget 4 --window 2 --episodes 12 --num-envs 4 --eval-seeds 3 --device cpu"
    names = "--pairs tiny --eval-pairs tiny tiny-4"
    return train_policy.main(["train", "--out", str(out), *settings.split(), *names.split(), *more])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    out = tmp_path_factory.mktemp("runs") / "a"
    assert _train(out) == 0
    return out


def test_a_run_leaves_a_whole_folder(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names == {
        "config.json", "policy", "events", "actions.parquet", "results.csv", "results.json", "actions.png",
        "learning_curve.png", "checkpoints", "policy-best",
    }  # fmt: skip
    config = json.loads((run / "config.json").read_text())
    assert config["environment"]["pairs"] == ["tiny"]
    assert (config["episodes"], config["tuning_episodes"], config["environment"]["window"]) == (12, 12, 2)


def test_everyone_is_evaluated_on_every_pair_and_seed(run: Path) -> None:
    frame = pd.read_csv(run / "results.csv")
    assert tuple(frame.columns) == COLUMNS
    assert frame["policy"].unique().tolist() == ["reinforce", *OPPONENTS]
    assert frame.groupby(["policy", "pair"])["seed"].nunique().tolist() == [3] * 14
    results = json.loads((run / "results.json").read_text())
    assert (results["status"], results["trained_episodes"]) == ("finished", 12)
    assert set(results["tuned"]) == {"tiny", "tiny-4"}
    assert results["updates"]["training"] == 12 * 4
    mean = frame[(frame["policy"] == "reinforce") & (frame["pair"] == "tiny")]["v_end"].mean()
    assert results["summary"][0]["v_end"] == pytest.approx(mean)
    rows = pd.read_parquet(run / "actions.parquet")
    assert len(rows) == 14 * 3 * 2 * 3  # policies x pairs, seeds, steps, layers
    best = results["tuned"]["tiny"]["best-constant"]["rate"]
    recorded = rows[(rows["policy"] == "best-constant") & (rows["pair"] == "tiny")]["lr"]
    np.testing.assert_allclose(recorded, best)


def test_the_saved_policy_does_what_was_recorded(run: Path) -> None:
    rows = pd.read_parquet(run / "actions.parquet")
    rows = rows[(rows["policy"] == "reinforce") & (rows["pair"] == "tiny") & (rows["step"] == 1)]
    seeds = [int(seed) for seed in rows["seed"].unique()]
    venv = Syn2RealVectorEnv(len(seeds), pairs="tiny", budget=4, window=2)
    observations, _ = venv.reset(seed=seeds)
    actions, _ = Reinforce.load(run / "policy").act(observations, None, deterministic=True)
    _, _, _, _, info = venv.step(actions)
    np.testing.assert_allclose(info["lr"].reshape(-1), rows["lr"], rtol=1e-5)


def test_the_best_checkpoint_is_chosen_on_the_training_pairs(run: Path) -> None:
    selection = json.loads((run / "results.json").read_text())["selection"]
    assert [entry["episodes"] for entry in selection["checkpoints"]] == [8, 12]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["000008", "000012"]
    venv = Syn2RealVectorEnv(3, pairs="tiny", budget=4, window=2)
    for entry in selection["checkpoints"]:
        agent = agents.load(run / "checkpoints" / f"{entry['episodes']:06d}")
        found = run_episodes(venv, agent, seeds=episode_seeds(0, "selection", 3))
        assert entry["value"] == pytest.approx(found.v_end.mean())
    best = max(selection["checkpoints"], key=lambda entry: entry["value"])
    assert selection["best"] == best
    chosen = (run / "checkpoints" / f"{best['episodes']:06d}" / "policy.safetensors").read_bytes()
    assert (run / "policy-best" / "policy.safetensors").read_bytes() == chosen
    assert agents.trained_on(run) == ("tiny",)


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name != "reinforce"])
def test_every_algorithm_leaves_the_same_folder(
    name: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for plot in ("plot_actions", "plot_learning_curve"):  # tested elsewhere, and slow
        monkeypatch.setattr(
            f"agents.commands.train.{plot}", lambda data, path, **more: Image.new("RGB", (2, 2)).save(path)
        )
    few = "--episodes 4 --num-envs 2 --eval-seeds 1 --checkpoints 1 --eval-pairs tiny --tuning-episodes 0"
    assert _train(tmp_path / "run", *few.split(), "--algo", name, "--action", ALGORITHMS[name].forms[0]) == 0
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in run.iterdir()}
    agent = agents.load(tmp_path / "run", "best")
    assert agent.name == name
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    # ASG's form clips no gradients: an optimizee that diverges starts again, and its updates count too.
    expected = 18 if name == "asg" else 16
    assert (results["trained_episodes"], results["updates"]) == (4, {"training": expected, "selection": 4})
    assert results["summary"][0]["policy"] == name
    logged = EventAccumulator(str(tmp_path / "run" / "events")).Reload()
    assert {"rollout/ep_rew_mean", "time/time_elapsed", "time/total_timesteps"} <= set(logged.Tags()["scalars"])
    assert [point.step for point in logged.Scalars("rollout/ep_rew_mean")] == [2, 4]


def test_settings_come_from_file_and_command_line(tmp_path: Path) -> None:
    (tmp_path / "hp.yaml").write_text("gamma: 0.5\nn_epochs: 3\n")
    more = f"--algo ppo --hp-file {tmp_path / 'hp.yaml'} --hp gamma=0.7 --hp net_arch=8 --checkpoints 0"
    more += " --env batch_size=6 --env kl_weight=10"
    few = "--episodes 4 --num-envs 4 --eval-seeds 1 --eval-pairs tiny"
    assert _train(tmp_path / "run", *few.split(), *more.split()) == 0
    found = json.loads((tmp_path / "run" / "config.json").read_text())
    config, env = found["algorithm"], found["environment"]
    assert (config["name"], config["gamma"], config["n_epochs"], config["net_arch"]) == ("ppo", 0.7, 3, [8])
    assert (env["batch_size"], env["kl_weight"], env["budget"]) == (6, 10.0, 4)
    assert not (tmp_path / "run" / "policy-best").exists()


def test_the_same_seed_gives_the_same_table(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _train(tmp_path / "b") == 0
    assert (tmp_path / "b" / "results.csv").read_bytes() == (run / "results.csv").read_bytes()
    printed = capsys.readouterr()
    assert "tiny-4" in printed.out
    assert "proxy accuracy kept" in printed.out
    assert "Training: 12/12 episodes, return" in printed.err


@pytest.mark.parametrize("name", ["reinforce", "ppo", "sac", "ars"])
def test_ctrl_c_while_training_leaves_the_policy_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    log = TensorBoardLog.__call__

    def interrupt(self: TensorBoardLog, record: dict[str, Any]) -> None:
        log(self, record)
        if record["episode"] == 8:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)  # a job in the background ignores the signal
    monkeypatch.setattr(TensorBoardLog, "__call__", interrupt)
    assert _train(tmp_path / "run", "--algo", name, "--checkpoints", "3") == 130
    assert agents.load(tmp_path / "run").episodes == 8  # type: ignore[attr-defined]
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"config.json", "policy", "events", "learning_curve.png", "checkpoints", "policy-best"}
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["000004"]
    assert "Interrupted" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_while_evaluating_keeps_the_finished_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = StepRecorder.__call__

    def interrupt(self: StepRecorder, policy: str, pair: str, *args: Any) -> None:
        if (policy, pair) == ("uniform", "tiny-4"):
            raise KeyboardInterrupt
        record(self, policy, pair, *args)

    monkeypatch.setattr(StepRecorder, "__call__", interrupt)
    assert _train(tmp_path / "run") == 130
    assert pd.read_csv(tmp_path / "run" / "results.csv")["pair"].unique().tolist() == ["tiny"]
    assert json.loads((tmp_path / "run" / "results.json").read_text())["status"] == "interrupted"
    rows = pd.read_parquet(tmp_path / "run" / "actions.parquet")
    assert set(rows[rows["pair"] == "tiny-4"]["policy"]) == {"reinforce", *OPPONENTS[:3]}
    assert (tmp_path / "run" / "actions.png").exists()


def test_a_disk_that_fills_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    assert _train(tmp_path / "run") == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: ")
    assert "results.csv could not be written: the disk is full" in told
    assert Reinforce.load(tmp_path / "run" / "policy").episodes == 12
    assert not list((tmp_path / "run").glob("*results*"))
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.parametrize("place", ["Syn2RealVectorEnv.reset", "Syn2RealVectorEnv.step"])
def test_a_run_that_fails_before_its_first_result_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    def failing(*args: object, **kwargs: object) -> None:
        raise ConfigError("it does not fit")

    with monkeypatch.context() as patch:
        patch.setattr(f"l2o_env.vector_env.{place}", failing)
        assert _train(tmp_path / "run") == 2
    assert capsys.readouterr().err.splitlines()[-1] == "error: it does not fit"
    assert list(tmp_path.iterdir()) == []


def test_a_policy_that_does_not_fit_an_evaluated_pair_is_told_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = register_tiny_deep()
    options = ["--hp", "per_layer_heads=true", "--eval-pairs", "tiny", deep]
    assert _train(tmp_path / "run", *options) == 2
    error = capsys.readouterr().err
    assert f"'reinforce' cannot run on the pair '{deep}'" in error and "Training" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", ["--guidance csg", "--guidance feature", "--reward target_oracle"])
def test_what_a_pair_lacks_is_told_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    if "bare" not in pairs.names():
        pairs.register("bare", lambda: replace(tiny_pair(name="bare"), target=None))
    monkeypatch.setattr(TinyNet, "feature_layer", None)
    assert _train(tmp_path / "run", *options.split(), "--eval-pairs", "bare", "--pairs", "bare") == 2
    error = capsys.readouterr().err
    assert "needs the last feature map" in error or "'bare' has no labelled target images" in error
    assert "Training" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("updates", "expected"),
    [
        (80, "2 episodes of 40"),
        (61, "2 episodes of up to 40"),
        (82, "2 episodes of up to 40, and parts of others"),
    ],
)
def test_updates_are_told_as_episodes(updates: int, expected: str) -> None:
    assert episodes_of(2, 40, updates) == expected
    assert episodes_of(1, 40, 40) == "1 episode of 40"


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
        ("--tuning-episodes 5", "--tuning-episodes is 5; expected an integer >= 12"),
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
    assert _train(tmp_path / "run", *options.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert told in error
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_that_is_in_use(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "results.csv").stat().st_mtime_ns
    assert _train(run) == 2
    assert "exists and is not empty; name another" in capsys.readouterr().err
    assert (run / "results.csv").stat().st_mtime_ns == before


def test_help_lists_the_commands_and_every_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as nothing:
        train_policy.main([])
    assert nothing.value.code == 0
    listed = capsys.readouterr().out
    assert all(command in listed for command in train_policy.COMMANDS)
    with pytest.raises(SystemExit):
        train_policy.main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for option in OPTIONS:
        assert f"--{option} " in text
    assert text.count("(default:") >= 14
    assert "(default: 640; --quick:" in text


def test_the_script_without_a_command_trains() -> None:
    assert train_policy.with_default_command([]) == ["train"]
    assert train_policy.with_default_command(["--seed", "3"]) == ["train", "--seed", "3"]
    assert train_policy.with_default_command(["audit", "tiny"]) == ["audit", "tiny"]


def test_tensorboard_shows_layers_pictures_and_settings_with_results(run: Path) -> None:
    events = EventAccumulator(str(run / "events"), size_guidance={"images": 0, "histograms": 0})
    events.Reload()
    tags = events.Tags()
    rates = events.Scalars("lr/layer1")
    assert [event.step for event in rates] == [4, 8, 12]
    assert all(1e-4 <= event.value <= 0.3 for event in rates)
    assert {"grad/task/head", "grad/guidance/stem", "drift/layer1"} <= set(tags["scalars"])
    assert {"log10_lr/stem", "log10_lr/head"} <= set(tags["histograms"])
    assert {"pictures/actions", "pictures/learning_curve"} <= set(tags["images"])
    frame = pd.read_csv(run / "results.csv")
    accuracy = frame[frame["policy"] == "reinforce"].groupby("pair")["real_accuracy"].mean().mean()
    assert events.Scalars("hparam/real_accuracy")[0].value == pytest.approx(accuracy)
    rows = pd.read_parquet(run / "actions.parquet")
    mine = rows[(rows["policy"] == "reinforce") & (rows["pair"] == "tiny-4")]
    found = read_scalars(run / "events" / "evaluation" / "tiny-4")
    for tag, column in (("entropy/head", "entropy"), ("grad/guidance/stem", "guidance_rms")):
        layer = mine[mine["layer"] == tag.rsplit("/", 1)[1]]
        expected = layer.groupby("updates")[column].mean()
        assert [step for step, _ in found[tag]] == [2, 4]
        np.testing.assert_allclose([value for _, value in found[tag]], expected, rtol=1e-6)
