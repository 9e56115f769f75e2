"""Workers and tasks on Ray, on three nodes of this machine: the same bits as one process, whatever dies."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2o_env import pairs
from l2o_env.cluster.connection import Need, connect
from l2o_env.cluster.sent_pairs import SHARED_BYTES, SentPair
from l2o_env.cluster.tasks import Tasks
from l2o_env.errors import ConfigError, WorkerError
from l2o_env.inner import ray_worker, worker_shard
from l2o_env.inner.build import Plan, in_workers, make_population
from l2o_env.inner.ray_worker import RayWorker, ray_workers
from l2o_env.inner.sharded import ShardedPopulation
from l2o_env.inner.window import Start
from tests.inner.test_sharded import LENGTHS, RATES, STARTS, _assert_same_way, _config, _same_states
from tests.ray_machines import NODES, Machines, of, pid_of
from tests.ray_machines import machines as machines  # the fixture
from tests.tiny import tiny_pair

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.filterwarnings("default")  # of Ray's own


@pytest.fixture
def divided(machines: Machines, tinies: tuple[str, str]) -> Iterator[Callable[..., ShardedPopulation]]:
    """Makes a population on as many workers as there are nodes; they end with the test, whose cores others need."""

    def make(kind: str = "looped", **changes: Any) -> ShardedPopulation:
        config = _config(**{"workers": NODES, "ray": machines.address, **changes})
        return in_workers(Plan(kind, 5, config), [pairs.make(name) for name in tinies])  # type: ignore[arg-type]

    yield make
    ray_workers(machines.address, 1, 0.0).stop()


def _worker(population: ShardedPopulation, k: int) -> RayWorker:
    return population.shards[k]._worker  # type: ignore[attr-defined, no-any-return]


def test_nodes_give_the_bits_of_one_process(divided: Callable[..., ShardedPopulation], tinies: tuple[str, str]) -> None:
    parts = divided()
    places = {of(_worker(parts, k), "get_node_id") for k in range(NODES)}
    assert len(places) == NODES
    _assert_same_way(Plan("looped", 5, _config())([pairs.make(name) for name in tinies]), parts, RATES)


def test_images_are_put_once_and_a_step_is_small(machines: Machines, tiny: str) -> None:
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


def test_what_does_not_fit_is_told_at_once(machines: Machines, tiny: str) -> None:
    n = 1 + len(machines.others)  # a test may have lost one
    has = f"the cluster has {n} nodes with {n} CPU and 0 GPU in all, room for"
    with pytest.raises(ConfigError, match=rf"^5 workers with 1 CPU each do not fit: {has} {n}\."):
        make_population(_config(workers=5, ray=machines.address), 5)
    with pytest.raises(ConfigError, match=rf"^2 workers with 1 CPU and 0.5 GPU each do not fit: {has} 0\."):
        make_population(_config(workers=2, ray=machines.address, gpus_per_worker=0.5), 5)
    with pytest.raises(ConfigError, match=r"ray://head:10001 is a Ray client's address"):
        from l2o_env.cluster.connection import _init

        _init(ray, "ray://head:10001")


def test_a_cluster_is_not_taken_for_the_one_before(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = connect(machines.address)
    assert cluster.connected and connect(machines.address) is cluster
    context = type(ray.get_runtime_context())
    monkeypatch.setattr(context, "get_node_id", lambda _: "another")  # which gives its first job the same number
    assert not cluster.connected


def test_need_counts_gpus_as_ray_does(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = connect(machines.address)
    nodes = [{"Alive": alive, "Resources": {"CPU": 8.0, "GPU": 2.0}} for alive in (True, True, False)]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    assert [cluster.room(Need(gpus)) for gpus in (0.0, 0.3, 0.5, 1.0, 2.0, 4.0)] == [16, 12, 8, 4, 2, 0]


@pytest.mark.parametrize("how", ["kill", "stop", "node"])
def test_what_a_lost_worker_did_is_made_again(
    divided: Callable[..., ShardedPopulation],
    machines: Machines,
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
            os.kill(pid_of(worker), signal.SIGKILL if how == "kill" else signal.SIGSTOP)
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


# --- tasks -----------------------------------------------------------------------------------------------------------


def _once_killed(marker: Path, value: int) -> int:
    """Ends its process the first time."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def _refused(name: str) -> int:
    raise ConfigError(f"{name} is refused.")


def test_tasks_are_run_again_and_their_errors_come_through(machines: Machines, tiny: str, tmp_path: Path) -> None:
    tasks = Tasks(machines.address)
    calls = [partial(_once_killed, tmp_path / "0", 10), partial(len, "text"), lambda: pairs.make("sent").n_classes]
    pairs.register("sent", lambda: tiny_pair(name="sent"))
    assert dict(tasks.run(calls, ["sent"])) == {0: 10, 1: 4, 2: 3}
    pairs.unregister("sent")
    with pytest.raises(ConfigError, match=r"^a is refused\."):
        list(tasks.run([partial(_refused, "a"), partial(time.sleep, 60)]))
    with pytest.raises(ConfigError, match=r"^A task with 1 CPU and 1 GPU does not fit: the cluster has \d nodes with"):
        list(Tasks(machines.address, gpus=1.0).run([]))


def test_tasks_that_have_no_place_beside_this_process_are_told(
    machines: Machines, divided: Callable[..., ShardedPopulation], tiny: str
) -> None:
    n = connect(machines.address).room(Need())
    population = divided(workers=n)
    tasks = Tasks(machines.address)
    room = rf"beside the {n} workers of this process's environments there is room for 0\. Close environments"
    with pytest.raises(ConfigError, match=room):
        list(tasks.run([partial(len, "text")]))
    with pytest.raises(ConfigError, match=r"^A worker with 1 CPU and 0.5 GPU does not fit"):
        make_population(_config(workers=1, ray=machines.address, gpus_per_worker=0.5), 5)
    population.start(STARTS)  # they are still there
    workers = [_worker(population, k) for k in range(n)]
    for shard in population.shards:  # as when an environment that nobody has closed is collected
        shard.forget()
    assert dict(tasks.run([partial(len, "text")])) == {0: 4}
    assert not any(worker.alive for worker in workers)


def test_tasks_that_wait_for_others_are_told(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("l2o_env.cluster.tasks.TELL_SECONDS", 0.5)
    cluster = connect(machines.address)
    other = ray.remote(num_cpus=1)(lambda seconds: time.sleep(seconds))
    others = [other.remote(60) for _ in range(cluster.room(Need()))]
    calls = iter(Tasks(machines.address).run([partial(len, "text")]))
    while cluster.ray.available_resources().get("CPU", 0.0):
        time.sleep(0.05)
    monkeypatch.setattr(cluster, "described", lambda: _ended(others))
    assert list(calls) == [(0, 4)]
    assert "Waiting for Ray to begin a task with 1 CPU; the cluster has ended" in caplog.text


def _ended(tasks: list[Any]) -> str:
    for task in tasks:
        ray.cancel(task, force=True)
    return "ended"


def test_tasks_whose_nodes_have_gone_are_told(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2o_env.cluster.tasks.TELL_SECONDS", 0.2)
    cluster = connect(machines.address)
    calls = iter(Tasks(machines.address).run([partial(time.sleep, 60)] * 2))
    rooms = iter([1, 1, 1])  # as it begins; then there is none
    monkeypatch.setattr(cluster, "room", lambda *_: next(rooms, 0))
    with pytest.raises(ConfigError, match=r"^A task with 1 CPU does not fit: the cluster has .* room for 0"):
        next(calls)


def test_a_task_that_is_lost_again_and_again_is_one_clear_error(machines: Machines, tiny: str) -> None:
    with pytest.raises(WorkerError, match=r"^A task was lost 4 times \(WorkerCrashedError.*the cluster has \d nodes"):
        list(Tasks(machines.address).run([partial(_killed, 0)]))


def _killed(value: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return value
