"""A population in blocks and in worker processes goes the same way as a whole one.

Bit for bit with compiled kernels and looped; batched by ``vmap``, PyTorch convolves one optimizee alone by another
algorithm than several, so there the last digits may differ.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from l2o_env import pairs
from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError, WorkerError
from l2o_env.inner import build as build_module
from l2o_env.inner import shared_memory, worker_shard, workers
from l2o_env.inner.build import Plan, in_workers, make_population
from l2o_env.inner.sharded import ShardedPopulation
from l2o_env.inner.stacked import StackedPopulation
from l2o_env.inner.window import Start, Window
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.inner.test_population_kernels import _pair as small_pair
from tests.tiny import TINY, tiny_pair

RATES = np.array([[0.01, 0.03, 0.1], [0.1, 0.0, 0.02], [0.003, 0.05, 0.3], [0.02, 0.02, 0.02], [0.05, 0.1, 0.1]])
STARTS = {i: Start(i % 2, 10 + i, 20 + i) for i in range(5)}
LENGTHS = np.array([[3, 3, 3, 3, 3], [3, 0, 1, 2, 3], [1, 3, 3, 2, 1]])


def _config(**changes: Any) -> EnvConfig:
    return EnvConfig(**{**TINY, "pairs": ("tiny", "tiny-4"), **changes})


def _assert_equal(a: Window, b: Window, exact: bool = True) -> None:
    tolerance = 0.0 if exact else 1e-4
    for mine, theirs in ((a.layers, b.layers), (a.head, b.head), (vars(a.measurements), vars(b.measurements))):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            np.testing.assert_allclose(value, theirs[name], rtol=tolerance, atol=tolerance, err_msg=name)
    np.testing.assert_array_equal(a.diverged, b.diverged)


def _assert_same_way(whole: Any, parts: ShardedPopulation, rates: NDArray[np.float64], exact: bool = True) -> None:
    n, tolerance = whole.n, 0.0 if exact else 1e-5
    assert parts.n == n
    for population in (whole, parts):
        population.start({i: STARTS[i] for i in range(n)})
    for lengths in LENGTHS[:, :n]:
        _assert_equal(whole.run(rates, lengths), parts.run(rates, lengths), exact)
        np.testing.assert_array_equal(whole.done, parts.done)
    assert parts.starts == whole.starts
    for split in ("validation", "target", "proxy_test"):
        for x, y in zip(whole.evaluate(split), parts.evaluate(split), strict=True):
            torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance)
    for x, y in zip(whole.predictions("target"), parts.predictions("target"), strict=True):
        assert torch.equal(x, y)
    one, two = whole.get_state(), parts.get_state()
    assert one.keys() == two.keys()
    assert one["starts"] == two["starts"]
    for key in ("weights", "reference"):
        torch.testing.assert_close(one[key], two[key], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(one["rule"], two["rule"], rtol=tolerance, atol=tolerance)
    # A new episode for some, and a state that is taken up by the other.
    for population in (whole, parts):
        population.start({1: Start(0, 1, 2), n - 1: Start(0, 3, 4)})
    lengths = np.minimum(7 - whole.done, 3)
    _assert_equal(whole.run(rates, lengths), parts.run(rates, lengths), exact)
    parts.set_state(one)
    whole.set_state(two)
    np.testing.assert_array_equal(parts.done, whole.done)
    lengths = np.minimum(7 - whole.done, 2)
    _assert_equal(whole.run(rates, lengths), parts.run(rates, lengths), exact)


def test_blocks_go_the_same_way(tinies: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    members = [pairs.make(name) for name in tinies]
    whole = Plan("stacked", 5, _config())(members)
    assert isinstance(whole, StackedPopulation)
    monkeypatch.setattr(build_module, "BLOCK", 2)
    monkeypatch.setattr(build_module, "BLOCK_PER_THREAD", 1)
    blocks = Plan("stacked", 5, _config())(members)
    assert isinstance(blocks, ShardedPopulation)
    assert [shard.population.n for shard in blocks.shards] == [2, 2, 1]  # type: ignore[attr-defined]
    assert len({id(shard.population._images) for shard in blocks.shards}) == 1  # type: ignore[attr-defined]
    _assert_same_way(whole, blocks, RATES, exact=False)


def test_blocks_with_kernels_go_the_same_way_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    members = [small_pair(5)]
    config = _config(pairs=("tiny",), batch_size=32)
    whole = Plan("stacked", 3, config)(members)
    assert isinstance(whole, StackedPopulation)
    assert whole._kernels is not None
    monkeypatch.setattr(build_module, "BLOCK", 2)
    monkeypatch.setattr(build_module, "BLOCK_PER_THREAD", 1)
    monkeypatch.setitem(STARTS, 1, Start(0, 11, 21))
    rates = np.array([[0.01] * 5, [0.003, 0.01, 0.01, 0.03, 0.1], [0.05] * 5])
    blocks = Plan("stacked", 3, config)(members)
    assert isinstance(blocks, ShardedPopulation)
    _assert_same_way(whole, blocks, rates)


def test_large_populations_of_a_cpu_are_in_blocks(tiny: str) -> None:
    assert isinstance(make_population(EnvConfig(**TINY), 32), StackedPopulation)
    large = make_population(EnvConfig(**TINY), 70)
    assert isinstance(large, ShardedPopulation)
    assert [shard.population.n for shard in large.shards] == [24, 23, 23]  # type: ignore[attr-defined]


def test_nothing_of_a_window_outlives_it(tiny: str) -> None:
    population = make_population(EnvConfig(**TINY), 3)
    population.start({i: Start(0, i, i) for i in range(3)})
    population.run(RATES[:3], np.full(3, 3))
    n_weights = population.layout.n_weights
    kept = [
        name for name, value in vars(population).items() if torch.is_tensor(value) and value.numel() >= 3 * n_weights
    ]
    assert {"weights", "reference"} <= set(kept)
    assert not {"_gradient", "_rates"} & set(kept)


# --- workers ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _stop() -> Iterator[None]:
    yield
    workers.stop_workers()


@pytest.fixture
def divided(tinies: tuple[str, str]) -> Callable[..., ShardedPopulation]:
    """Makes a population on two workers, which all tests share."""

    def make(n: int = 5, kind: str = "stacked", **changes: Any) -> ShardedPopulation:
        members = [pairs.make(name) for name in tinies]
        return in_workers(Plan(kind, n, _config(workers=2, **changes)), members)

    return make


@pytest.mark.parametrize("kind", ["stacked", "looped"])
def test_workers_go_the_same_way(divided: Callable[..., ShardedPopulation], tinies: tuple[str, str], kind: str) -> None:
    parts = divided(kind=kind)
    assert len(parts.shards) == 2
    whole = Plan(kind, 5, _config())([pairs.make(name) for name in tinies])
    _assert_same_way(whole, parts, RATES, exact=kind == "looped")


def test_the_environment_is_the_same_in_workers(tinies: tuple[str, str]) -> None:
    config = {**TINY, "pairs": tinies, "common_random_numbers": False}
    make = lambda n: gymnasium.make_vec(  # noqa: E731
        "l2o_env/Syn2Real-v0", num_envs=3, vectorization_mode="vector_entry_point", workers=n, **config
    )
    here, there = make(1), make(2)
    there.action_space.seed(0)
    one, two = here.reset(seed=3), there.reset(seed=3)
    for _ in range(5):
        np.testing.assert_allclose(one[0], two[0], rtol=1e-4, atol=1e-4)
        assert one[-1].keys() == two[-1].keys()
        for key, value in one[-1].items():
            if value.dtype.kind == "f":
                np.testing.assert_allclose(value, two[-1][key], rtol=1e-4, atol=1e-4, err_msg=key)
            else:
                np.testing.assert_array_equal(value, two[-1][key], err_msg=key)
        actions = there.action_space.sample()
        one, two = here.step(actions), there.step(actions)  # type: ignore[assignment]
    for venv in (here, there):
        assert venv.unwrapped.class_accuracy("target").shape == (3, 3)
    np.testing.assert_array_equal(here.unwrapped.evaluate("target"), there.unwrapped.evaluate("target"))
    np.testing.assert_array_equal(here.unwrapped.class_accuracy("target"), there.unwrapped.class_accuracy("target"))


def test_errors_of_workers_come_through(divided: Callable[..., ShardedPopulation]) -> None:
    population = divided()
    population.start(STARTS)
    with pytest.raises(ConfigError, match=r"Unknown split 'targt'") as caught:
        population.evaluate("targt")
    assert any("In a worker process" in note for note in caught.value.__notes__)
    assert population.evaluate("target").accuracy.shape == (5,)  # and the workers go on


def test_a_pair_that_cannot_be_sent() -> None:
    pair = dataclasses.replace(tiny_pair(name="local"), make_model=lambda generator: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigError, match=r"Pair 'local' cannot be sent to worker processes.*workers=1"):
        in_workers(Plan("stacked", 2, _config(workers=2)), [pair])


def test_images_are_shared_and_small_tensors_are_not(tiny: str) -> None:
    pair = tiny_pair(n_train=200, name="larger")
    population = in_workers(Plan("stacked", 2, _config(pairs=("tiny",), workers=2)), [pair])
    assert pair.train.images.numel() * 4 >= shared_memory.SHARED_BYTES
    assert pair.train.images.is_shared()
    assert not pair.validation.labels.is_shared()
    assert not any(p.is_shared() for p in pair.proxy.parameters())
    population.start({i: Start(0, i, i) for i in range(2)})
    assert not population.run(RATES[:2], np.full(2, 3)).diverged.any()


def test_ctrl_c_leaves_workers_alone(divided: Callable[..., ShardedPopulation]) -> None:
    population = divided()
    population.start(STARTS)
    for worker in workers.get_workers(2):
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGINT)
    assert not population.run(RATES, LENGTHS[0]).diverged.any()


def test_what_is_collected_in_the_middle_of_a_message_is_dropped_after_it(
    divided: Callable[..., ShardedPopulation], monkeypatch: pytest.MonkeyPatch
) -> None:
    population = divided()
    population.start(STARTS)
    worker = population.shards[0]._worker  # type: ignore[attr-defined]
    connection, sent = worker._connection, []

    class Collecting:
        def send_bytes(self, data: bytes) -> None:
            if not sent:
                sent.append("")
                worker.drop(10**6)  # as the garbage collector does
            sent.append(pickle.loads(data).method)
            connection.send_bytes(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(connection, name)

    monkeypatch.setattr(worker, "_connection", Collecting())
    assert len(population.predictions("target")) == 5
    assert sent == ["", "predictions", "drop"]


def test_an_answer_that_nobody_fetched_is_dropped(divided: Callable[..., ShardedPopulation]) -> None:
    population = divided()
    population.start(STARTS)
    # As after Ctrl-C while waiting: the answers of both shards are still on their way.
    for shard in population.shards:
        shard.submit("evaluate", "target")
    assert len(population.predictions("target")) == 5


def _same_states(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return all(_same_states(a[key], b[key]) for key in a)
    return bool((np.asarray(a) == np.asarray(b)).all())


@pytest.mark.parametrize(("kind", "how"), [("stacked", signal.SIGKILL), ("looped", signal.SIGSTOP)])
def test_what_a_lost_worker_did_is_made_again(
    divided: Callable[..., ShardedPopulation],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    how: signal.Signals,
) -> None:
    monkeypatch.setattr(worker_shard, "JOURNAL_CALLS", 2)  # so that a state is taken too
    whole, population = divided(kind=kind), divided(kind=kind)
    for each in (whole, population):
        each.start(STARTS)
    worker = workers.get_workers(2)[1]
    lost, give_up = worker.pid, worker._lost
    assert lost is not None

    def given_up(*args: str) -> WorkerError:
        monkeypatch.setattr(workers, "SILENCE_SECONDS", 60.0)  # for the new one
        return give_up(*args)

    monkeypatch.setattr(worker, "_lost", given_up)
    for k, lengths in enumerate(LENGTHS):
        whole.run(RATES, lengths)
        if k == 1:
            monkeypatch.setattr(workers, "SILENCE_SECONDS", 2.0)
            os.kill(lost, how)
        population.run(RATES, lengths)
    assert _same_states(population.get_state(), whole.get_state())
    assert f"(pid {lost}) has " in caplog.text and "made again in a new process" in caplog.text
    assert not os.path.exists(f"/proc/{lost}")
    assert lost not in [worker.pid for worker in workers.get_workers(2)]


def test_a_worker_that_ends_again_and_again_is_one_clear_error(
    divided: Callable[..., ShardedPopulation], monkeypatch: pytest.MonkeyPatch
) -> None:
    population = divided()
    population.start(STARTS)
    calls: list[int] = []

    def kill(n: int) -> list[workers.Worker]:
        found = workers.get_workers(n)
        os.kill(found[1].pid, signal.SIGKILL)  # type: ignore[arg-type]
        calls.append(n)
        return found

    os.kill(workers.get_workers(2)[1].pid, signal.SIGKILL)  # type: ignore[arg-type]
    monkeypatch.setattr(workers.PROCESSES, "get", kill)
    with pytest.raises(WorkerError, match=r"Worker process 1 \(pid \d+\) has ended with exit code -9"):
        population.run(RATES, LENGTHS[0])
    assert len(calls) == worker_shard.ATTEMPTS


def test_workers_end_with_the_last_population(make_vec: Callable[..., Syn2RealVectorEnv]) -> None:
    workers.stop_workers()
    venv = make_vec(workers=2)
    venv.reset(seed=0)
    processes = [worker.pid for worker in workers.get_workers(2)]
    os.kill(processes[0], signal.SIGSTOP)  # type: ignore[arg-type] # also one that hears of nothing
    venv.close()
    deadline = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{pid}") for pid in processes) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in processes)


def test_workers_are_for_the_cpu(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2o_env.inner.build.resolve_device", lambda name: torch.device("cuda"))
    with pytest.raises(ConfigError, match=r"workers is 2 on the device cuda.*workers=1"):
        make_population(EnvConfig(**{**TINY, "workers": 2}), 4)
