"""What is compiled, and where it is kept."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from l2o_env.models.kernels import program


def _kept_as(folder: Path) -> str:
    spec = importlib.util.spec_from_file_location("program_of_a_copy", folder / "program.py")
    assert spec is not None and spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy.run.py_func.__qualname__


def test_kernels_of_other_sources_are_not_taken_from_the_cache(tmp_path: Path) -> None:
    copy = shutil.copytree(Path(program.__file__).parent, tmp_path / "kernels")
    assert _kept_as(copy) == program.run.py_func.__qualname__
    with (copy / "simd.py").open("a") as file:
        file.write("# another version\n")
    assert _kept_as(copy) != program.run.py_func.__qualname__
