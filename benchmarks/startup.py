"""How long the import takes, beside that of the libraries it needs anyway."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np

STATEMENTS = {
    "libraries": "import torch, gymnasium",
    "package": "import l2o_env",
    "help": "import train_policy; train_policy.main(['--help'])",
    "mistaken option": "import train_policy; train_policy.main(['train', '--epsiodes', '3'])",
    "help of a command": "import contextlib, train_policy\nwith contextlib.suppress(SystemExit): "
                         "train_policy.main(['train', '--help'])",
}  # fmt: skip


def import_ratio(rounds: int) -> tuple[float, dict[str, list[float]]]:
    """Median over the rounds of package / libraries, and the seconds of each; each import in a new process."""
    seconds: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for round_ in range(rounds + 1):
        for name, statement in STATEMENTS.items():
            taken = _seconds(statement)
            if round_ > 0:  # the first one reads files from the disk
                seconds[name].append(taken)
    ratios = np.array(seconds["package"]) / np.array(seconds["libraries"])
    return float(np.median(ratios)), seconds


def _seconds(statement: str) -> float:
    # Time on the processor, which others on the machine do not change.
    code = f"import time; t = time.process_time()\n{statement}\nprint(time.process_time() - t)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(found.stdout.splitlines()[-1])


if __name__ == "__main__":
    started = time.perf_counter()
    ratio, found = import_ratio(5)
    for label, values in found.items():
        print(f"{label:<18} {np.median(values):.2f} s")
    print(f"ratio {ratio:.3f}  (target: at most 1.2; took {time.perf_counter() - started:.0f} s)")
