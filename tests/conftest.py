"""Shared fixtures: one thread, a cache folder of the session's own, the tiny pair."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from l2o_env.agents_name import FOLDER, INSTALLED
from l2o_env.env import Syn2RealEnv
from l2o_env.models.importance import PathIntegral
from l2o_env.pairs.proxies import embedded
from l2o_env.pairs.splits import Split
from l2o_env.vector_env import Syn2RealVectorEnv
from tests.tiny import TINY, register_tinies

torch.set_num_threads(1)


class _InstalledName(MetaPathFinder, Loader):
    """Finds this checkout's agents by the name that they are installed by, whatever is installed."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """A module of ``l2o_agents``; None for others."""
        return ModuleSpec(fullname, self) if fullname.partition(".")[0] == INSTALLED else None

    def exec_module(self, module: ModuleType) -> None:
        """Takes the module of ``agents`` in its place."""
        sys.modules[module.__name__] = import_module(module.__name__.replace(INSTALLED, FOLDER, 1))


sys.meta_path.insert(0, _InstalledName())


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
    return register_tinies()[0]


@pytest.fixture(scope="session")
def tinies() -> tuple[str, str]:
    """The names of two such pairs, with different numbers of proxy classes and images."""
    return register_tinies()


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Figure]:
    """The figures that are saved in a test, in place of their pictures; files by relative paths go nowhere."""
    saved: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: saved.append(figure))
    monkeypatch.chdir(tmp_path)
    return saved


@pytest.fixture
def make_env(tiny: str) -> Callable[..., Syn2RealEnv]:
    """Makes an environment on the tiny pair, without Gymnasium's wrappers."""

    def make(**config: Any) -> Syn2RealEnv:
        return Syn2RealEnv(**{**TINY, **config})

    return make


@pytest.fixture
def make_vec(tiny: str) -> Callable[..., Syn2RealVectorEnv]:
    """Makes a population of environments on the tiny pair."""

    def make(num_envs: int = 3, **config: Any) -> Syn2RealVectorEnv:
        return Syn2RealVectorEnv(num_envs, **{**TINY, **config})

    return make


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """Proxies are as they were drawn; the list grows by one entry per proxy that would have been trained."""
    monkeypatch.setenv("L2O_ENV_CACHE", str(tmp_path))
    calls: list[int] = []

    def leave(proxy: nn.Module, data: Split, *others: object) -> PathIntegral:
        calls.append(len(data))
        return PathIntegral({})

    monkeypatch.setattr(embedded, "fit", leave)
    return calls
