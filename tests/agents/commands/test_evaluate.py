"""``l2o evaluate``: from run folders to a table and pictures, cut off and gone on, with bad input told in one line."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import scipy.stats
from PIL import Image

import agents
import train_policy
from agents.commands.console import Reporter
from agents.commands.evaluate import evaluate_runs
from agents.commands.evaluate_options import EvaluateArgs
from agents.commands.tuned import _folder_of
from agents.reinforce.agent import Reinforce
from l2o_env import pairs
from l2o_env.errors import ConfigError
from l2o_env.evaluation import parts
from l2o_env.evaluation.evaluate import evaluate
from l2o_env.evaluation.summary import TIDY_COLUMNS
from l2o_env.results.decimals import decimal
from l2o_env.results.event_log import TensorBoardLog
from l2o_env.tasks import TASKS, Task
from tests.agents.commands.jobs import CONFIG, FEW, run_folder
from tests.tiny import register_tiny_deep, tiny_pair


@pytest.fixture(scope="module", autouse=True)
def _pairs(tinies: tuple[str, str]) -> None:
    """Registers ``tiny``, ``tiny-4`` and ``tiny-deep``."""
    register_tiny_deep()


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the pictures out; one test draws them."""
    monkeypatch.setattr("agents.commands.evaluate.write_pictures", lambda *args, **more: [])


def _evaluate(out: Path, *arguments: str | Path) -> int:
    options = ["--seeds", "2", "--opponents", "uniform", "random", "--device", "cpu", "--out", str(out)]
    if "--pairs" not in arguments:
        options += ["--pairs", "tiny", "tiny-4"]
    return train_policy.main(["evaluate", *map(str, arguments), *options])


def test_folders_of_pairs_stay_where_they_belong() -> None:
    names = [
        _folder_of(pair) for pair in ("tiny", "tiny:label=../../x", "folders:source=../../etc,target=/", "x" * 999)
    ]
    assert len(set(names)) == 4 and names[0].startswith("tiny-") and names[1].startswith("x-")
    assert all(len(name) < 60 and name.replace("-", "").isalnum() for name in names)


SEARCHED = ("uniform", "per-layer", "adamw-cosine", "prodigy")


def test_one_command_from_runs_to_table_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = run_folder(tmp_path / "a", best=True)
    second = run_folder(tmp_path / "b", replace(CONFIG, action="discrete"), seed=5)
    log = TensorBoardLog(first / "events")
    for episode in (16, 32):
        log({"episode": episode, "return_mean": 0.5})
    log.close()
    out = tmp_path / "out"
    assert _evaluate(out, first, f"other={second}", "--tuning-episodes", "12", "--tuned", *SEARCHED) == 0
    frame = pd.read_parquet(out / "results.parquet")
    pd.testing.assert_frame_equal(frame, pd.read_csv(out / "results.csv").fillna({"trained_on": "", "run": ""}))
    assert tuple(frame.columns[: len(TIDY_COLUMNS)]) == TIDY_COLUMNS
    counts = frame.groupby(["policy", "selection", "mode"], sort=False).size().to_dict()
    both = {(mode): 4 for mode in ("deterministic", "sampled")}
    expected = {("a", s, m): n for s in ("last", "source", "target-oracle") for m, n in both.items()}
    expected |= {("other", "last", m): n for m, n in both.items()}
    expected |= {(name, "fixed", "deterministic"): 4 for name in ("uniform", "random")}
    tuned = ("best-constant", "best-schedule", "tuned-per-layer", "tuned-adamw-cosine", "tuned-prodigy")
    expected |= {(n, "tuned", "deterministic"): 4 for n in tuned}
    assert counts == expected
    assert frame[frame["policy"] == "a"]["trained_on"].unique().tolist() == ["tiny"]
    pictures = {path.name for path in out.glob("*.png")}
    assert pictures == {
        "transfer_real_accuracy.png", "transfer_v_end.png", "transfer_proxy_accuracy.png", "iqm.png", "profiles.png",
        "improvement_real_accuracy.png", "improvement_v_end.png", "learning_curves.png",
    }  # fmt: skip
    for name in pictures:
        Image.open(out / name).verify()
    told = capsys.readouterr()
    assert "P(better" in told.out
    summary = (out / "summary.md").read_text()
    assert "| P(better than uniform) |" in summary
    row = next(line for line in summary.splitlines() if line.startswith("| best-constant"))
    mean = scipy.stats.trim_mean(frame[frame["policy"] == "best-constant"]["v_return"], 0.25)
    assert f"| {decimal(mean, 3)} [" in row
    assert "Evaluating: " in told.err


def test_policies_are_compared_with_themselves_without_statistics(
    tmp_path: Path, undrawn: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = run_folder(tmp_path / "a", best=True), tmp_path / "out"
    assert _evaluate(out, run, "--ablate", "statistics", "lr") == 0
    printed = capsys.readouterr().out
    assert "a open loop" in printed and "a without lr" in printed and "gain of V" in printed
    found = pd.read_csv(out / "ablations.csv").set_index("ablation")
    table = pd.read_csv(out / "results.csv")
    table = table[(table["selection"] == "source") & (table["mode"] == "deterministic")]
    means = table.groupby("policy")["v_end"].mean()
    for name in ("a open loop", "a without lr"):
        assert found.loc[name, "v_end_gain"] == pytest.approx(means["a"] - means[name], abs=1e-9)
    assert _evaluate(out, run, "--ablate", "statistic") == 2
    assert "Unknown ablation 'statistic'. Did you mean 'statistics'" in capsys.readouterr().err
    assert _evaluate(out, run, "--ablate", "lr", "--modes", "sampled") == 2
    assert "name deterministic among the --modes" in capsys.readouterr().err


@pytest.mark.parametrize(("action", "optimizers"), [("relative_update", {"adamw", "sgd"}), ("log", {"adamw"})])
def test_held_out_tasks_take_the_place_of_pairs(
    tmp_path: Path, undrawn: None, untrained: list[int], monkeypatch: pytest.MonkeyPatch, action: Any,
    optimizers: set[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(TASKS, "few", {"test": FEW})  # type: ignore[call-overload]
    run = run_folder(tmp_path / "run", replace(CONFIG, action=action))
    out = tmp_path / "out"
    options = "--tasks few --n-tasks 3 --seeds 2 --modes deterministic --opponents adamw-cosine --ablate statistics"
    command = ["evaluate", f"x={run}", *options.split(), "--device", "cpu", "--out", str(out)]
    assert train_policy.main([*command, "--tuning-episodes", "8", "--tuned", "adamw-cosine"]) == 0
    frame = pd.read_parquet(out / "results.parquet")
    tasks = json.loads((out / "evaluation.json").read_text())["tasks"]
    policies = {"x", "x open loop", "adamw-cosine", "tuned-adamw-cosine"}
    assert frame.groupby("pair")["policy"].agg(set).to_dict() == {task["pair"]: policies for task in tasks}
    assert [pairs.label(task["pair"]) for task in tasks] == ["few-01", "few-02", "few-03"]
    assert {task["settings"].get("optimizer", "adamw") for task in tasks} == optimizers
    for task in tasks:
        rows = frame[frame["pair"] == task["pair"]]
        assert (rows["updates"] == task["settings"]["budget"]).all()
    assert "| few-03 | glyphs-" in (out / "summary.md").read_text()
    task = Task(**tasks[0])
    config = task.config(replace(CONFIG, action=action))
    expected = evaluate({"x": agents.load(run)}, [task.pair], 2, config)
    rows = frame[(frame["pair"] == task.pair) & (frame["policy"] == "x")]
    assert rows["v_end"].tolist() == pytest.approx(expected["v_end"].tolist())


def test_tasks_and_settings_of_their_own_exclude_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_folder(tmp_path / "run")
    for option in (("--pairs", "tiny"), ("--budget", "4"), ("--window", "2"), ("--optimizer", "sgd")):
        assert train_policy.main(["evaluate", str(run), "--tasks", "wide", *option]) == 2
        assert "--tasks says what pair, budget, window and optimizer are" in " ".join(capsys.readouterr().err.split())


def test_another_optimizer_than_that_of_training_is_told(
    tmp_path: Path, undrawn: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = run_folder(tmp_path / "a"), tmp_path / "out"
    assert _evaluate(out, run, "--optimizer", "lion") == 0
    told = "'a' was trained with adamw: its actions are taken over the rates of lion, 1e-06 to 0.003."
    assert told in " ".join(capsys.readouterr().err.split())
    rates = pd.read_parquet(out / "actions.parquet").query("policy == 'a' and step > 0")["lr"]
    assert rates.between(1e-6, 3e-3).all()
    assert _evaluate(tmp_path / "other", run, "--optimizer", "adam") == 2
    assert "Unknown optimizer 'adam'. Did you mean 'adamw'" in capsys.readouterr().err


def test_pairs_without_target_or_proxy_test_images_are_evaluated_too(tmp_path: Path) -> None:
    unseen = replace(tiny_pair(name="tiny-unseen"), proxy_test=None)
    for name, pair in (("tiny-unseen", unseen), ("tiny-blind", replace(unseen, target=None))):
        if name not in pairs.names():
            pairs.register(name, lambda pair=pair: pair)
    run = run_folder(tmp_path / "a")
    assert _evaluate(tmp_path / "out", run, "--pairs", "tiny", "tiny-unseen", "tiny-blind") == 0
    frame = pd.read_parquet(tmp_path / "out" / "results.parquet")
    known = frame.groupby("pair", sort=False)[["real_accuracy", "proxy_accuracy"]].count() > 0
    assert known.to_numpy().tolist() == [[True, True], [True, False], [False, False]]
    assert (frame["proxy_accuracy"].dtype, frame["real_accuracy"].dtype) == (float, float)
    assert "transfer_real_accuracy.png" in {path.name for path in (tmp_path / "out").glob("*.png")}
    # Where nobody knows an accuracy, there is a table all the same.
    assert _evaluate(tmp_path / "blind", run, "--pairs", "tiny-blind") == 0
    assert pd.read_parquet(tmp_path / "blind" / "results.parquet")["real_accuracy"].dtype == float
    assert "–" in (tmp_path / "blind" / "summary.md").read_text()


@pytest.mark.usefixtures("undrawn")
def test_it_goes_on_where_it_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out, real, calls = run_folder(tmp_path / "a"), tmp_path / "out", parts.evaluate, []

    def interrupt(*args: Any, **kwargs: Any) -> pd.DataFrame:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(parts, "evaluate", interrupt)
    assert _evaluate(out, run) == 130
    assert not (out / "results.csv").exists()
    assert _evaluate(out, run) == 0
    assert len(calls) == 3 + 8 - 2
    assert "2 of 8 parts were finished before" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    assert _evaluate(tmp_path / "other", run) == 2
    assert "holds something that is no evaluation" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_runs_of_one_name_are_one_policy_trained_several_times(tmp_path: Path) -> None:
    runs = tuple(f"ours={run_folder(tmp_path / name, seed=k)}" for k, name in enumerate("ab"))
    args = EvaluateArgs(
        runs, ("tiny",), seeds=2, modes=("deterministic",), opponents=("none",), out=tmp_path / "out", device="cpu"
    )
    frame = evaluate_runs(args, Reporter(bars=False))
    assert frame["policy"].unique().tolist() == ["ours"]
    assert frame["run"].tolist() == ["a", "a", "b", "b"]
    assert "ours" in (tmp_path / "out" / "summary.md").read_text()
    recorded = pd.read_parquet(tmp_path / "out" / "actions.parquet")
    assert recorded["policy"].unique().tolist() == ["ours [a]", "ours [b]"]


@pytest.mark.usefixtures("undrawn")
def test_the_default_folder_is_the_same_for_the_same_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = run_folder(tmp_path / "a")
    args = EvaluateArgs((str(run),), ("tiny",), 1, ("deterministic",), ("uniform",), device="cpu")
    for changed in (args, args, replace(args, seeds=2)):
        evaluate_runs(changed, Reporter(bars=False))
    assert len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.usefixtures("undrawn")
def test_the_oracle_may_choose_among_all_checkpoints(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "a", best=True)
    for k, name in enumerate(("0000016", "0000032")):
        Reinforce(CONFIG, n_layers=3, seed=7 + k).save(run / "checkpoints" / name)
    args = EvaluateArgs((str(run),), ("tiny",), 2, opponents=("none",), out=tmp_path / "out", device="cpu")
    few, every = (evaluate_runs(replace(args, all_checkpoints=flag), Reporter(bars=False)) for flag in (False, True))
    assert set(every["selection"]) == set(few["selection"]) == {"last", "source", "target-oracle"}
    direct = evaluate(
        {name: agents.load(run / "checkpoints" / name) for name in ("0000016", "0000032")}, ["tiny"], 2, CONFIG
    )
    rows = every[every["mode"] == "deterministic"].groupby("selection")["real_accuracy"].mean().to_dict()
    best = max(rows["last"], rows["source"], *direct.groupby("policy")["real_accuracy"].mean())
    assert rows["target-oracle"] == best


def test_settings_are_those_of_training_but_for_what_the_command_gives(tmp_path: Path, undrawn: None) -> None:
    runs = [run_folder(tmp_path / str(n), replace(CONFIG, batch_size=n, momentum=0.5)) for n in (6, 7)]
    out = tmp_path / "out"
    assert _evaluate(out, *runs, "--env", "batch_size=5", "--env", "guidance_cap=2", "--modes", "deterministic") == 0
    found = json.loads((out / "evaluation.json").read_text())["environment"]
    assert (found["batch_size"], found["guidance_cap"], found["momentum"], found["budget"]) == (5, 2.0, 0.5, 4)


def test_bad_input_is_told_in_one_line_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    heads = run_folder(tmp_path / "h", per_layer_heads=True)
    longer = run_folder(tmp_path / "l", replace(CONFIG, budget=6))
    features, action = run_folder(tmp_path / "f"), run_folder(tmp_path / "r")
    description = json.loads((features / "policy" / "policy.json").read_text())
    del description["sha256"]
    (features / "policy" / "policy.json").write_text(json.dumps({**description, "features": ["a"]}))
    relative = asdict(replace(CONFIG, action="relative"))
    (action / "config.json").write_text(json.dumps({"environment": relative}))
    plain, larger = run_folder(tmp_path / "a"), run_folder(tmp_path / "g", replace(CONFIG, batch_size=9))
    cases: list[tuple[list[str | Path], str]] = [
        ([tmp_path / "empty"], "holds no policy"),
        ([tmp_path / "nowhere"], "There is no folder"),
        ([features], "expects the features"),
        ([action], "was trained with"),
        ([plain, longer], "was trained with budget 4 and 'l' with 6"),
        (
            [plain, larger],
            "with batch_size 8 and 'g' with 9, so that their results cannot be compared; use --env batch_si",
        ),
        (
            [plain, "--env", "lr_max=1"],
            "--env sets lr_max, which this command has options of its own for, or takes from",
        ),
        ([plain, "--pairs", "tinny"], "Unknown pair 'tinny'. Did you mean 'tiny'"),
        ([plain, "--opponents", "uniforms"], "Unknown opponent 'uniforms'. Did you mean 'uniform'"),
        ([plain, "--reference", "b"], "Unknown reference 'b'"),
        ([f"uniform={plain}"], "Two policies are called 'uniform'"),
        ([plain, "--seeds", "0"], "--seeds is 0"),
        ([plain, "--seed", "-1"], "--seed is -1"),
        ([plain, "--tuning-episodes", "3"], "3 episodes are too few to tune 'adamw-cosine'; give at least 8"),
        ([plain, "--tuning-episodes", "99", "--tuned", "adam"], "search for a tuned opponent 'adam'"),
    ]
    for arguments, told in cases:
        given = [str(argument) for argument in arguments]
        options = ["--seeds", "2", "--pairs", "tiny", "--opponents", "uniform", "--out", str(tmp_path / "out")]
        k = next((i for i, argument in enumerate(given) if argument.startswith("--")), len(given))
        assert train_policy.main(["evaluate", *given[:k], *options, *given[k:]]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: "), error
        assert told in error
        assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="heads for 3 layer groups and got 5"):
        evaluate_runs(EvaluateArgs((str(heads),), ("tiny-deep",), 1, out=tmp_path / "out"), Reporter(bars=False))
    assert not list(tmp_path.glob("out/parts/*"))
