"""A Ray cluster of three nodes that are all on this machine, for tests."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from l2o_env.cluster.connection import connect
from l2o_env.inner.ray_worker import RayWorker

ray = pytest.importorskip("ray")

NODES = 3


class Machines:
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
        pids = {of(worker, "get_node_id"): pid_of(worker) for worker in workers}
        node = next(node for node in self.others if node.node_id in pids)
        self.others.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)
        deadline = time.monotonic() + 60
        while os.path.exists(f"/proc/{pids[node.node_id]}") and time.monotonic() < deadline:
            time.sleep(0.05)  # until the worker has noticed, it goes on


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """The cluster of a file's tests."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}  # before the cluster starts
    found = Machines()
    connect(found.address)  # not to one that runs here besides
    yield found
    ray.shutdown()
    found.cluster.shutdown()


def of(worker: RayWorker, what: str) -> Any:
    """What Ray says in a worker."""
    call = worker._actor.__ray_call__
    return worker._ray.get(call.remote(lambda self: getattr(ray.get_runtime_context(), what)()))


def pid_of(worker: RayWorker) -> int:
    return int(worker._ray.get(worker._actor.__ray_call__.remote(lambda self: os.getpid())))
