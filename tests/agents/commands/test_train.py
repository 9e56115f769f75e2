"""``l2o train``: the main job on the tiny pair, and how it is interrupted."""

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
from agents.algorithms.registry import ALGORITHMS
from agents.commands.hyper_parameters import ALWAYS, hyper_parameters
from agents.commands.train_options import TrainArgs
from agents.commands.train_work import episodes_of
from agents.reinforce.agent import Reinforce
from l2o_env import pairs
from l2o_env.errors import ConfigError
from l2o_env.evaluation.evaluate import COLUMNS
from l2o_env.results.event_log import TensorBoardLog, read_scalars
from l2o_env.results.record import StepRecorder
from l2o_env.tasks import TASKS
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.agents.commands.jobs import FEW, OPPONENTS, train
from tests.tiny import TinyNet, register_tiny_deep, tiny_pair


@pytest.fixture(scope="module", autouse=True)
def _two_pairs(tinies: tuple[str, str]) -> None:
    """Registers ``tiny`` and ``tiny-4``."""


def test_a_run_leaves_a_whole_folder(finished_run: Path) -> None:
    names = {path.name for path in finished_run.iterdir()}
    assert names == {
        "config.json", "policy", "events", "actions.parquet", "results.csv", "results.json", "actions.png",
        "learning_curve.png", "checkpoints", "policy-best",
    }  # fmt: skip
    config = json.loads((finished_run / "config.json").read_text())
    assert config["environment"]["pairs"] == ["tiny"]
    assert (config["episodes"], config["tuning_episodes"], config["environment"]["window"]) == (12, 16, 2)


def test_a_policy_may_be_trained_on_tasks(
    tmp_path: Path, untrained: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(TASKS, "few", {"train": FEW})  # type: ignore[call-overload]
    options = "--action relative_update --checkpoints 1 --tuning-episodes 0"
    assert train(tmp_path / "run", "--tasks", "few", *options.split()) == 0
    told = capsys.readouterr()
    assert "Training reinforce on few tasks: 12 episodes × 4 to 6 updates, about 59." in told.err
    assert "(12 episodes of 4 to 6)" in told.out
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["trained_on"] == list(pairs.names("train"))
    assert config["environment"]["pairs"] == ["tiny"]
    scalars = read_scalars(tmp_path / "run" / "events")
    assert any(tag == "lr/layer3" for tag in scalars) and len(untrained) > 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert 12 * 4 <= results["updates"]["training"] <= 12 * 6


def test_tasks_need_an_agent_that_learns_on_any_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in (("--algo", "ppo"), ("--hp", "per_layer_heads=true")):
        assert train(tmp_path / "run", "--tasks", "wide", *options) == 2
        assert "networks of several depths" in " ".join(capsys.readouterr().err.split())
    assert train(tmp_path / "run", "--tasks", "wid") == 2
    assert "Did you mean 'wide'" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_everyone_is_evaluated_on_every_pair_and_seed(finished_run: Path) -> None:
    frame = pd.read_csv(finished_run / "results.csv")
    assert tuple(frame.columns) == COLUMNS
    assert frame["policy"].unique().tolist() == ["reinforce", *OPPONENTS]
    assert frame.groupby(["policy", "pair"])["seed"].nunique().tolist() == [3] * 10
    results = json.loads((finished_run / "results.json").read_text())
    assert (results["status"], results["trained_episodes"]) == ("finished", 12)
    assert set(results["tuned"]) == {"tiny", "tiny-4"}
    assert results["updates"]["training"] == 12 * 4
    mean = frame[(frame["policy"] == "reinforce") & (frame["pair"] == "tiny")]["v_end"].mean()
    assert results["summary"][0]["v_end"] == pytest.approx(mean)
    rows = pd.read_parquet(finished_run / "actions.parquet")
    assert len(rows) == 10 * 3 * 2 * 3  # policies x pairs, seeds, steps, layers
    best = results["tuned"]["tiny"]["tuned-adamw-cosine"]["rate"]
    recorded = rows[(rows["policy"] == "tuned-adamw-cosine") & (rows["pair"] == "tiny")]
    for step, progress in ((1, 0.25), (2, 0.75)):  # the middles of two windows
        cosine = (1 + np.cos(np.pi * progress)) / 2
        np.testing.assert_allclose(recorded[recorded["step"] == step]["lr"], best * cosine)


def test_the_saved_policy_does_what_was_recorded(finished_run: Path) -> None:
    rows = pd.read_parquet(finished_run / "actions.parquet")
    rows = rows[(rows["policy"] == "reinforce") & (rows["pair"] == "tiny") & (rows["step"] == 1)]
    seeds = [int(seed) for seed in rows["seed"].unique()]
    venv = Syn2RealVectorEnv(len(seeds), pairs="tiny", budget=4, window=2)
    observations, _ = venv.reset(seed=seeds)
    actions, _ = Reinforce.load(finished_run / "policy").act(observations, None, deterministic=True)
    _, _, _, _, info = venv.step(actions)
    np.testing.assert_allclose(info["lr"].reshape(-1), rows["lr"], rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name != "reinforce"])
def test_every_algorithm_leaves_the_same_folder(
    name: str, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ALGORITHMS[name].path:
        pytest.importorskip("sb3_contrib")
    for plot in ("plot_actions", "plot_learning_curve"):  # tested elsewhere, and slow
        monkeypatch.setattr(
            f"agents.commands.train.{plot}", lambda data, path, **more: Image.new("RGB", (2, 2)).save(path)
        )
    few = "--episodes 4 --num-envs 2 --eval-seeds 1 --checkpoints 1 --eval-pairs tiny --tuning-episodes 0"
    assert train(tmp_path / "run", *few.split(), "--algo", name, "--action", ALGORITHMS[name].forms[0]) == 0
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in finished_run.iterdir()}
    agent = agents.load(tmp_path / "run", "best")
    assert agent.name == name
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    # ASG's form clips no gradients: an optimizee that diverges starts again, and its updates count too.
    expected = 18 if name == "asg" else 16
    assert (results["trained_episodes"], results["updates"]) == (4, {"training": expected, "selection": 4})
    assert results["summary"][0]["policy"] == name
    logged = EventAccumulator(str(tmp_path / "run" / "events" / "training")).Reload()
    assert {"rollout/ep_rew_mean", "time/time_elapsed", "time/total_timesteps"} <= set(logged.Tags()["scalars"])
    assert [point.step for point in logged.Scalars("rollout/ep_rew_mean")] == [2, 4]


def test_the_same_seed_gives_the_same_table(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "b") == 0
    assert (tmp_path / "b" / "results.csv").read_bytes() == (finished_run / "results.csv").read_bytes()
    printed = capsys.readouterr()
    assert "tiny-4" in printed.out
    assert "proxy kept" in printed.out
    assert "1/5 Training reinforce: 12/12 episodes, return" in printed.err
    assert "12 episodes × 4 updates = 48 updates" in printed.err


def test_tensorboard_shows_layers_pictures_and_settings_with_results(finished_run: Path) -> None:
    events = EventAccumulator(str(finished_run / "events" / "training"), size_guidance={"images": 0, "histograms": 0})
    events.Reload()
    tags = events.Tags()
    rates = events.Scalars("lr/layer1")
    assert [event.step for event in rates] == [4, 8, 12]
    assert all(1e-4 <= event.value <= 0.3 for event in rates)
    assert {"grad/task/head", "grad/guidance/stem", "drift/layer1"} <= set(tags["scalars"])
    assert {"log10_lr/stem", "log10_lr/head"} <= set(tags["histograms"])
    assert {"pictures/actions", "pictures/learning_curve"} <= set(tags["images"])
    frame = pd.read_csv(finished_run / "results.csv")
    accuracy = frame[frame["policy"] == "reinforce"].groupby("pair")["real_accuracy"].mean().mean()
    assert events.Scalars("hparam/real_accuracy")[0].value == pytest.approx(accuracy)
    rows = pd.read_parquet(finished_run / "actions.parquet")
    mine = rows[(rows["policy"] == "reinforce") & (rows["pair"] == "tiny-4")]
    found = read_scalars(finished_run / "events" / "evaluation" / "tiny-4")
    for tag, column in (("entropy/head", "entropy"), ("grad/guidance/stem", "guidance_rms")):
        layer = mine[mine["layer"] == tag.rsplit("/", 1)[1]]
        expected = layer.groupby("updates")[column].mean()
        points = found[f"over_updates/{tag}"]
        assert [step for step, _ in points] == [2, 4]
        np.testing.assert_allclose([value for _, value in points], expected, rtol=1e-6)


def test_no_chart_of_tensorboard_has_two_x_axes(finished_run: Path) -> None:
    """What has one tag is drawn into one chart, of all runs; runs are called by their folders."""
    folders = sorted({path.parent for path in (finished_run / "events").rglob("events.out.tfevents.*")})
    names = [str(folder.relative_to(finished_run / "events")) for folder in folders]
    assert names == ["evaluation/tiny", "evaluation/tiny-4", "training"]
    axes: dict[str, set[str]] = {}
    for folder in folders:
        tags = read_scalars(folder)
        (unit,) = (tag for tag in ("time/episodes", "time/updates") if tag in tags)
        assert tags[unit] == [(step, float(step)) for step, _ in tags[unit]]
        for tag in tags:
            axes.setdefault(tag, set()).add(unit)
    assert {tag for tag, units in axes.items() if len(units) > 1} == set()


def test_hyper_parameters_are_the_main_ones_and_what_was_changed() -> None:
    names = ("algorithm", "seed", "episodes", "pairs", *ALWAYS)
    plain = hyper_parameters(TrainArgs(quick=True, device="cpu").plan())
    assert tuple(plain) == names
    assert (plain["pairs"], plain["optimizer"]) == ("2 pairs", "adamw")
    args = TrainArgs(quick=True, pairs=("glyphs-serif",), hp=("noise_std=0.3",), env=("batch_size=16",), device="cpu")
    changed = hyper_parameters(args.plan())
    assert {name: value for name, value in changed.items() if name not in names} == {"batch_size": 16, "noise_std": 0.3}
    assert changed["pairs"] == "glyphs-serif"


@pytest.mark.parametrize("name", ["reinforce", "ppo", "sac", "ars"])
def test_ctrl_c_while_training_leaves_the_policy_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    if ALGORITHMS[name].path:
        pytest.importorskip("sb3_contrib")
    log = TensorBoardLog.__call__

    def interrupt(self: TensorBoardLog, record: dict[str, Any]) -> None:
        log(self, record)
        if record["episode"] == 8:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)  # a job in the background ignores the signal
    monkeypatch.setattr(TensorBoardLog, "__call__", interrupt)
    assert train(tmp_path / "run", "--algo", name, "--checkpoints", "3") == 130
    assert agents.load(tmp_path / "run").episodes == 8  # type: ignore[attr-defined]
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"config.json", "policy", "events", "learning_curve.png", "checkpoints", "policy-best", "state",
                     "results.json"}  # fmt: skip
    assert json.loads((tmp_path / "run" / "results.json").read_text())["status"] == "interrupted"
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["000004", "000008"]
    assert "Interrupted" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_while_evaluating_keeps_the_finished_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = StepRecorder.__call__

    def interrupt(self: StepRecorder, policy: str, pair: str, *args: Any) -> None:
        if (policy, pair) == ("asg-sgd", "tiny-4"):
            raise KeyboardInterrupt
        record(self, policy, pair, *args)

    monkeypatch.setattr(StepRecorder, "__call__", interrupt)
    assert train(tmp_path / "run") == 130
    assert pd.read_csv(tmp_path / "run" / "results.csv")["pair"].unique().tolist() == ["tiny"]
    assert json.loads((tmp_path / "run" / "results.json").read_text())["status"] == "interrupted"
    rows = pd.read_parquet(tmp_path / "run" / "actions.parquet")
    assert set(rows[rows["pair"] == "tiny-4"]["policy"]) == {"reinforce", *OPPONENTS[:2]}
    assert (tmp_path / "run" / "actions.png").exists()


def test_a_disk_that_fills_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    assert train(tmp_path / "run") == 2
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
        assert train(tmp_path / "run") == 2
    assert capsys.readouterr().err.splitlines()[-1] == "error: it does not fit"
    assert list(tmp_path.iterdir()) == []


def test_a_policy_that_does_not_fit_an_evaluated_pair_is_told_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = register_tiny_deep()
    options = ["--hp", "per_layer_heads=true", "--eval-pairs", "tiny", deep]
    assert train(tmp_path / "run", *options) == 2
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
    assert train(tmp_path / "run", *options.split(), "--eval-pairs", "bare", "--pairs", "bare") == 2
    error = capsys.readouterr().err
    assert "needs the last feature map" in error or "'bare' has no labelled target images" in error
    assert "Training" not in error
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_that_is_in_use(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (finished_run / "results.csv").stat().st_mtime_ns
    assert train(finished_run) == 2
    assert "exists and is not empty; name another" in capsys.readouterr().err
    assert (finished_run / "results.csv").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("updates", "expected"),
    [
        (80, "2 episodes of 40"),
        (61, "2 episodes of up to 40"),
        (82, "2 episodes of up to 40, and parts of others"),
    ],
)
def test_updates_are_told_as_episodes(updates: int, expected: str) -> None:
    plan = TrainArgs(pairs=("tiny",), budget=40, window=2).plan()
    assert episodes_of(2, plan, updates) == expected
    assert episodes_of(1, plan, 40) == "1 episode of 40"
