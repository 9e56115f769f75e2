"""What Ray costs, and what it bears: ``python -m benchmarks.ray_scaling``.

Updates per second of a population in Ray's workers beside the same in worker processes, interleaved; bytes and
milliseconds of a step; episodes of simulated length beside the ideal.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from tyro.conf import arg

from benchmarks.measure import quartiles
from benchmarks.progress import write_json
from l2o_env.cluster.connection import connect
from l2o_env.cluster.tasks import Tasks
from l2o_env.inner.workers import stop_workers
from l2o_env.vector_env import Syn2RealVectorEnv


@dataclass(frozen=True)
class Args:
    """Measures populations and tasks on a Ray cluster of this machine."""

    pair: str = "glyphs-digits"
    """Pair of the populations."""
    optimizees: int = 16
    """Fine-tuning runs side by side."""
    workers: int = 2
    """Workers that share them."""
    steps: int = 40
    """Steps that are measured, of each, in turns."""
    seconds: tuple[float, ...] = (0.1, 1.0, 10.0)
    """Lengths of the simulated episodes."""
    simulated: int = 16
    """Tasks side by side that wait for so long."""
    json: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the figures too."""


def measure_steps(args: Args) -> dict[str, Any]:
    """Seconds of a step with processes and with Ray, step by step in turns; bytes that a step sends."""
    from l2o_env.inner.ray_worker import RayWorker

    settings: dict[str, Any] = {"pairs": args.pair, "device": "cpu", "workers": args.workers, "budget": 15 * args.steps}
    more: dict[str, dict[str, Any]] = {"processes": {}, "ray": {"ray": "auto"}}
    envs = {name: Syn2RealVectorEnv(args.optimizees, **settings, **own) for name, own in more.items()}
    actions = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in envs}
    for env in envs.values():
        env.reset(seed=0)
    workers: list[RayWorker] = [shard._worker for shard in envs["ray"].episodes.population.shards]  # type: ignore[attr-defined]
    before = [(worker.sent, worker.received) for worker in workers]
    for k in range(args.steps - 1):
        action = actions.uniform(-0.5, 0.5, envs["ray"].action_space.shape or ()).astype(np.float32)
        rewards = []
        for name in sorted(envs, reverse=bool(k % 2)):  # neither is always the first
            started = time.perf_counter()
            rewards.append(envs[name].step(action)[1])
            seconds[name].append(time.perf_counter() - started)
        assert (rewards[0] == rewards[1]).all()  # the same bits
    sent, received = (sum(getattr(w, key) - b[i] for w, b in zip(workers, before, strict=True))
                      for i, key in enumerate(("sent", "received")))  # fmt: skip
    n = args.optimizees * (args.steps - 1)
    for env in envs.values():
        env.close()
    stop_workers()
    return {
        "seconds of a step": {name: quartiles(np.array(each)) for name, each in seconds.items()},
        "updates of Ray over those of processes": sum(seconds["processes"]) / sum(seconds["ray"]),
        "bytes of a step and optimizee": {"out": sent / n, "back": received / n},
        "bytes of the pairs, once": connect("auto").bytes_of_pairs,
    }


def measure_call(n: int = 300) -> dict[str, list[float]]:
    """Milliseconds of a call that does nothing, of a worker of either kind."""
    from l2o_env.inner.ray_worker import ray_workers
    from l2o_env.inner.workers import get_workers

    found = {}
    for name, worker in (("processes", get_workers(1)[0]), ("ray", ray_workers("auto", 1, 0.0).get(1)[0])):
        times = []
        for _ in range(n):
            started = time.perf_counter()
            worker.answer(worker.ask(0, "build", tuple, [], 1))
            times.append(1e3 * (time.perf_counter() - started))
        found[name] = list(quartiles(np.array(times[n // 10 :])))
        worker.drop(0)
    stop_workers()
    ray_workers("auto", 1, 0.0).stop()  # or its core would be taken while tasks wait
    return found


def measure_simulated(args: Args) -> list[dict[str, float]]:
    """Tasks that wait as long as an episode would take, twice as many as run side by side, beside the ideal."""
    rows = []
    for seconds in args.seconds:
        list(Tasks("auto").run([partial(time.sleep, 0)] * args.simulated))  # processes start
        started = time.perf_counter()
        list(Tasks("auto").run([partial(time.sleep, seconds)] * (2 * args.simulated)))
        taken = time.perf_counter() - started
        rows.append({"seconds": seconds, "taken": taken, "ideal": 2 * seconds, "share": 2 * seconds / taken})
    return rows


def main(args: Args) -> int:
    """Runs the benchmark."""
    import ray

    # As many cores as tasks wait side by side; they need none.
    ray.init("local", num_cpus=args.simulated, include_dashboard=False, object_store_memory=200 * 2**20)
    steps = measure_steps(args)
    for name, (median, low, high) in steps["seconds of a step"].items():
        times = f"{1e3 * median:8.1f} ms ({1e3 * low:.1f}–{1e3 * high:.1f})"
        print(f"a step of {args.optimizees} optimizees, {name:<9} {times}")
    print(f"updates per second of Ray over those of processes: {steps['updates of Ray over those of processes']:.3f}")
    out, back = steps["bytes of a step and optimizee"].values()
    print(f"bytes of a step and optimizee: {out:.0f} out, {back:.0f} back")
    print(f"bytes of the pairs, once: {steps['bytes of the pairs, once']}")
    call = measure_call()
    for name, (median, low, high) in call.items():
        print(f"a call that does nothing, {name:<9} {median:.2f} ms ({low:.2f}–{high:.2f})")
    rows = measure_simulated(args)
    for row in rows:
        print(f"episodes of {row['seconds']:g} s: {row['taken']:.2f} s, ideal {row['ideal']:g} s ({row['share']:.0%})")
    write_json(args.json, {"steps": steps, "call": call, "simulated": rows})
    return 0


if __name__ == "__main__":
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    sys.exit(main(tyro.cli(Args)))
