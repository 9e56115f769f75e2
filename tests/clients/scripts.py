"""Runs the scripts of docs/clients.md as they are, each in a process of its own, on a pair that is built at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STAND_IN = """
import warnings
warnings.simplefilter("ignore")  # what the libraries say to each other
from l2o_env import pairs
from tests.tiny import tiny_pair
pairs.unregister("glyphs-digits")
pairs.register("glyphs-digits", tiny_pair)
"""
"""What stands before a script, also in the processes that it starts."""


def blocks(heading: str, language: str = "python") -> list[str]:
    """The code below a heading of docs/clients.md."""
    text = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, flags=re.DOTALL)


def run_script(heading: str, folder: Path) -> str:
    """Runs the script below a heading, and returns what it printed.

    Args:
        heading: Of docs/clients.md.
        folder: Where it runs, and may leave files.
    """
    (code,) = blocks(heading)
    path = folder / "script.py"
    path.write_text(STAND_IN + code, encoding="utf-8")
    return run([sys.executable, str(path)], folder)


def run(command: list[str], folder: Path) -> str:
    """Runs a command, and returns what it printed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    environment["WANDB_MODE"] = "offline"
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
