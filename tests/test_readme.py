"""What the README says is true: its example runs, its commands are those of CI, its links exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import torchvision
from torch.utils.data import DataLoader, TensorDataset

import agents
import train_policy
from l2o_env import pairs
from l2o_env.training import policies
from tests.documents import ROOT, blocks
from tests.image_trees import QUICK, class_folders, save_weights
from tests.tiny import tiny_pair
from tests.training.loops import policy

README = (ROOT / "README.md").read_text(encoding="utf-8")


_blocks = partial(blocks, README)


def test_the_example_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # The tiny pair stands in for the embedded one, whose proxy takes too long for a test.
    pair = tiny_pair(name="glyphs-digits")
    monkeypatch.setattr(pairs, "make", lambda name: {pair.name: pair}[name])
    exec(compile(_blocks("python")[0], "README.md", "exec"), {})
    rates, value, accuracy = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"learning rates of the last window: \[.*\]", rates)
    assert -2 < float(value.split(":")[1]) <= 1
    assert 0 <= float(accuracy.split(":")[1]) <= 1


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A folder with two folders of images, the README's network and its weights; what the network's code defines."""
    code = next(block for block in _blocks("python") if "class MyNet" in block)
    (tmp_path / "my_net.py").write_text(code)
    class_folders(tmp_path / "renders", n=10)
    class_folders(tmp_path / "photos", n=3, seed=1)
    names: dict[str, Any] = {}
    exec(compile(code, "my_net.py", "exec"), names)
    with torch.random.fork_rng():
        save_weights(tmp_path / "my_net.pt", names["MyNet"]())
    monkeypatch.chdir(tmp_path)
    return names


def test_ones_own_folders_and_network_train_a_policy(own: dict[str, Any]) -> None:
    command = shlex.split(next(block for block in _blocks("sh") if "MyNet" in block))
    assert command[:2] == ["l2o", "train"]
    small = [part.replace("size=64", "size=16") for part in command[1:]]
    assert train_policy.main([*small, "--out", "run", *QUICK.split()]) == 0
    assert pd.read_csv("run/results.csv")["pair"].unique().tolist() == [small[-1]]
    assert pd.read_parquet("run/actions.parquet")["layer"].unique().tolist() == ["stem", "body", "head"]


def test_and_do_so_in_python(
    own: dict[str, Any], request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    request.addfinalizer(lambda: pairs.unregister("mine"))
    code = next(block for block in _blocks("python") if "agent.save" in block)
    for old, new in (
        ("size=64", "size=16"),
        ("episodes=32", "episodes=4"),
        ('pairs="mine"', 'pairs="mine", budget=30'),
    ):
        assert old in code
        code = code.replace(old, new)
    exec(compile(code, "README.md", "exec"), own)
    accuracies = capsys.readouterr().out.partition("[")[2].rstrip("]\n").split()
    assert len(accuracies) == 4
    assert all(0 <= float(accuracy) <= 1 for accuracy in accuracies)
    assert agents.load("my_policy").episodes == 4  # type: ignore[attr-defined]


def test_ci_installs_and_tests_as_the_readme_says() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    command = next(block for block in _blocks("sh") if "pytest" in block)
    for part in ('pip install -e ".[dev]"', "pytest -n 2"):
        assert part in command
        assert part in ci


def test_the_commands_exist() -> None:
    assert re.findall(r"^\| `l2o ([\w-]+)", README, flags=re.MULTILINE) == list(train_policy.COMMANDS)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_script_answers() -> None:
    command = [sys.executable, str(ROOT / "train_policy.py"), "--window", "9999"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, stdin=subprocess.DEVNULL)
    assert found.returncode == 2
    assert found.stderr.startswith("error: window 9999 is larger than the budget of 300 updates")


def test_the_loops_train_with_learned_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightning")
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(policies, "POLICIES", tmp_path / "policies")  # one that was not trained
    policy().save(tmp_path / "policies" / "transfer")
    drawn = partial(torchvision.models.resnet18, weights=None)
    monkeypatch.setattr(torchvision.models, "resnet18", lambda weights: drawn())
    images, labels = torch.randn(16, 3, 32, 32), torch.arange(16) % 12
    names: dict[str, Any] = {
        "loader": DataLoader(TensorDataset(images, labels), batch_size=4),
        "dataset": [{"pixel_values": x, "labels": y} for x, y in zip(images, labels, strict=True)],
    }
    plain, in_lightning, in_trainer = (block for block in _blocks("python") if "AdamW" in block)
    with torch.random.fork_rng(), warnings.catch_warnings():
        exec(compile(plain, "README.md", "exec"), names)
        assert names["rates"].updates == 4
        assert len({group["lr"] for group in names["optimizer"].param_groups}) == 7
        warnings.simplefilter("ignore")  # of what the libraries and their dependencies say to each other
        exec(compile(in_lightning, "README.md", "exec"), names)
        assert names["model"].fc.weight.grad is not None
        exec(compile(in_trainer.replace("max_steps=100", "max_steps=3"), "README.md", "exec"), names)
    assert names["rates"].updates == 3
    assert names["rates"].statistics["guidance_rms"][:-1].min() > 0  # the head has none
