"""Modules of files that are named by their path, such as ``nets/my_net.py``.

The name of such a module says where its file is: that of this one, and then ``.my_net_<digest of the file>_<path>``. So
two files of one name are told apart, a file that has changed is another module, and a class of it can be sent to
another process, which finds the file by that name.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

__path__: list[str] = []  # a package without files of its own: its modules are found below


def load_file(path: Path) -> ModuleType:
    """The module of a file, which is run unless it was already. Raises what that raises."""
    path = path.resolve()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    stem = re.sub(r"\W", "_", path.stem)
    return importlib.import_module(f"{__name__}.{stem}_{digest}_{os.fsencode(path).hex()}")


class _Finder:
    """Finds the file of a module by its name."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """See ``importlib.abc.MetaPathFinder``."""
        package, _, module = name.rpartition(".")
        if package != __name__:
            return None
        return importlib.util.spec_from_file_location(name, os.fsdecode(bytes.fromhex(module.rpartition("_")[2])))


sys.meta_path.append(_Finder)
