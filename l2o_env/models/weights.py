"""Weights of a proxy: torchvision's, or those of a file. What a file holds is never executed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

from l2o_env.errors import ConfigError

_SHOWN = 5
_log = logging.getLogger("l2o_env")


def default_weights(name: str) -> dict[str, Tensor]:
    """Weights that torchvision has for a network, downloaded unless its cache folder holds them already.

    Args:
        name: Name of the network.

    Raises:
        ConfigError: If there are none, or they cannot be had; the message says which file to put where.
    """
    from torchvision.models import get_model_weights

    known = list(get_model_weights(name))
    if not known:
        raise ConfigError(f"torchvision has no pretrained weights for {name!r}; give weights=FILE.")
    url: str = get_model_weights(name).DEFAULT.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not path.is_file():
        _log.info("Downloading %s.", url)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # The file name ends with the first digits of the content's SHA-256.
            torch.hub.download_url_to_file(url, str(path), path.stem.rsplit("-", 1)[-1], progress=False)
        except (URLError, OSError, RuntimeError) as error:
            raise ConfigError(
                f"The weights of {name!r} cannot be downloaded ({error}). Download {url} elsewhere and put it at "
                f"{path}, or give weights=FILE."
            ) from error
    return read_weights(path)


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Reads a safetensors file or a checkpoint of tensors.

    A checkpoint may hold the weights under ``state_dict`` or ``model``, and their names may begin with ``module.``.

    Raises:
        ConfigError: If there is no such file or it holds anything but weights.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"There is no file of weights at {path}; put one there (safetensors or a PyTorch state_dict)."
        )
    try:
        found = _read(path)
    except Exception as error:  # whatever a damaged or foreign file makes of its reader
        raise ConfigError(
            f"{path} holds no weights that can be read ({type(error).__name__}: {str(error).splitlines()[0]}); "
            "expected safetensors, or a PyTorch file of tensors alone: torch.save(network.state_dict(), path)."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(found.get(key), Mapping):
            found = dict(found[key])
    weights = {str(name).removeprefix("module."): value for name, value in found.items() if isinstance(value, Tensor)}
    if not weights:
        raise ConfigError(f"{path} holds no tensors; expected the state_dict of a network.")
    return weights


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Loads weights that must fit exactly.

    Args:
        network: Changed in place.
        weights: By name.
        source: What messages call them.

    Raises:
        ConfigError: If names or shapes differ; the message lists them.
    """
    expected = network.state_dict()
    counters = {name for name in expected if name.endswith("num_batches_tracked")}  # old checkpoints have none
    problems = {
        "missing": sorted(set(expected) - set(weights) - counters),
        "not of this network": sorted(set(weights) - set(expected)),
        "of another shape": [
            f"{name} {tuple(weights[name].shape)} instead of {tuple(expected[name].shape)}"
            for name in expected
            if name in weights and weights[name].shape != expected[name].shape
        ],
    }
    if any(problems.values()):
        told = "; ".join(f"{len(names)} {kind}: {_shorten(names)}" for kind, names in problems.items() if names)
        raise ConfigError(f"The weights of {source} do not fit {type(network).__name__}: {told}.")
    expected.update(weights)  # it says too which version of the network's class the names are of
    network.load_state_dict(expected)


def _shorten(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
