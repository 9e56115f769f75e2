"""Makes networks by name, from a file, or by a function, and loads objects of such files."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.weight_norm import WeightNorm

from l2o_env.errors import ConfigError, one_line, unknown_name
from l2o_env.extras import MissingExtraError, require
from l2o_env.models.adapted.efficientnet_lite import EfficientNetLite0
from l2o_env.models.adapted.file_modules import load_file

OWN: dict[str, type[EfficientNetLite0]] = {"efficientnet_lite0": EfficientNetLite0}
"""Networks of this package, whose weights come as packages of extras."""
_AUXILIARY = {
    "GoogLeNet": ("aux1", "aux2"),
    "Inception3": ("AuxLogits",),
    "FCN": ("aux_classifier",),
    "DeepLabV3": ("aux_classifier",),
}
"""Heads that torchvision's networks have for their first training only."""
_INCEPTION = {"init_weights": True, "transform_input": True}
_ARGUMENTS: dict[str, dict[str, Any]] = {"googlenet": _INCEPTION, "inception_v3": _INCEPTION}
"""Their weights expect another normalisation than ImageNet's, which ``transform_input`` turns into theirs."""
_OUTPUTS = ("out", "logits")


def is_name(backbone: str | Callable[[], nn.Module]) -> bool:
    """Whether a network is given by name: not by a function, nor as ``"FILE.py:NAME"`` of one."""
    return isinstance(backbone, str) and ":" not in backbone


def builder(backbone: str | Callable[[], nn.Module]) -> Callable[..., nn.Module]:
    """What makes the network, with the global random numbers left as they were.

    A network of one's own may return a mapping as torchvision's segmentation networks (``"out"``) and Hugging Face's
    (``"logits"``) do; what is made here returns the logits alone.

    Raises:
        ConfigError: If there is no network of that name.
    """
    if not isinstance(backbone, str):
        return partial(_seeded, partial(_call, backbone, getattr(backbone, "__qualname__", repr(backbone))))
    if not is_name(backbone):
        return partial(_seeded, partial(_call, load_object(backbone), backbone))
    if backbone in OWN:
        return partial(_seeded, OWN[backbone])
    from torchvision import models

    names = [*models.list_models(module=models), *OWN]
    if backbone not in names:
        return partial(_seeded, partial(timm_for(backbone, names).create_model, backbone))
    return partial(_seeded, partial(models.get_model, backbone, weights=None, **_ARGUMENTS.get(backbone, {})))


def timm_for(backbone: str, others: Sequence[str]) -> Any:
    """The package ``timm``, which has a network of that name.

    Args:
        backbone: The name.
        others: Names of torchvision's, which it is none of.

    Raises:
        ConfigError: If it has none either, or is not installed.
    """
    try:
        timm = require("timm", extra="timm", what="a network that torchvision does not have")
    except MissingExtraError as error:
        raise ConfigError(f"{unknown_name('network', backbone, others)} {error}") from error
    if not timm.is_model(backbone):
        raise ConfigError(f"{unknown_name('network', backbone, others)} timm has none of that name either.")
    return timm


def _call(own: Callable[[], Any], name: str) -> nn.Module:
    """Makes a network of one's own.

    Raises:
        ConfigError: If that fails, or makes something else.
    """
    expected = "expected a class or function that makes a torch.nn.Module without arguments"
    try:
        network = own()
    except Exception as error:  # whatever somebody's code raises
        raise ConfigError(f"The network {name} cannot be made ({one_line(error)}); {expected}.") from error
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{name} made a {type(network).__name__}; {expected}.")
    return plain_network(network)


def plain_network(network: nn.Module) -> nn.Module:
    """A network in float32, out of what ``torch.compile`` or ``DataParallel`` has wrapped around it.

    Raises:
        ConfigError: If it is of a kind whose layers cannot be trained one by one.
    """
    while isinstance(network, nn.DataParallel) or hasattr(network, "_orig_mod"):
        network = network.module if isinstance(network, nn.DataParallel) else network._orig_mod  # type: ignore[assignment]
    name = type(network).__name__
    if isinstance(network, torch.jit.ScriptModule):
        raise ConfigError(
            f"{name} is a scripted network, whose layers cannot be taken apart; give the one it was made of."
        )
    for key, parameter in network.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ConfigError(
                f"The layer of {key!r} in {name} is built when it is first used, so that its size is not known; build "
                "it with its sizes (torch.nn.Linear, not LazyLinear)."
            )
        if parameter.is_complex():
            raise ConfigError(f"The parameter {key!r} of {name} is complex; only real ones can be trained here.")
    for key, layer in network.named_modules():
        if any(type(hook) is WeightNorm for hook in layer._forward_pre_hooks.values()):
            raise ConfigError(
                f"The layer {key!r} of {name} has a torch.nn.utils.weight_norm, of which no copy can be made; give "
                "torch.nn.utils.parametrizations.weight_norm, which reads its weights."
            )
    if any(parameter.is_floating_point() and parameter.dtype != torch.float32 for parameter in network.parameters()):
        network = network.float()
    return network


def _seeded(build: Callable[..., nn.Module], seed: int = 0, **kwargs: Any) -> nn.Module:
    with local_seed(seed):
        network = build(**kwargs)
    for name in auxiliary_heads(network):
        setattr(network, name, None)
        if hasattr(network, "aux_logits"):
            network.aux_logits = False  # type: ignore[assignment]
    network.register_forward_hook(_only_logits)
    return network


def auxiliary_heads(network: nn.Module) -> tuple[str, ...]:
    """Names of the heads that a network of torchvision has for its first training only."""
    of_torchvision = type(network).__module__.startswith("torchvision.")
    return _AUXILIARY.get(type(network).__name__, ()) if of_torchvision else ()


def _only_logits(network: nn.Module, inputs: Any, output: Any) -> Tensor:
    if isinstance(output, Mapping):
        output = next((output[key] for key in _OUTPUTS if key in output), output)
    if not isinstance(output, Tensor):
        keys = f" with {', '.join(map(repr, output))}" if isinstance(output, Mapping) else ""
        raise ConfigError(
            f"{type(network).__name__} returns a {type(output).__name__}{keys}; expected a tensor of logits, or a "
            f"mapping with them under {' or '.join(map(repr, _OUTPUTS))}."
        )
    return output


@contextmanager
def local_seed(seed: int) -> Iterator[None]:
    """Constructors of layers draw from the global CPU generator: gives them a seed, and its state back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        yield


def file_of(path: str) -> Path | None:
    """The file of ``"FILE.py:NAME"``; None of ``"module:NAME"`` or a name of torchvision."""
    source = path.rpartition(":")[0]
    return Path(source).expanduser() if source.endswith(".py") else None


def load_object(path: str) -> Any:
    """The object of ``"FILE.py:NAME"`` or ``"module:NAME"``. This runs the file: give only what you trust.

    Raises:
        ConfigError: If there is no such file, module or name.
    """
    source, _, name = path.rpartition(":")
    file = file_of(path)
    try:
        module = importlib.import_module(source) if file is None else load_file(file)
    except (Exception, SystemExit) as error:  # whatever somebody's code raises
        raise ConfigError(
            f"{path!r} cannot be loaded ({one_line(error)}); expected FILE.py:NAME or module:NAME of code that can be "
            "imported."
        ) from error
    if not hasattr(module, name):
        raise unknown_name(f"name in {source}:", name, [key for key in vars(module) if not key.startswith("_")])
    return getattr(module, name)
