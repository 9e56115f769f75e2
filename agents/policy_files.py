"""The two files of a saved policy: ``policy.json`` and ``policy.safetensors``. Nothing in them is executed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from l2o_env import observation
from l2o_env.atomic import atomic_path
from l2o_env.errors import ConfigError

DESCRIPTION, TENSORS = "policy.json", "policy.safetensors"


def write_policy(folder: Path, description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Writes a policy to a folder, which is made if it is not there.

    Args:
        folder: The folder.
        description: JSON values.
        tensors: Tensors by name.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / TENSORS) as path:
        save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, path)
    with atomic_path(folder / DESCRIPTION) as path:
        path.write_text(json.dumps(description, indent=2), encoding="utf-8")


@contextmanager
def reading_policy(folder: Path) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    """Reads a policy; what the block makes of it may fail too.

    Args:
        folder: The folder.

    Yields:
        The description, and the tensors by name.

    Raises:
        ConfigError: If the folder holds no policy, or one that the files or the block show to be damaged.
    """
    folder = Path(folder)
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if not isinstance(description, dict):
            raise TypeError(f"{DESCRIPTION} holds no JSON object")
        yield description, load_file(folder / TENSORS)
    except ConfigError:
        raise
    except FileNotFoundError as error:
        raise ConfigError(
            f"{folder} holds no policy ({Path(error.filename or TENSORS).name} is missing); "
            "give the folder `policy` of a finished run."
        ) from error
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ConfigError(f"The policy in {folder} is damaged: {error}. Copy it again, or train anew.") from error


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
            f"The policy in {folder} observes version {version!r} of the features of a layer; this l2o-env has version "
            f"{observation.VERSION}. {mend}"
        )
    if tuple(names) != observation.FEATURE_NAMES:
        raise ConfigError(
            f"The policy in {folder} expects the features {names}; this l2o-env has {list(observation.FEATURE_NAMES)}. "
            f"{mend}"
        )


def tensors_under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
