"""Workers, nodes and commands of a Ray cluster that are killed at random moments: ``python -m benchmarks.ray_kills``.

Of a training the moments lie in it and in its evaluation; what comes out is compared bit by bit with runs that nothing
has cut off.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tyro

from benchmarks.kills import digests

TRAINING = (
    "--num-envs 4 --budget 12 --window 4 --episodes 160 --checkpoints 2 --eval-seeds 2 --tuning-episodes 0 "
    "--device cpu --save-every 0.2"
)
WHAT = ("worker", "node", "command")


@dataclass(frozen=True)
class Args:
    """Kills what takes part in trainings and evaluations on a cluster of this machine."""

    kills: int = 20
    """How many."""
    nodes: int = 4
    """Nodes, of one core each."""
    pair: str = "glyphs-digits"
    """Pair to train and evaluate on."""
    seed: int = 0
    """Of the moments."""


def main(args: Args) -> int:
    """Runs the benchmark; returns 0 if all ends are the same bit for bit."""
    moments, folder = random.Random(args.seed), Path(tempfile.mkdtemp(prefix="l2o-ray-kills-"))
    train = ["train", *TRAINING.split(), "--pairs", args.pair, "--eval-pairs", args.pair]
    whole, evaluated = folder / "whole", folder / "evaluated"
    _end(_start([*train, "--out", str(whole)]))
    evaluate = ["evaluate", str(whole), "--pairs", args.pair, "--seeds", "8", "--device", "cpu"]
    _end(_start([*evaluate, "--out", str(evaluated)]))
    runs = (_Kind("training", [*train, "--workers", "2"], "state", partial(_same_run, whole)),
            _Kind("evaluation", evaluate, "parts", partial(_same_tables, evaluated)))  # fmt: skip
    same: dict[str, list[bool]] = {}
    went_on = 0
    with _cluster(args.nodes) as cluster:
        ray = ["--ray", str(cluster.address)]
        lengths = [_seconds([*kind.command, *ray], folder / "length", kind.begun) for kind in runs]
        for k in range(args.kills):
            what, kind = WHAT[k % 3], runs[k // 3 % 2]
            out = folder / str(k)
            first = [*kind.command, *ray, "--out", str(out)]
            while True:  # until it hits a run that has not ended
                process = _start(first)
                _begun(process, out / kind.begun)
                started = time.monotonic()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(moments.uniform(0.0, lengths[k // 3 % 2]))
                    lengths[k // 3 % 2] = time.monotonic() - started  # the machine has less to do than it had
                if process.poll() is None and _kill(what, cluster, process, moments):
                    break
                _end(process)
                shutil.rmtree(out)
            _end(process)
            resumed = ["train", "--resume", str(out), *ray] if kind.name == "training" else first
            if process.returncode == 0:
                went_on += 1
            elif _end(_start(resumed)) != 0:
                print(f"The command that goes on with it has failed: l2o {' '.join(resumed)}")
            good = kind.same(out)
            same.setdefault(f"{what}, {kind.name}", []).append(good)
            ended = "went on" if process.returncode == 0 else "was started again"
            print(f"{k + 1}: {what}, {kind.name}: {ended}, {'the same' if good else 'DIFFERENT'}", flush=True)
            shutil.rmtree(out)
    shutil.rmtree(folder)
    for name, each in same.items():
        print(f"{name}: {sum(each)} of {len(each)} bit-identical")
    print(f"went on by themselves: {went_on} of {args.kills}")
    return 0 if all(map(all, same.values())) else 1


@dataclass(frozen=True)
class _Kind:
    """A kind of command that is killed.

    Attributes:
        name: What it is called.
        command: How it is started, but for the cluster and the folder.
        begun: A file or folder of its own that says that there is something to lose.
        same: Whether a folder holds what it does if nothing is killed.
    """

    name: str
    command: list[str]
    begun: str
    same: Callable[[Path], bool]


def _seconds(command: Sequence[str], out: Path, begun: str) -> float:
    """How long a command runs from where there is something to lose, if nothing is killed."""
    process = _start([*command, "--out", str(out)])
    _begun(process, out / begun)
    started = time.monotonic()
    if _end(process) != 0:
        raise SystemExit(f"The uninterrupted run failed: l2o {' '.join(command)}")
    shutil.rmtree(out)
    return time.monotonic() - started


def _begun(process: subprocess.Popen[bytes], path: Path) -> None:
    while not path.exists() and process.poll() is None:
        time.sleep(0.05)


def _kill(kind: str, cluster: Any, process: subprocess.Popen[bytes], moments: random.Random) -> bool:
    """Kills one of a kind; returns whether there was one."""
    if kind == "command":
        process.kill()
    elif kind == "node":
        node = moments.choice([each for each in cluster.list_all_nodes() if not each.head])
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(**_NODE, wait=False)  # another comes in its place
    else:
        found = _workers(cluster)
        if not found:
            return False
        os.kill(moments.choice(found), signal.SIGKILL)
    return True


_NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


@contextmanager
def _cluster(nodes: int) -> Iterator[Any]:
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    from ray.cluster_utils import Cluster

    cluster = Cluster(True, head_node_args={**_NODE, "include_dashboard": False})
    for _ in range(nodes - 1):
        cluster.add_node(**_NODE, wait=False)
    cluster.wait_for_nodes()
    try:
        yield cluster
    finally:
        cluster.shutdown()


def _workers(cluster: Any) -> list[int]:
    """Processes of the cluster's that do our work now."""
    raylets = {each.process.pid for node in cluster.list_all_nodes() for each in node.all_processes["raylet"]}
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            name = (path / "cmdline").read_bytes()
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        if parent in raylets and name.startswith((b"ray::_Actor", b"ray::_called")):
            found.append(int(path.name))
    return found


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "l2o_env", *command]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _end(process: subprocess.Popen[bytes]) -> int:
    return process.wait(timeout=900)


def _same_run(whole: Path, out: Path) -> bool:
    """Whether a training has finished, with the same files, logs and nothing left behind."""
    return _names(out) == _names(whole) and digests(out) == digests(whole)


def _names(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*") if "events" not in str(path)}


def _same_tables(evaluated: Path, out: Path) -> bool:
    return (out / "summary.md").is_file() and _tables(out) == _tables(evaluated)


def _tables(out: Path) -> list[str]:
    """What an evaluation has come to, but for times."""
    import pandas as pd

    frames = [
        pd.read_parquet(out / "results.parquet").drop(columns="wall_time"),
        pd.read_parquet(out / "actions.parquet"),
    ]
    return [hashlib.sha256(frame.to_csv().encode()).hexdigest() for frame in frames]


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args)))
