"""Tensors of files that may be anybody's; nothing in them is executed."""

from __future__ import annotations

import io
import pickletools
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from l2o_env.errors import ConfigError, shortened

MAX_NAME = 1000
"""Characters of a tensor's name."""
MAX_PICKLE = 2**22
"""Bytes of the list of tensors in a PyTorch file: some 25,000 tensors, and a few seconds of reading."""
_MAX_SQUARES = 10**9
_LEGACY = 5
"""Pickles before the tensors of a file that PyTorch 1.5 or earlier wrote."""


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


def read_pytorch(path: Path) -> Any:
    """What a PyTorch file of tensors and plain values holds; nothing in it is executed.

    Its lists are looked at first, because of a few megabytes PyTorch can make minutes of work or gigabytes.

    Args:
        path: The file.

    Raises:
        ConfigError: If it is packed, or its lists are none of a network's.
        Exception: Whatever PyTorch makes of a file that is damaged or holds anything else.
    """
    with path.open("rb") as file:
        archive = file.read(4) == b"PK\x03\x04"  # as PyTorch tells them apart
        file.seek(0)
        if archive:
            _require_plain_archive(path)
        else:
            _require_short(file.read(MAX_PICKLE + 1), _LEGACY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the pickle protocol; what cannot be read is an error
        return torch.load(path, map_location="cpu", weights_only=True)


def _require_plain_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sum(each.file_size for each in members) > path.stat().st_size:
            raise ConfigError("it is packed, which PyTorch does not do")
        for each in members:
            inside = each.filename.partition("/")[2]
            if not inside.startswith("data/") and each.file_size > MAX_PICKLE:
                raise ConfigError(f"{shortened(inside)} in it has more than {MAX_PICKLE >> 20} MiB")
            if inside == "data.pkl":
                _require_short(archive.read(each), 1)


def _require_short(content: bytes, n: int) -> None:
    """Raises ``ConfigError`` of pickles with names or texts that PyTorch, if it refuses them, would search for ever.

    Its search for a reason takes the square of the length of each word.
    """
    file = io.BytesIO(content)
    for _ in range(n):
        for operation, value, _ in pickletools.genops(file):
            if not isinstance(value, str):
                continue
            if operation.name == "GLOBAL" and len(value) > MAX_NAME:
                raise ConfigError(f"{shortened(value)} is no type of tensors")
            if len(value) ** 2 > _MAX_SQUARES and sum(len(word) ** 2 for word in value.split()) > _MAX_SQUARES:
                raise ConfigError(f"it holds {shortened(value)} beside tensors")


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
