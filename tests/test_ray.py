"""Workers and tasks on Ray, on three nodes of this machine: the same bits as one process, whatever dies."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import train_policy
from l2o_env import pairs
from l2o_env.cluster.connection import Need, connect
from l2o_env.cluster.sent_pairs import SHARED_BYTES, SentPair
from l2o_env.cluster.tasks import Tasks
from l2o_env.errors import ConfigError
from l2o_env.inner import ray_worker, worker_shard
from l2o_env.inner.build import Plan, in_workers, make_population
from l2o_env.inner.ray_worker import RayWorker, ray_workers
from l2o_env.inner.sharded import ShardedPopulation
from l2o_env.inner.window import Start
from l2o_env.inner.workers import WorkerError
from tests.agents.commands.jobs import run_folder, train
from tests.inner.test_sharded import LENGTHS, RATES, STARTS, _assert_same_way, _config, _same_states
from tests.test_examples import _example
from tests.tiny import tiny_pair

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.filterwarnings("default")  # of Ray's own
NODES = 3


class _Machines:
    """A cluster whose nodes, of one CPU each, are all on this machine."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
        health = {
            "health_check_initial_delay_ms": 0,
            "health_check_period_ms": 500,
            "health_check_failure_threshold": 4,
        }
        self._node = node
        self.cluster = Cluster(True, head_node_args={**node, "include_dashboard": False, "_system_config": health})
        self.others = [self.cluster.add_node(**node, wait=False) for _ in range(NODES - 1)]
        self.cluster.wait_for_nodes()
        self.address = str(self.cluster.address)

    def lose_node(self, workers: list[RayWorker]) -> None:
        """A node ends, and with it one of the workers; the head stays."""
        pids = {_of(worker, "get_node_id"): _pid(worker) for worker in workers}
        node = next(node for node in self.others if node.node_id in pids)
        self.others.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)
        deadline = time.monotonic() + 60
        while os.path.exists(f"/proc/{pids[node.node_id]}") and time.monotonic() < deadline:
            time.sleep(0.05)  # until the worker has noticed, it goes on


@pytest.fixture(scope="module")
def machines() -> Iterator[_Machines]:
    """The cluster of all tests."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}  # before the cluster starts
    found = _Machines()
    connect(found.address)  # not to one that runs here besides
    yield found
    ray.shutdown()
    found.cluster.shutdown()


@pytest.fixture
def divided(machines: _Machines, tinies: tuple[str, str]) -> Iterator[Callable[..., ShardedPopulation]]:
    """Makes a population on as many workers as there are nodes; they end with the test, whose cores others need."""

    def make(kind: str = "looped", **changes: Any) -> ShardedPopulation:
        config = _config(**{"workers": NODES, "ray": machines.address, **changes})
        return in_workers(Plan(kind, 5, config), [pairs.make(name) for name in tinies])  # type: ignore[arg-type]

    yield make
    ray_workers(machines.address, 1, 0.0).stop()


def _worker(population: ShardedPopulation, k: int) -> RayWorker:
    return population.shards[k]._worker  # type: ignore[attr-defined, no-any-return]


def _of(worker: RayWorker, what: str) -> Any:
    """What Ray says in a worker."""
    call = worker._actor.__ray_call__
    return worker._ray.get(call.remote(lambda self: getattr(ray.get_runtime_context(), what)()))


def _pid(worker: RayWorker) -> int:
    return int(worker._ray.get(worker._actor.__ray_call__.remote(lambda self: os.getpid())))


def test_nodes_give_the_bits_of_one_process(divided: Callable[..., ShardedPopulation], tinies: tuple[str, str]) -> None:
    parts = divided()
    places = {_of(_worker(parts, k), "get_node_id") for k in range(NODES)}
    assert len(places) == NODES
    _assert_same_way(Plan("looped", 5, _config())([pairs.make(name) for name in tinies]), parts, RATES)


def test_images_are_put_once_and_a_step_is_small(machines: _Machines, tiny: str) -> None:
    pair = tiny_pair(n_train=200, name="larger")
    config = _config(pairs=("tiny",), workers=2, ray=machines.address)
    cluster = connect(machines.address)
    before = cluster.bytes_of_pairs
    population = in_workers(Plan("stacked", 2, config), [pair])
    images = pair.train.images.numel() * 4
    assert SHARED_BYTES <= images < cluster.bytes_of_pairs - before < 2 * images
    population.start({i: Start(0, i, i) for i in range(2)})
    sent, received = _worker(population, 0).sent, _worker(population, 0).received
    population.run(RATES[:2], np.full(2, 3))
    assert _worker(population, 0).sent - sent < 2000
    assert _worker(population, 0).received - received < 4000


def test_a_pair_is_the_same_on_the_other_side() -> None:
    pair = tiny_pair(n_train=200)
    sent = SentPair.of(pair)
    there = sent.load()
    assert (there.train.images == pair.train.images).all()
    assert len(sent.arrays) == 1
    assert sent.arrays[0].nbytes == pair.train.images.numel() * 4
    assert [p.requires_grad for p in there.proxy.parameters()] == [p.requires_grad for p in pair.proxy.parameters()]


def test_errors_of_workers_come_through(divided: Callable[..., ShardedPopulation]) -> None:
    population = divided()
    population.start(STARTS)
    with pytest.raises(ConfigError, match=r"Unknown split 'targt'"):
        population.evaluate("targt")
    assert population.evaluate("target").accuracy.shape == (5,)
    worker = _worker(population, 0)
    call = worker._actor.answer.remote(b"of another version")
    with pytest.raises(ConfigError, match=r"Ray worker 0 cannot read what it is sent \(UnpicklingError"):
        worker._waited_for(call)


def test_what_does_not_fit_is_told_at_once(machines: _Machines, tiny: str) -> None:
    n = 1 + len(machines.others)  # a test may have lost one
    has = f"the cluster has {n} nodes with {n} CPU and 0 GPU in all, room for"
    with pytest.raises(ConfigError, match=rf"^5 workers with 1 CPU each do not fit: {has} {n}\."):
        make_population(_config(workers=5, ray=machines.address), 5)
    with pytest.raises(ConfigError, match=rf"^2 workers with 1 CPU and 0.5 GPU each do not fit: {has} 0\."):
        make_population(_config(workers=2, ray=machines.address, gpus_per_worker=0.5), 5)
    with pytest.raises(ConfigError, match=r"ray://head:10001 is a Ray client's address"):
        from l2o_env.cluster.connection import _init

        _init(ray, "ray://head:10001")


def test_need_counts_gpus_as_ray_does(machines: _Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = connect(machines.address)
    nodes = [{"Alive": alive, "Resources": {"CPU": 8.0, "GPU": 2.0}} for alive in (True, True, False)]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    assert [cluster.room(Need(gpus)) for gpus in (0.0, 0.3, 0.5, 1.0, 2.0, 4.0)] == [16, 12, 8, 4, 2, 0]


@pytest.mark.parametrize("how", ["kill", "stop", "node"])
def test_what_a_lost_worker_did_is_made_again(
    divided: Callable[..., ShardedPopulation],
    machines: _Machines,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tinies: tuple[str, str],
    how: str,
) -> None:
    ray_workers(machines.address, 1, 0.0).stop()  # so that each of the new ones has a node of its own
    whole, population = Plan("looped", 5, _config())([pairs.make(name) for name in tinies]), divided(workers=2)
    for each in (whole, population):
        each.start(STARTS)
    for k, lengths in enumerate(LENGTHS):
        whole.run(RATES, lengths)
        if k == 1 and how == "node":
            machines.lose_node([_worker(population, i) for i in range(2)])
        elif k == 1:
            worker = _worker(population, 1)
            os.kill(_pid(worker), signal.SIGKILL if how == "kill" else signal.SIGSTOP)
            give_up = worker._lost

            def given_up(what: str, give_up: Callable[[str], WorkerError] = give_up) -> WorkerError:
                monkeypatch.setattr(ray_worker, "SILENCE_SECONDS", 60.0)  # for the new one
                return give_up(what)

            monkeypatch.setattr(worker, "_lost", given_up)
            monkeypatch.setattr(ray_worker, "BEAT_SECONDS", 0.5)
            monkeypatch.setattr(ray_worker, "SILENCE_SECONDS", 4.0)
        population.run(RATES, lengths)
    assert _same_states(population.get_state(), whole.get_state())
    assert re.search(r"Ray worker [01] has .* made again", caplog.text)


def test_a_worker_that_ends_again_and_again_is_one_clear_error(
    divided: Callable[..., ShardedPopulation], monkeypatch: pytest.MonkeyPatch
) -> None:
    population = divided(workers=2)
    population.start(STARTS)
    monkeypatch.setattr(worker_shard, "ATTEMPTS", 1)
    pool, calls = population.shards[1]._pool, []  # type: ignore[attr-defined]
    get = pool.get

    def killed(n: int) -> list[RayWorker]:
        found = get(n)
        ray.kill(found[1]._actor)
        calls.append(n)
        return found  # type: ignore[no-any-return]

    ray.kill(_worker(population, 1)._actor)
    monkeypatch.setattr(pool, "get", killed)
    with pytest.raises(WorkerError, match=r"Ray worker 1 has ended \(ActorDied.*the cluster has \d nodes with"):
        population.run(RATES, LENGTHS[0])
    assert len(calls) == worker_shard.ATTEMPTS


def test_a_training_on_ray_ends_as_one_in_one_process(machines: _Machines, tiny: str, tmp_path: Path) -> None:
    options = ("--env", "implementation=looped", "--checkpoints", "1")
    handler = signal.getsignal(signal.SIGTERM)
    for name, more in (("here", ()), ("ray", ("--workers", "2", "--ray", machines.address))):
        assert train(tmp_path / name, *options, *more) == 0
    assert signal.getsignal(signal.SIGTERM) is handler
    for name in ("results.csv", "policy/policy.safetensors"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    pd.testing.assert_frame_equal(*(pd.read_parquet(tmp_path / run / "actions.parquet") for run in ("here", "ray")))


# --- tasks -----------------------------------------------------------------------------------------------------------


def _once_killed(marker: Path, value: int) -> int:
    """Ends its process the first time."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def _refused(name: str) -> int:
    raise ConfigError(f"{name} is refused.")


def test_tasks_are_run_again_and_their_errors_come_through(machines: _Machines, tiny: str, tmp_path: Path) -> None:
    tasks = Tasks(machines.address)
    calls = [partial(_once_killed, tmp_path / "0", 10), partial(len, "text"), lambda: pairs.make("sent").n_classes]
    pairs.register("sent", lambda: tiny_pair(name="sent"))
    assert dict(tasks.run(calls, ["sent"])) == {0: 10, 1: 4, 2: 3}
    pairs.unregister("sent")
    with pytest.raises(ConfigError, match=r"^a is refused\."):
        list(tasks.run([partial(_refused, "a"), partial(time.sleep, 60)]))
    with pytest.raises(ConfigError, match=r"1 tasks with 1 CPU and 1 GPU each do not fit"):
        list(Tasks(machines.address, gpus=1.0).run([]))


def test_an_evaluation_is_the_same_by_tasks(machines: _Machines, tinies: tuple[str, str], tmp_path: Path) -> None:
    run = run_folder(tmp_path / "a")
    command = f"evaluate {run} --pairs tiny tiny-4 --seeds 2 --opponents asg-sgd --tuning-episodes 12 --tuned uniform"
    for name, more in (("here", []), ("ray", ["--ray", machines.address])):
        assert train_policy.main([*command.split(), "--device", "cpu", "--out", str(tmp_path / name), *more]) == 0
    frames = [pd.read_parquet(tmp_path / name / "results.parquet") for name in ("here", "ray")]
    pd.testing.assert_frame_equal(*(frame.drop(columns="wall_time") for frame in frames))
    pd.testing.assert_frame_equal(*(pd.read_parquet(tmp_path / name / "actions.parquet") for name in ("here", "ray")))


@pytest.mark.parametrize(
    ("command", "table"),
    [
        ("table tiny --seeds 2 --rows 1 4 --budget 4 --window 2 --episodes 4", "table.csv"),
        ("audit tiny tiny-4 --runs 8 --env budget=4 --env window=2", "audit.csv"),
    ],
)
def test_tables_are_the_same_by_tasks(
    machines: _Machines, tinies: tuple[str, str], tmp_path: Path, command: str, table: str
) -> None:
    for name, more in (("here", []), ("ray", ["--ray", machines.address])):
        assert train_policy.main([*command.split(), "--device", "cpu", "--out", str(tmp_path / name), *more]) == 0
    assert (tmp_path / "ray" / table).read_bytes() == (tmp_path / "here" / table).read_bytes()


def test_a_sweep_runs_on_the_same_cells(machines: _Machines, tiny: str, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    example = _example("sweep")
    ray.cloudpickle.register_pickle_by_value(example)  # as a script's functions are
    args = example.Args(tmp_path / "log", trials=2, parallel=2, pairs=("tiny",), seeds=2, budget=4, window=2)
    whole = example.main(replace(args, trials=3))
    example.main(replace(args, out=tmp_path / "ray", ray=machines.address))
    study = example.main(replace(args, out=tmp_path / "ray", trials=3))  # goes on
    assert [trial.value for trial in study.trials[:2]] == [trial.value for trial in whole.trials[:2]]
    assert len(study.trials) == 3


def test_algorithms_are_trained_by_tasks(machines: _Machines, tiny: str, tmp_path: Path) -> None:
    example = _example("compare_algorithms")
    ray.cloudpickle.register_pickle_by_value(example)
    args = example.Args(algos=("reinforce",), pairs=("tiny",), eval_pairs=("tiny",), seeds=1, episodes=12, num_envs=4,
                        eval_seeds=2, budget=4, window=2, device="cpu")  # fmt: skip
    tables = [
        example.main(replace(args, out=tmp_path / name, ray=address))
        for name, address in (("here", None), ("ray", machines.address))
    ]
    pd.testing.assert_frame_equal(*tables)
