"""The two files of a saved policy: ``policy.json`` and ``policy.safetensors``. Nothing in them is executed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from l2o_env import observation
from l2o_env.atomic import atomic_path
from l2o_env.errors import ConfigError, reading, shortened
from l2o_env.pairs.cache import checksum
from l2o_env.safe_json import as_object, read_object
from l2o_env.safe_tensors import read_safetensors, require_finite

DESCRIPTION, TENSORS = "policy.json", "policy.safetensors"
_CHECKSUM = "sha256"
_MEND = "copy it again, or train anew."
MAX_NAME = 200
"""Characters of a policy's name."""


def write_policy(folder: Path, description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Writes a policy to a folder, which is made if it is not there.

    Args:
        folder: The folder.
        description: JSON values.
        tensors: Tensors by name.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    with atomic_path(folder / TENSORS) as path:
        save_file(kept, path)
    described = {**description, _CHECKSUM: _digest(description, kept)}
    with atomic_path(folder / DESCRIPTION) as path:
        path.write_text(json.dumps(described, indent=2), encoding="utf-8")


def _digest(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of all that a policy is: a flipped bit would let it act otherwise, and nobody would see it."""
    text = json.dumps(description, sort_keys=True)
    return hashlib.sha256(f"{text}\n{checksum(tensors)}".encode()).hexdigest()


@contextmanager
def reading_policy(folder: Path) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    """Reads a policy; what the block makes of it may fail too.

    Args:
        folder: The folder.

    Yields:
        The description, and the tensors by name.

    Raises:
        ConfigError: If the folder holds no policy, or one that its checksum, the files or the block show to be damaged.
            Policies that were written before there were checksums have none.
    """
    folder = Path(folder)
    try:
        with reading(folder, _MEND):
            description = as_object(read_object(folder / DESCRIPTION, _MEND))
            tensors, _ = read_safetensors(folder / TENSORS)
            expected = description.pop(_CHECKSUM, None)
            if expected is not None and expected != _digest(description, tensors):
                raise ValueError(f"its checksum does not fit; if you changed {DESCRIPTION}, take {_CHECKSUM} out of it")
            require_finite(tensors)
            name = description.get("name", "")
            if not isinstance(name, str) or len(name) > MAX_NAME:
                raise ValueError(f"its name is {shortened(name, 40)}")
            yield description, tensors
    except FileNotFoundError as error:
        raise ConfigError(
            f"{folder} holds no policy ({Path(error.filename or TENSORS).name} is missing); "
            "give the folder `policy` of a finished run."
        ) from error


def observed_features() -> dict[str, Any]:
    """What the description of a policy that observes layers says of their features: version and names."""
    return {"observation_version": observation.VERSION, "features": list(observation.FEATURE_NAMES)}


def check_features(folder: Path, description: Mapping[str, Any]) -> None:
    """Checks that a policy observes what this version observes: by the same names, features may mean something else.

    Args:
        folder: Where the policy is, as errors say it.
        description: Its description.

    Raises:
        ConfigError: If version or names of the features are others.
        KeyError: If the description does not say.
        TypeError: If it holds no list of names.
    """
    version, names = description["observation_version"], description["features"]
    mend = "Use the version of l2o-env that it was trained with, or train anew."
    if version != observation.VERSION:
        raise ConfigError(
            f"The policy in {folder} observes version {shortened(version, 40)} of a layer's features; this l2o-env "
            f"has version {observation.VERSION}. {mend}"
        )
    if tuple(names) != observation.FEATURE_NAMES:
        raise ConfigError(
            f"The policy in {folder} expects the features {shortened(list(names), 300)}; this l2o-env has "
            f"{list(observation.FEATURE_NAMES)}. {mend}"
        )


def require_shape(tensors: Mapping[str, Tensor], name: str, *shape: int) -> None:
    """Checks sizes that a description tells against a tensor that is there, before anything of that size is built.

    Raises:
        ValueError: If there is no such tensor, or it has another shape.
    """
    found = tuple(tensors[name].shape) if name in tensors else "not there"
    if found != shape:
        raise ValueError(f"the tensor {name!r} is {shortened(found)}, and its description says {shortened(shape)}")


def tensors_under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
