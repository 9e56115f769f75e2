"""``l2o finetune``: what it leaves, that it goes on where it was cut off, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import tyro
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import train_policy
from agents.commands import finetune as command
from l2o_env import ScaledPolicy, read_recording
from l2o_env.results.event_log import read_scalars
from l2o_env.training.fine_tuning import FineTuning
from tests.image_trees import MicroNet, class_folders, save_weights
from tests.training.loops import policy

QUICK = ["--epochs", "2", "--env", "batch_size=6", "--device", "cpu", "--policy", "adamw-cosine"]


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Images, a network and its weights, and the command line that names them."""
    class_folders(tmp_path / "renders", n=10)
    class_folders(tmp_path / "photos", n=3, seed=1)
    save_weights(tmp_path / "net.pt")
    (tmp_path / "net.py").write_text("from tests.image_trees import MicroNet as Net\n")
    monkeypatch.chdir(tmp_path)
    images = ["--source", "renders", "--target", "photos", "--size", "16", "--n-validation", "4"]
    return [*images, "--model", "net.py:Net", "--weights", "net.pt"]


def _finetune(*arguments: str) -> int:
    return train_policy.main(["finetune", *arguments])


def test_it_leaves_a_network_for_plain_use_and_a_page(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert _finetune(*folders, *QUICK, "--out", "run") == 0
    run = Path("run")
    results = json.loads((run / "results.json").read_text())
    n_classes = len(results["class_accuracy"])
    plain = MicroNet()
    exported = results["network"]
    assert exported["head"] == "fc"
    assert (exported["classes"], exported["crop"], exported["mean"]) == (["cat", "dog"], 16, [0.485, 0.456, 0.406])
    with safe_open(run / "network.safetensors", framework="pt") as file:
        assert {key: json.loads(value) for key, value in file.metadata().items()} == {
            key: exported[key] for key in ("classes", "resize", "crop", "mean", "std")
        }
    plain.fc = nn.Sequential(nn.Linear(8, 512), nn.ReLU(), nn.Linear(512, n_classes))  # type: ignore[assignment]
    plain.load_state_dict(load_file(run / "network.safetensors"))
    assert 0 <= results["real_accuracy"] <= 1
    w = 1 / (4 * math.log(5))  # of the proxy's classes
    assert results["best"]["value"] >= results["last"]["val_accuracy"] - w * results["last"]["val_kl"] - 1e-6
    page = (run / "report.html").read_text()
    assert "V = accuracy - 0.155 KL, are" in page
    for title in ("Validation", "Real images", "What is taken for what", "Where the network looks", "Learning rates"):
        assert f"<h2>{title}</h2>" in page
    assert "Outputs, in order: cat, dog." in page
    logged = read_scalars(run / "events" / "fine-tuning")
    assert {"window/value", "over_updates/lr/head", "time/updates"} <= set(logged)
    layers = set(read_recording(run / "actions.parquet")["layer"])
    assert layers == {"stem.0", "stem.1", "body.0", "body.1", "head"}
    assert "accuracy on the real images" in capsys.readouterr().out
    onnx = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    model = onnx.load("run/network.onnx")
    onnx.checker.check_model(model)
    assert {each.key: json.loads(each.value) for each in model.metadata_props}["classes"] == ["cat", "dog"]
    images = torch.rand(3, 3, 16, 16)
    (logits,) = reference.ReferenceEvaluator(model).run(None, {"images": images.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(logits.copy()), plain.eval()(images), rtol=1e-3, atol=1e-4)


def test_the_weight_of_the_kl_can_be_given(folders: list[str], no_page: None) -> None:
    assert _finetune(*folders, *QUICK, "--env", "kl_weight=2", "--out", "run") == 0
    assert json.loads(Path("run/config.json").read_text())["environment"]["kl_weight"] == 2


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is exported or drawn, which takes longer than all else."""
    monkeypatch.setattr(command, "write_page", lambda run, folder, measured, reporter: ([], measured))


def test_the_same_command_goes_on_where_it_was_cut_off(
    tiny: str, no_page: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--pair", "tiny", *QUICK]
    assert _finetune(*arguments, "--out", str(tmp_path / "whole")) == 0
    plain = FineTuning.advance
    made: list[int] = []

    def cut(run: FineTuning) -> dict[str, Any]:
        made.append(run.steps)
        if len(made) == 6:
            raise KeyboardInterrupt
        return plain(run)

    monkeypatch.setattr(FineTuning, "advance", cut)
    assert _finetune(*arguments, "--out", str(tmp_path / "parts")) == 130
    assert _finetune(*arguments, "--out", str(tmp_path / "parts")) == 0
    assert made == [0, 1, 2, 3, 4, 5, *range(5, 20)]
    assert "Going on after 5 of 20 updates." in capsys.readouterr().err
    whole, parts = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "parts"))
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=0, atol=0, equal_nan=True)
    rows = [read_recording(tmp_path / name / "actions.parquet") for name in ("whole", "parts")]
    assert rows[0].equals(rows[1])
    assert not (tmp_path / "parts" / "actions-before.parquet").exists()


def test_policies_that_come_along_are_scaled_down_on_image_files(folders: list[str], tiny: str, tmp_path: Path) -> None:
    policy().save(tmp_path / "run")

    def factor(*arguments: str) -> float:
        _, agent = tyro.cli(command.FinetuneArgs, args=[*arguments, "--device", "cpu"]).prepare()
        return agent.factor if isinstance(agent, ScaledPolicy) else 1.0

    assert factor(*folders) == 0.1
    assert factor(*folders, "--policy", "relative") == 0.02
    assert factor(*folders, "--rate-scale", "1") == 1
    assert factor(*folders, "--rate-scale", "0.3") == 0.3
    assert factor(*folders, "--policy", str(tmp_path / "run")) == 1
    assert factor(*folders, "--policy", "adamw-cosine") == 1
    assert factor(*folders, "--policy", "adamw-cosine", "--rate-scale", "0.3") == 0.3
    assert factor("--pair", "tiny") == 1


def test_ctrl_c_waits_for_the_window(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "deferred_interrupt", _asked)
    arguments = ["--pair", "tiny", *QUICK, "--out", str(tmp_path / "run")]
    assert _finetune(*arguments) == 130
    assert (tmp_path / "run" / "checkpoint.safetensors").is_file()


class _asked:  # noqa: N801 - it stands for a function
    def __enter__(self) -> Any:
        return lambda: True

    def __exit__(self, *error: object) -> None:
        pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "default", "--pair", "tiny"], "without the policy 'default'"),
        (["--policy", "nowhere", "--pair", "tiny"], "There is no folder nowhere"),
        (["--target", "photos"], "go with --source"),
        (["--source", "a", "--pair", "tiny"], "give one of them"),
        (["--pair", "tiny", "--epochs", "0"], "--epochs is 0"),
        (["--pair", "nothing"], "Unknown pair 'nothing'"),
        (["--pair", "tiny", "--env", "budget=3"], "budget"),
    ],
)
def test_what_cannot_work_is_told(
    tiny: str, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("l2o_env.training.policies.POLICIES", Path("nowhere"))
    assert _finetune(*QUICK, *arguments) == 2
    assert message in capsys.readouterr().err


def test_another_run_is_not_gone_on_with(
    tiny: str, no_page: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--pair", "tiny", *QUICK, "--out", str(tmp_path / "run")]
    assert _finetune(*arguments) == 0
    assert _finetune(*arguments, "--seed", "1") == 2
    assert "with other settings (seed)" in capsys.readouterr().err
