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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.kills import digests

TRAINING = (
    "--num-envs 4 --budget 12 --window 4 --episodes 160 --checkpoints 2 --eval-seeds 2 --tuning-episodes 0 "
    "--device cpu --save-every 0.2"
)
KINDS = ("worker", "node", "command")


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
    same: dict[str, list[bool]] = {}
    with _cluster(args.nodes) as cluster:
        ray = ["--ray", str(cluster.address)]
        for k in range(args.kills):
            kind, training = KINDS[k % 3], k // 3 % 2 == 0
            out = folder / str(k)
            first = [*train, "--workers", "2"] if training else evaluate
            first = [*first, *ray, "--out", str(out)]
            process = _start(first)
            begun = out / ("state" if training else "parts")
            while not begun.exists() and process.poll() is None:  # what comes before is nobody's loss
                time.sleep(0.05)
            time.sleep(moments.uniform(0.0, 8.0))
            killed = process.poll() is None and _kill(kind, cluster, process, moments)
            _end(process)
            if not _finished(out, training):
                resumed = (
                    ["train", "--resume", str(out), *ray] if training and (out / "config.json").is_file() else first
                )
                _end(_start(resumed))
            good = _finished(out, training)
            good &= digests(out) == digests(whole) if training else _tables(out) == _tables(evaluated)
            what = f"{kind} of {'a training' if training else 'an evaluation'}"
            same.setdefault(what, []).append(good)
            told = "" if killed else " (had ended before)"
            print(f"{k + 1}: {what}{told}: {'the same' if good else 'DIFFERENT'}", flush=True)
            shutil.rmtree(out)
    shutil.rmtree(folder)
    for what, each in same.items():
        print(f"{what}: {sum(each)} of {len(each)} bit-identical")
    return 0 if all(map(all, same.values())) else 1


def _kill(kind: str, cluster: Any, process: subprocess.Popen[bytes], moments: random.Random) -> bool:
    """Kills one of a kind; returns whether there was one."""
    if kind == "command":
        process.kill()
    elif kind == "node":
        node = moments.choice([each for each in cluster.list_all_nodes() if not each.head])
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(**_NODE, wait=False)  # another comes in its place
    else:
        found = _workers()
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


def _workers() -> list[int]:
    """Processes of Ray's that do our work now."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        if text.startswith((b"ray::_Actor", b"ray::_called")):
            found.append(int(path.parent.name))
    return found


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "l2o_env", *command]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.wait(timeout=900)


def _finished(out: Path, training: bool) -> bool:
    if not training:
        return (out / "summary.md").is_file()
    results = out / "results.json"
    return results.is_file() and '"finished"' in results.read_text()


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
