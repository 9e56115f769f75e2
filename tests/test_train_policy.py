"""The command line: its commands, their help, and the script without a command."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import l2o_env
import train_policy

ROOT = Path(__file__).parents[1]

OPTIONS = (
    "out", "seed", "algo", "hp", "hp-file", "checkpoints", "pairs",
    "num-envs", "budget", "window", "action", "reward", "guidance", "episodes", "device", "env"
)  # fmt: skip


def test_help_lists_the_commands_and_every_default(capsys: pytest.CaptureFixture[str]) -> None:
    for nothing in ([], ["--help"], ["-h"]):
        assert train_policy.main(nothing) == 0
        listed = capsys.readouterr().out
        assert re.findall(r"^  ([a-z-]+)  ", listed, flags=re.MULTILINE) == list(train_policy.COMMANDS)
        assert max(map(len, listed.splitlines())) <= 80
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
    assert train_policy.with_default_command(["--version"]) == ["--version"]


@pytest.mark.parametrize("name", train_policy.COMMANDS)
def test_every_command_is_where_it_is_said_to_be(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        train_policy.main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: l2o {name}" in capsys.readouterr().out


def test_help_version_and_mistaken_commands_do_not_wait_for_pytorch() -> None:
    script = (
        "import sys, train_policy\n"
        "words = ('--help', '--version', 'trian', 'fly', 'train --epsiodes 3', 'audit --runs=many')\n"
        "done = [train_policy.main(word.split()) for word in words]\n"
        "print(done, 'torch' in sys.modules, 'tyro' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-2:] == [f"l2o-env {l2o_env.__version__}", "[0, 0, 2, 2, 2, 2] False False"]
    first, second, third, fourth = done.stderr.splitlines()
    assert first.startswith("error: Unknown command 'trian'. Did you mean 'train'? Known: train, ")
    assert second.startswith("error: Unknown command 'fly'. Known: train, ")
    assert third == "error: Unknown option '--epsiodes'. Did you mean '--episodes'? `l2o train --help` lists all."
    assert fourth == "error: --runs is 'many'; expected an integer."


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("l2o tr", ["train"]),
        ("l2o train --resu", ["--resume"]),
        ("l2o evaluate RUN --all", ["--all-checkpoints"]),
        ("l2o plot RUN", []),  # the shell's own names of files
    ],
)
def test_a_shell_completes_commands_and_options(
    line: str, completed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_policy.main(["--print-completion"]) == 0
    words = line.split()
    asked = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _l2o; echo ${{COMPREPLY[@]}}"
    script = f"set -eu\n{capsys.readouterr().out}\n{asked}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == completed


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"{sys.executable} -m l2o_env train --help | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "0"
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_standard_output_that_is_full_or_closed_is_no_traceback() -> None:
    script = "import sys, train_policy; sys.exit(train_policy.main(['--help']))"
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([sys.executable, "-c", script], stdout=full, stderr=-1, text=True, check=False, cwd=ROOT)
    told = "error: Standard output cannot be written: No space left on device.\n"
    assert (done.returncode, done.stderr) == (2, told)
    closed = f"import os; os.close(1); os.execv({sys.executable!r}, [{sys.executable!r}, '-c', {script!r}])"
    done = subprocess.run([sys.executable, "-c", closed], stderr=-1, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_a_terminal_cannot_show_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii", newline="\n"))
    monkeypatch.setattr("agents.main.DESCRIPTION", "0.5 ± 0.1, caf\udce9")
    assert train_policy.main(["--help"]) == 0
    assert b"\n0.5 ? 0.1, caf?\n" in raw.getvalue()


def test_errors_of_other_files_are_not_taken_for_those_of_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(arguments: list[str]) -> int:
        raise OSError(5, "Input/output error", "elsewhere")

    monkeypatch.setattr("agents.main._run", fails)
    with pytest.raises(OSError, match="elsewhere"):
        train_policy.main([])
