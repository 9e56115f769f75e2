"""The state of a running episode as a file: its tensors as safetensors, all else as JSON. Nothing in it is executed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from l2o_env.errors import ConfigError, brief, one_line
from l2o_env.inner.window import Measurements, Start
from l2o_env.safe_json import parse_json
from l2o_env.safe_tensors import read_safetensors

_KINDS = {kind.__name__: kind for kind in (Start, Measurements)}
"""Own classes that states hold."""


def write_state(state: Any, path: Path) -> None:
    """Writes what ``get_state`` of an environment gave; `path` is to be moved into place by the caller.

    Args:
        state: Dictionaries, lists, tuples, tensors, arrays, texts, numbers, None, and what ``_KINDS`` has.
        path: The file.
    """
    tensors: dict[str, Tensor] = {}
    tree = _packed(state, tensors)
    save_file(tensors, path, {"state": json.dumps(tree)})


def read_state(path: Path) -> Any:
    """Reads what :func:`write_state` wrote.

    Raises:
        ConfigError: If the file is damaged, or none of these.
    """
    try:
        tensors, metadata = read_safetensors(path)
        return _unpacked(parse_json(metadata["state"], exact=True), tensors)
    except Exception as error:  # a reader of what may be anything raises anything
        raise ConfigError(
            f"The checkpoint {path} cannot be read ({brief(one_line(error), 200)}); begin anew elsewhere."
        ) from error


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """JSON of a value; tensors and arrays go to `tensors`."""
    if isinstance(value, Tensor | np.ndarray):
        name = str(len(tensors))
        tensors[name] = torch.as_tensor(value).detach().cpu().clone().contiguous()
        return {"kind": "tensor" if isinstance(value, Tensor) else "array", "of": name}
    if isinstance(value, dict):
        return {"kind": "dict", "of": [[_packed(k, tensors), _packed(v, tensors)] for k, v in value.items()]}
    if type(value).__name__ in _KINDS:
        fields = value._asdict() if isinstance(value, Start) else vars(value)
        return {"kind": type(value).__name__, "of": {k: _packed(v, tensors) for k, v in fields.items()}}
    if isinstance(value, list | tuple):
        return {"kind": "list" if isinstance(value, list) else "tuple", "of": [_packed(v, tensors) for v in value]}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"A state holds a {type(value).__name__}, which no file can.")


def _unpacked(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(tree, dict):
        return tree
    kind, of = tree["kind"], tree["of"]
    if kind == "tensor":
        return tensors[of]
    if kind == "array":
        return tensors[of].numpy()
    if kind == "dict":
        return {_unpacked(k, tensors): _unpacked(v, tensors) for k, v in of}
    if kind in ("list", "tuple"):
        items = [_unpacked(v, tensors) for v in of]
        return items if kind == "list" else tuple(items)
    return _KINDS[kind](**{k: _unpacked(v, tensors) for k, v in of.items()})
