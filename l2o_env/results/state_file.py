"""States on disk: nested plain values, arrays and tensors in one safetensors file, checked by its checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from l2o_env.atomic import atomic_path
from l2o_env.errors import ConfigError, brief, one_line
from l2o_env.pairs.cache import checksum
from l2o_env.safe_json import parse_json
from l2o_env.safe_tensors import read_safetensors

Kinds = Sequence[type]
"""Named tuples and dataclasses that a state may hold besides; nothing else is ever made of a file."""


def write_state(path: Path, state: Any, kinds: Kinds = ()) -> None:
    """Writes a state atomically; it is on the disk when this returns.

    Args:
        path: The file, in a folder that is there.
        state: None, booleans, numbers, texts, NumPy arrays of numbers and tensors, in lists, tuples and dictionaries.
        kinds: Named tuples and dataclasses in it.

    Raises:
        TypeError: If it holds something else.
        OSError: If it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_packed(state, tensors, {kind.__name__ for kind in kinds}))
    tensors = tensors or {"0": torch.zeros(0)}  # safetensors keeps no metadata of nothing
    try:
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, {"state": tree, "sha256": _digest(tree, tensors)})
    except SafetensorError as error:  # how safetensors reports a full disk
        raise OSError(str(error)) from error


def read_state(path: Path, kinds: Kinds = ()) -> Any:
    """Reads what :func:`write_state` wrote, bit for bit; nothing in the file is executed.

    Args:
        path: The file.
        kinds: As they were given to :func:`write_state`.

    Raises:
        ConfigError: If the file is not there, or is not what was written.
    """
    try:
        tensors, metadata = read_safetensors(path)
        tree = metadata["state"]
        if metadata["sha256"] != _digest(tree, tensors):
            raise ValueError("its checksum does not fit its content")
        return _unpacked(parse_json(tree, exact=True), tensors, {kind.__name__: kind for kind in kinds})
    except Exception as error:  # a reader of what may be anything raises anything
        raise ConfigError(f"The saved state {path} is damaged or missing ({brief(one_line(error), 200)}).") from error


def _digest(tree: str, tensors: dict[str, Tensor]) -> str:
    return hashlib.sha256(f"{tree}\n{checksum(tensors)}".encode()).hexdigest()


def _packed(value: Any, tensors: dict[str, Tensor], kinds: set[str]) -> Any:
    """A value as JSON; what is no plain value becomes a list that begins with its kind."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic):
        return _packed(value.item(), tensors, kinds)
    if isinstance(value, np.ndarray | Tensor):
        name = str(len(tensors))
        array = torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value.detach().cpu().clone()
        tensors[name] = array.contiguous()
        return ["array" if isinstance(value, np.ndarray) else "tensor", name]
    if isinstance(value, dict):
        return ["dict", *([_packed(k, tensors, kinds), _packed(v, tensors, kinds)] for k, v in value.items())]
    if type(value) in (list, tuple):
        return [type(value).__name__, *(_packed(item, tensors, kinds) for item in value)]
    if type(value).__name__ in kinds:
        return [type(value).__name__, *(_packed(item, tensors, kinds) for item in _parts(value))]
    raise TypeError(f"A saved state cannot hold a {type(value).__name__}.")


def _parts(value: Any) -> list[Any]:
    return [getattr(value, field.name) for field in fields(value)] if is_dataclass(value) else list(value)


def _unpacked(value: Any, tensors: dict[str, Tensor], kinds: dict[str, type]) -> Any:
    if not isinstance(value, list):
        return value
    kind, *items = value
    if kind == "tensor":
        return tensors[items[0]]
    if kind == "array":
        return tensors[items[0]].numpy()
    if kind == "dict":
        return {_unpacked(k, tensors, kinds): _unpacked(v, tensors, kinds) for k, v in items}
    parts = [_unpacked(item, tensors, kinds) for item in items]
    if kind in ("list", "tuple"):
        return parts if kind == "list" else tuple(parts)
    return kinds[kind](*parts)
