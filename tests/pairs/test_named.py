"""The pairs that this package has by name: each has a module, which is imported when it is asked for."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from l2o_env import pairs
from l2o_env.pairs.named import FAMILY, MODULES


def test_importing_pairs_loads_nothing_heavy() -> None:
    code = "import sys, l2o_env.pairs; print([m for m in ('PIL', 'sklearn', 'matplotlib', 'rich') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("module", sorted(set(MODULES.values())))
def test_every_module_is_there_and_has_both_functions(module: str) -> None:
    found = import_module(module)
    assert callable(found.settings_of) and callable(found.build)


def test_all_of_them_are_registered_in_their_order() -> None:
    assert pairs.names()[: len(MODULES)] == tuple(MODULES)
    for split in ("train", "test", None):
        of_family = tuple(name for name, its in FAMILY.items() if its == split)
        if split is not None:
            assert tuple(name for name in pairs.names(split) if name in MODULES) == of_family
        assert of_family
    assert set(FAMILY) < set(MODULES)
