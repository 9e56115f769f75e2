"""Advice in messages of commands, and about what runs leave behind: who does what it says has the error no more.

Each test provokes an error, reads the advice out of its message, follows it to the letter, and looks at what comes.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import agents
from agents.commands import adapt, adapt_rates, finetune
from agents.commands.saved_settings import completed
from agents.commands.train_options import TrainArgs
from l2o_env import ConfigError, pairs
from l2o_env.adaptation import AdaptConfig
from l2o_env.results.run_folder import RunFolder
from tests.agents.commands.jobs import CONFIG, run_folder
from tests.followed import TwoHeads, advice, class_settings, l2o, mask_settings
from tests.image_trees import (
    mask_folders,
    save,
)


@pytest.fixture(autouse=True)
def _tinies(tinies: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers ``tiny`` and ``tiny-4``; nothing is drawn, which takes longer than all else."""
    monkeypatch.setattr(adapt, "write_page", lambda *_: None)
    monkeypatch.setattr(finetune, "write_page", lambda run, folder, measured, reporter: ([], measured))


def test_a_setting_without_an_option_is_given_as_the_message_says(tmp_path: Path) -> None:
    folder = tmp_path / "nets"
    folder.mkdir()
    (folder / "net.py").write_text("from tests.followed import TwoHeads as Net\n")
    given = class_settings(tmp_path, TwoHeads)
    common = ["finetune", "--epochs", "1", "--device", "cpu", "--out", tmp_path / "run"]
    own = ["--source", given["source"], "--model", f"{folder / 'net.py'}:Net", "--weights", given["weights"]]
    (text,) = advice(partial(l2o, *common, *own, "--size", 16, "--n-validation", 4), r"(--pair '.*,head=…')")
    assert "1/1 updates" in l2o(*common, *shlex.split(text.replace("head=…", "head=fc")))


def test_a_budget_that_a_command_works_out_is_enlarged_as_the_message_says(tmp_path: Path) -> None:
    settings = ["--pair", "tiny", "--env", "batch_size=60", "--env", "windows=asg", "--device", "cpu"]
    command = partial(l2o, "finetune", *settings, "--out", tmp_path / "run")
    (option,) = advice(partial(command, "--epochs", 1), r"give a larger budget .* More (--\w+) have a larger budget")
    assert "2/2 updates" in command(option, 2)


def test_runs_that_differ_are_compared_as_the_message_says(tmp_path: Path) -> None:
    runs = [run_folder(tmp_path / "a"), run_folder(tmp_path / "b", replace(CONFIG, batch_size=6))]
    command = ["evaluate", *runs, "--pairs", "tiny", "--seeds", 1, "--opponents", "none", "--modes", "deterministic",
               "--device", "cpu", "--out", tmp_path / "out"]  # fmt: skip
    option, key = advice(partial(l2o, *command), r"use (--env) (\w+)=VALUE for both")
    assert "The evaluation is in" in l2o(*command, option, f"{key}=4")
    assert json.loads((tmp_path / "out/evaluation.json").read_text())["environment"]["batch_size"] == 4


def test_a_policy_is_read_as_messages_say(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", best=True)
    shutil.rmtree(run / "policy")
    (folder,) = advice(partial(agents.load, run), r"selection 'best': name (\S+)\.$")
    assert agents.load(folder).name == "reinforce"
    file = Path(folder) / "policy.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "name": "mine"}))
    name, key = advice(partial(agents.load, folder), r"if you changed (\S+), take (\w+) out of it")
    changed = json.loads((Path(folder) / name).read_text())
    del changed[key]
    file.write_text(json.dumps(changed))
    assert agents.load(folder).name == "mine"


def test_an_adaptation_goes_on_where_the_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_round = adapt.Adaptation.run_round

    def cut_off(run: adapt.Adaptation) -> Any:
        if run.round == 1:
            raise KeyboardInterrupt
        return run_round(run)

    def cut(out: str, *more: str) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(adapt.Adaptation, "run_round", cut_off)
            patch.setattr(adapt, "initial_network", lambda args, pair, _: (pair.make_model(torch.Generator()), "drawn"))
            with pytest.raises(ConfigError) as caught:  # for its status
                l2o("adapt", "tiny", "--method", "dann", "--rounds", 2, "--updates", 2, "--device", "cpu",
                    "--out", tmp_path / out, *more)  # fmt: skip
        return str(caught.value)

    found = re.search("Go on with: (.*)", cut("one rate"))
    assert found
    l2o(*shlex.split(found[1])[1:])
    assert len((tmp_path / "one rate/rounds.csv").read_text().splitlines()) == 4  # with the heading and the start
    assert "Go on with" not in cut("rates", "--policy", "relative")  # which it could not
    advice(partial(l2o, "adapt", "--resume", tmp_path / "rates"), "cannot go on where it was cut off; start anew")


def test_a_policy_that_can_drive_an_adaptation_is_named(tmp_path: Path) -> None:
    pair = pairs.make("tiny")
    device = torch.device("cpu")
    source, target = adapt.LabelledImages(pair.train, device), adapt.UnlabelledImages.of(pair, device)
    model = pair.make_model(torch.Generator().manual_seed(0))
    run = adapt.Adaptation(adapt.METHODS["dann"], model, source, target, 3, AdaptConfig(device="cpu"), 0)
    setting, policy = advice(partial(adapt_rates.drive, run, "default"), r"--env (\S+)`\).*such as '(\w+)'")
    assert setting == "optimizer=sgd"
    assert len(adapt_rates.drive(run, policy).rates) == 3


def test_a_target_of_several_sizes_is_brought_to_one(tmp_path: Path) -> None:
    settings = mask_settings(tmp_path, target=mask_folders(tmp_path / "target", seed=1))
    save(np.zeros((24, 20, 3), np.uint8), tmp_path / "target/images/9.png")
    save(np.arange(24 * 20, dtype=np.uint8).reshape(24, 20) % 2, tmp_path / "target/masks/9.png")
    oracle = partial(adapt.TargetOracle, device=torch.device("cpu"))
    advice(lambda: oracle(pairs.make("folders", **settings)), "bring their files, and masks, to (one size)")
    save(np.zeros((16, 20, 3), np.uint8), tmp_path / "target/images/9.png")
    save(np.eye(20, dtype=np.uint8)[:16], tmp_path / "target/masks/9.png")
    assert oracle(pairs.make("folders", **settings)).labels.shape == (7, 16, 20)


def test_a_folder_that_is_in_use_is_left_to_its_run(tmp_path: Path) -> None:
    first = RunFolder.create(tmp_path / "run")
    advice(lambda: RunFolder.create(tmp_path / "run"), "wait for its (end), or name another folder")
    assert RunFolder.create(tmp_path / "another").path.is_dir()
    first.release()
    assert RunFolder.create(tmp_path / "run").path == tmp_path / "run"


def test_runs_of_other_commands_are_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"version": "0", "policy": "default", "environment": {}}))
    advice(partial(l2o, "train", "--resume", tmp_path), "holds no training, but a run of another command")
    advice(partial(l2o, "adapt", "--resume", tmp_path), "is no run of l2o adapt, but of another command")


def test_pairs_that_a_file_names_are_confirmed_by_the_option_that_the_message_names(tmp_path: Path) -> None:
    code = "folders:source=a,backbone=net.py:Net"
    saved = {"pairs": ["tiny"], "eval_pairs": [code, "tiny"]}
    (tmp_path / "config.json").write_text(json.dumps({"arguments": saved}))

    def read(*pairs: str, **more: Any) -> TrainArgs:
        return completed(TrainArgs(config=tmp_path, eval_pairs=pairs or None), {"eval_pairs"} if pairs else set())

    beside, option = advice(read, r"name it again(, with those beside it): --config \S+ (--[a-z-]+) PAIR")
    assert (beside, option) == (", with those beside it", "--eval-pairs")
    args = read(code, "tiny")
    assert (args.pairs, args.eval_pairs) == (("tiny",), (code, "tiny"))
