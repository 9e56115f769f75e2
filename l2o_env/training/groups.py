"""Layer groups of any network, and the parameter groups of an optimizer that go with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from l2o_env.errors import ConfigError
from l2o_env.models.adapted.groups import HEAD, Groups, GroupsSetting, choose_groups
from l2o_env.models.adapted.heads import find_head
from l2o_env.models.base import Optimizee
from l2o_env.models.layout import Layout


def plain(model: nn.Module) -> nn.Module:
    """The network inside what ``torch.compile`` and ``DistributedDataParallel`` wrap around it."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod  # type: ignore[assignment] # of torch.compile
        else:
            return model


def layer_groups(model: nn.Module, groups: GroupsSetting = None, *, head: str = "") -> Groups:
    """Names of the trainable parameters that share a learning rate, from the input to the head.

    They are found as those of a pair's networks are. What is frozen is in none, and a group of nothing else is left
    out.

    Args:
        model: The network.
        groups: Groups of the network without its head, as parameter names or prefixes of them; or a function of the
            network that returns that, or such a function's ``"FILE.py:NAME"``; None: they are found.
        head: Name of the module that is the head, the last group; empty: the last linear layer.

    Raises:
        ConfigError: If there is no head, a parameter is in no group or in two, or nothing is trainable.
    """
    network = plain(model)
    if isinstance(network, Optimizee) and groups is None:
        found = network.layer_groups()
    else:
        name = head or find_head(network)
        found = {**_without_head(network, name, groups), HEAD: _names_under(network, name)}
    trainable = {name for name, p in network.named_parameters() if p.requires_grad}
    kept = {group: [name for name in names if name in trainable] for group, names in found.items()}
    kept = {group: names for group, names in kept.items() if names}
    if not kept:
        raise ConfigError(f"{type(network).__name__} has no trainable parameters; all of them are frozen.")
    return kept


def _names_under(network: nn.Module, module: str) -> list[str]:
    names = [name for name, _ in network.named_parameters() if name.startswith(f"{module}.")]
    if not names:
        known = ", ".join(name for name, _ in network.named_children())
        raise ConfigError(f"{type(network).__name__} has no module {module!r} with parameters; it has {known}.")
    return names


def _without_head(network: nn.Module, head: str, groups: GroupsSetting) -> Groups:
    """Groups of all but the head, which is out of the network meanwhile."""
    _names_under(network, head)
    module = network.get_submodule(head)
    network.set_submodule(head, nn.Identity())
    try:
        return choose_groups(network, groups)
    finally:
        network.set_submodule(head, module)


def param_groups(
    model: nn.Module, groups: Mapping[str, Sequence[str]] | None = None, *, no_decay: bool = False
) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer of ``torch.optim``, one for each layer group.

    Args:
        model: The network.
        groups: What :func:`layer_groups` gave; None calls it.
        no_decay: Whether vectors (biases, the scales of normalisation) go without weight decay, in a group of their own
            beside the layer's. The environment decays them too.

    Returns:
        Groups with ``params`` and ``name``, and of vectors without decay ``weight_decay``.

    Raises:
        ConfigError: If a trainable parameter is in no group or in two, or there is none of that name.
    """
    network = plain(model)
    groups = layer_groups(network) if groups is None else groups
    layout_of(network, groups)
    params = dict(network.named_parameters())
    result: list[dict[str, Any]] = []
    for group, names in groups.items():
        vectors = [name for name in names if no_decay and params[name].dim() < 2]
        others = [name for name in names if name not in vectors]
        if others:
            result.append({"params": [params[name] for name in others], "name": group})
        if vectors:
            name = f"{group}/no_decay"
            result.append({"params": [params[name] for name in vectors], "name": name, "weight_decay": 0.0})
    return result


def layout_of(model: nn.Module, groups: Mapping[str, Sequence[str]]) -> Layout:
    """Where layer groups lie in a flat vector.

    Raises:
        ConfigError: If a trainable parameter is in no group or in two, or there is none of that name, or no group has a
            weight matrix.
    """
    network = plain(model)
    params = {name: p for name, p in network.named_parameters() if p.requires_grad}
    names = [name for group in groups.values() for name in group]
    problems = {
        "in no group": sorted(set(params) - set(names)),
        "in two groups": sorted({name for name in names if names.count(name) > 1}),
        "no trainable parameter": sorted(set(names) - set(params)),
    }
    for kind, found in problems.items():
        if found:
            raise ConfigError(
                f"The layer groups of {type(network).__name__} must name every trainable parameter once; {kind}: "
                f"{', '.join(found[:5])}{', …' if len(found) > 5 else ''}."
            )
    matrices = [name for name in names if params[name].dim() >= 2]
    if not matrices:
        raise ConfigError(f"{type(network).__name__} has no trainable weight matrix, which a policy needs to see.")
    return Layout(
        names=tuple(names),
        shapes=tuple(torch.Size(params[name].shape) for name in names),
        group_names=tuple(groups),
        group_sizes=tuple(sum(params[name].numel() for name in group) for group in groups.values()),
        head_weight=matrices[-1],
    )
