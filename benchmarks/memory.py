"""Peak memory, measured in processes of their own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from benchmarks.contenders import close


def peak_bytes(
    run: Callable[[], Any], device: str, threads: int = 1, *, before: Callable[[], Any] | None = None
) -> int:
    """Bytes that running something takes at its peak; measured in a new process.

    On a CPU it is the resident memory of the process, so that whatever `run` loads (Numba, libraries) counts. Of worker
    processes the memory that is not shared with others is added (proportional set size when `run` is done). On a GPU
    it is the peak of the memory that PyTorch has allocated there.

    Args:
        run: What is measured, of an importable module; what it returns is kept until the peak is read.
        device: Torch device.
        threads: Threads of PyTorch.
        before: Called first; what it takes is left out.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_measure_here, run, device, threads, before).result()


def _measure_here(run: Callable[[], Any], device: str, threads: int, before: Callable[[], Any] | None) -> int:
    torch.set_num_threads(threads)
    if before is not None:
        before()
    # A first operation on the device: what PyTorch itself takes is no one's share.
    torch.nn.functional.conv2d(torch.zeros(1, 1, 3, 3, device=device), torch.zeros(1, 1, 3, 3, device=device))
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        start = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
    else:
        start = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    kept = run()
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else _status("VmHWM") + _of_children()
    close(kept)
    return peak - start


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}; memory is measured on Linux only.")


def _of_children() -> int:
    total = 0
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                total += int(line.split()[1]) * 1024 if line.startswith("Pss:") else 0
    return total
