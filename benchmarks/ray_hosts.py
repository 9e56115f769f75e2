"""Two hosts, one of which is cut off in the middle of a training: ``python -m benchmarks.ray_hosts``, as root on Linux.

The hosts are network namespaces of this machine with a cable between them. The training is on the first and has a
worker on each; then the cable is pulled. What comes out is compared bit by bit with a run in one process.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.kills import digests
from benchmarks.ray_kills import TRAINING

HOSTS = ("l2o-a", "l2o-b")
ADDRESSES = ("10.77.0.1", "10.77.0.2")


@dataclass(frozen=True)
class Args:
    """Cuts a host off in the middle of a training."""

    pair: str = "glyphs-digits"
    """Pair to train and evaluate on."""
    after: float = 5.0
    """Seconds of training before that."""


def main(args: Args) -> int:
    """Runs the benchmark; returns 0 if the end is the same bit for bit."""
    # Ray makes a token when the first node starts; nodes and command read it where they share a home.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    folder = Path(tempfile.mkdtemp(prefix="l2o-hosts-", dir="/tmp"))
    train = [
        sys.executable,
        "-m",
        "l2o_env",
        "train",
        *TRAINING.split(),
        "--pairs",
        args.pair,
        "--eval-pairs",
        args.pair,
    ]
    whole, divided = folder / "whole", folder / "divided"
    with _network():
        subprocess.run([*train, "--out", str(whole)], check=True, capture_output=True)
        with _node(0, "--head", "--port=6379", "--include-dashboard=false"), _node(1, f"--address={ADDRESSES[0]}:6379"):
            ray = ["--ray", f"{ADDRESSES[0]}:6379", "--workers", "2", "--out", str(divided)]
            training = subprocess.Popen([*_on(0), *train, *ray], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            while not (divided / "state").exists() and training.poll() is None:
                time.sleep(0.1)
            time.sleep(args.after)
            cut = training.poll() is None
            _ip("-n", HOSTS[1], "link", "set", "cable-b", "down")
            started = time.monotonic()
            _, told = training.communicate(timeout=900)
    print(told.decode(), end="")
    same = training.returncode == 0 and digests(divided) == digests(whole)
    print(
        f"cut off in the middle: {cut}; exit status {training.returncode} after {time.monotonic() - started:.0f} s more"
    )
    print(f"bit-identical: {same}")
    shutil.rmtree(folder)
    return 0 if same and cut else 1


@contextmanager
def _network() -> Iterator[None]:
    try:
        for host in HOSTS:
            _ip("netns", "add", host)
            _ip("-n", host, "link", "set", "lo", "up")
        _ip("link", "add", "cable-a", "netns", HOSTS[0], "type", "veth", "peer", "name", "cable-b", "netns", HOSTS[1])
        for host, end, address in zip(HOSTS, ("cable-a", "cable-b"), ADDRESSES, strict=True):
            _ip("-n", host, "address", "add", f"{address}/24", "dev", end)
            _ip("-n", host, "link", "set", end, "up")
        yield
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", host], check=False)


@contextmanager
def _node(k: int, *options: str) -> Iterator[None]:
    """A node of the cluster, on a host."""
    ray = Path(sys.executable).with_name("ray")
    sizes = ("--num-cpus=1", "--object-store-memory=100000000", f"--node-ip-address={ADDRESSES[k]}", "--block")
    command = [*_on(k), str(ray), "start", *options, *sizes]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        while True:
            time.sleep(1)
            output.seek(0)
            text = output.read().decode(errors="replace")
            if "Ray runtime started" in text:
                break
            if process.poll() is not None:
                raise SystemExit(text)
        try:
            yield
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):  # one that is cut off waits for the others
                process.wait(timeout=20)
            _kill_all(k)
            process.wait()


def _kill_all(k: int) -> None:
    """Ends what is left on a host."""
    found = subprocess.run(["ip", "netns", "pids", HOSTS[k]], capture_output=True, text=True, check=True)
    for pid in map(int, found.stdout.split()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _on(k: int) -> Sequence[str]:
    return "ip", "netns", "exec", HOSTS[k]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args)))
