"""Tensors of files that may be anybody's; nothing in them is executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from l2o_env.errors import shortened

MAX_NAME = 1000
"""Characters of a tensor's name."""


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    The tensors are copies, because safetensors maps the file: what is written there later must not change them.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no plain file.
        safetensors.SafetensorError: If it is damaged.
    """
    from safetensors import safe_open

    if not path.is_file():  # to open a pipe might never end
        if path.exists():
            raise ValueError("it is no plain file")
        raise FileNotFoundError(2, "No such file", str(path))
    with safe_open(str(path), framework="pt") as file:
        return {name: file.get_tensor(name).clone() for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def require_plain(tensors: Mapping[str, Tensor], most: int) -> None:
    """Checks that tensors hold each of their numbers once: neither sparse nor quantised, nor larger than their file.

    Names of thousands of characters are none of any network, and searching them takes long.

    Args:
        tensors: By name.
        most: Bytes of the file that they were read from.

    Raises:
        ValueError: If one is something else; the message names it.
    """
    for name, tensor in tensors.items():
        if len(name) > MAX_NAME:
            raise ValueError(f"{shortened(name)} is the name of no parameter")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            kind = "sparse" if tensor.layout != torch.strided else "quantised" if tensor.is_quantized else "elsewhere"
            raise ValueError(f"{shortened(name)} is {kind}; save plain tensors")
        size = tensor.numel() * tensor.element_size()
        if size > tensor.untyped_storage().nbytes() or size > most:
            raise ValueError(f"{shortened(name)} is {shortened(tuple(tensor.shape))}, more than the file has numbers")


def require_finite(tensors: Mapping[str, Tensor]) -> None:
    """Checks weights and statistics, with which nothing could be computed otherwise.

    Raises:
        ValueError: If one holds NaN or infinity, or is a negative variance; the message names it.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() or tensor.is_complex():
            strange = int((~torch.isfinite(tensor)).sum())
            if strange:
                raise ValueError(f"{strange} of {tensor.numel()} numbers of {shortened(name)} are NaN or infinite")
            if name.endswith(("running_var", "normaliser.var")) and bool((tensor < 0).any()):
                raise ValueError(f"the variance {shortened(name)} is negative")
