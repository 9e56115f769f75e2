"""Shared fixtures: one thread, a cache folder of the session's own, the tiny pair."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from l2o_env import pairs
from tests.tiny import register_tiny

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Points the proxy cache at a temporary folder, unless the environment names one already."""
    if "L2O_ENV_CACHE" in os.environ:
        yield
        return
    os.environ["L2O_ENV_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    del os.environ["L2O_ENV_CACHE"]


@pytest.fixture(scope="session")
def tiny() -> str:
    """The name of a registered pair that is built in milliseconds."""
    if "tiny" not in pairs.names():
        register_tiny()
    return "tiny"
