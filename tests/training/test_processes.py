"""Two processes that train one network set the same rates, those of one process that does all of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from l2o_env.training.processes import Processes, local
from tests.training.loops import batches, scheduled, train
from tests.training.two_processes import share_training


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[list[float]]]]:
    folder = tmp_path_factory.mktemp("shared")
    torch.multiprocessing.spawn(share_training, (str(folder),), nprocs=2)
    return [torch.load(Path(folder) / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch without torch.distributed")
@pytest.mark.parametrize("kind", ["ddp", "fsdp", "fsdp-nested"])
@pytest.mark.parametrize("guided", [True, False])
def test_shared_trainings_set_the_rates_of_one_alone(shared: list, kind: str, guided: bool) -> None:
    expected = train(*scheduled(guided=guided), batches(12), guided)
    first, second = (rank[f"{kind} {guided}"] for rank in shared)
    assert first == second
    np.testing.assert_allclose(first, expected, rtol=1e-3)


def test_one_process_has_nothing_to_share() -> None:
    alone, tensor = Processes(), torch.ones(2)
    assert alone.n == 1
    assert alone.sum(tensor) is alone.mean(tensor) is local(tensor) is tensor
    assert alone.factor(tensor) == 1
