"""How many threads compute: one in forked processes."""

from __future__ import annotations

import os
import sys


def compute_alone_after_fork() -> None:
    """From now on, processes that are forked from this one compute with one thread.

    Of PyTorch's threads a fork copies only the one that calls it, and OpenMP would wait for the others for ever. This
    neither loads PyTorch nor minds when it is loaded.
    """
    if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
        os.register_at_fork(after_in_child=_compute_alone)


def _compute_alone() -> None:
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
