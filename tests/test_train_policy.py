"""The command line: its commands, their help, and the script without a command."""

from __future__ import annotations

import pytest

import train_policy

OPTIONS = (
    "out", "seed", "algo", "hp", "hp-file", "checkpoints", "pairs",
    "num-envs", "budget", "window", "action", "reward", "guidance", "episodes", "device", "env"
)  # fmt: skip


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
