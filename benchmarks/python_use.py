"""The README's own network on own folders, trained from Python and by ``l2o train``: whoever starts us is as fast.

Each training runs in a process of its own, without the environment variables that set threads.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
EPISODES, ROUNDS = 16, 3
CLASSES, IMAGES, SIZE = 10, 20, 64
SETTINGS = f"renders,target=photos,backbone=my_net.py:MyNet,weights=my_net.pt,size={SIZE},n_validation=8"
COMMAND = f"""
import time
from l2o_agents.main import main
from l2o_agents.reinforce import Reinforce
learn = Reinforce.learn
def timed(*args, **keywords):
    started = time.process_time()
    agent = learn(*args, **keywords)
    print("seconds", time.process_time() - started)
    return agent
Reinforce.learn = timed
main("train --pairs folders:source={SETTINGS} --episodes {EPISODES} --num-envs 4 --checkpoints 0 --tuning-episodes 0 "
     "--eval-seeds 1 --out run".split())
"""
# Time on the processor, which others on the machine do not change, and which threads that spin take too.
CLOCK = "\nimport time; started = time.process_time(); {}; print('seconds', time.process_time() - started)\n"


def _blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)


def script() -> str:
    """The README's Python, with fewer episodes, and a clock around the training."""
    (code,) = [block for block in _blocks() if "agent.save" in block]
    (line,) = [line for line in code.splitlines() if ".learn(" in line]
    return "from my_net import MyNet\n" + code.replace(
        line, CLOCK.format(line.replace("episodes=32", f"episodes={EPISODES}"))
    )


def prepare(folder: Path) -> None:
    """Writes the images, the README's network and its weights."""
    generator = np.random.default_rng(0)
    for split in ("renders", "photos"):
        for label in range(CLASSES):
            (folder / split / f"class{label}").mkdir(parents=True)
            for k in range(IMAGES):
                pixels = generator.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
                pixels[:, : SIZE * label // CLASSES] //= 4
                Image.fromarray(pixels).save(folder / split / f"class{label}" / f"{k}.png")
    (code,) = [block for block in _blocks() if "class MyNet" in block]
    (folder / "my_net.py").write_text(code, encoding="utf-8")
    _run("import torch\nfrom my_net import MyNet\ntorch.save(MyNet().state_dict(), 'my_net.pt')", folder)


def _run(code: str, folder: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "MKL_", "KMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def seconds(folder: Path) -> tuple[float, float]:
    """Seconds on the processor of the same training from Python and by the command."""
    command = "import shutil; shutil.rmtree('run', ignore_errors=True)" + COMMAND
    in_python, by_command = (_run(code, folder).split("seconds ")[1].split()[0] for code in (script(), command))
    return float(in_python), float(by_command)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        found = np.array([seconds(Path(name)) for _ in range(ROUNDS)])
    for label, values in zip(("Python", "l2o train"), found.T, strict=True):
        print(f"{label:<10} {np.median(values):6.1f} s for {EPISODES} episodes")
    print(f"ratio {np.median(found[:, 0] / found[:, 1]):.2f}  (target: at most 1.2)")
