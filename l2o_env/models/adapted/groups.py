"""Finds layer groups: parameters that share a learning rate, from the input to the output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import nn

from l2o_env.errors import ConfigError
from l2o_env.models.adapted.by_name import load_object

Groups = dict[str, list[str]]
Prefixes = Mapping[str, Sequence[str]]
GroupsSetting = str | Prefixes | Callable[[nn.Module], Prefixes] | None
HEAD = "head"
"""The group of the new head."""
MIN_GROUPS, MAX_GROUPS = 4, 10
"""Groups of a network of which nothing is known: its largest parts are divided, or neighbours joined."""
_TRANSFORMER_STAGES = 4


def choose_groups(network: nn.Module, setting: GroupsSetting = None) -> Groups:
    """Layer groups of a backbone, as its settings have them.

    Args:
        network: The network without its head.
        setting: Groups as parameter names or prefixes of them, a function of the network that returns that, or its
            ``"FILE.py:NAME"``; None: :func:`find_groups`.

    Raises:
        ConfigError: If a parameter belongs to no group or to several, a group has none, or is called ``"head"``.
    """
    if setting is None:
        groups = find_groups(network)
    else:
        prefixes = load_object(setting) if isinstance(setting, str) else setting
        prefixes = prefixes(network) if callable(prefixes) else prefixes
        if not isinstance(prefixes, Mapping):
            raise ConfigError(
                f"groups is or gives a {type(prefixes).__name__}; expected a mapping from group names to prefixes of "
                "parameter names."
            )
        groups = named_groups(network, prefixes)
    if HEAD in groups:
        raise ConfigError(
            f"A layer group of {type(network).__name__} is called {HEAD!r}, as that of the new head beside it is; "
            "name the groups with another name for it."
        )
    return groups


def find_groups(network: nn.Module) -> Groups:
    """Layer groups of a backbone.

    | network | groups |
    |---|---|
    | ResNet | conv1, bn1, layer1 to layer4, as in ASG |
    | VGG | conv1 to conv5 (up to each pooling), fc |
    | ConvNeXt, Swin | stem, stage1 to stage4 (each with the downsampling before it) |
    | EfficientNet | stem, stage1 to stage7, and the last convolution as stage8 |
    | ViT | embedding, blocks1 to blocks4 (a quarter of the blocks each) |
    | with a method ``layer_groups()`` | what that says |
    | other | its parts, in the order of their definition |

    Args:
        network: The network without its head.

    Returns:
        Parameter names by group.

    Raises:
        ConfigError: If it has no parameters.
    """
    if not list(network.parameters()):
        raise ConfigError(f"{type(network).__name__} has no parameters but its head, so there is nothing to group.")
    own = getattr(network, "layer_groups", None)
    if callable(own):
        return named_groups(network, own())
    try:
        return _RULES.get(type(network).__name__, _generic)(network)
    except (AttributeError, ConfigError):  # another network of that name
        return _generic(network)


def named_groups(network: nn.Module, groups: Mapping[str, Sequence[str]]) -> Groups:
    """Completes groups of parameter names or of prefixes (``"layer1"``) to groups of parameter names.

    Raises:
        ConfigError: If a parameter belongs to no group or to several, or a group has none.
    """
    left = [name for name, _ in network.named_parameters()]
    named: Groups = {}
    for group, prefixes in groups.items():
        wanted = [prefixes] if isinstance(prefixes, str) else list(prefixes)
        named[group] = [n for n in left if any(n == p or n.startswith(f"{p}.") for p in wanted)]
        if not named[group]:
            raise ConfigError(f"The layer group {group!r} ({', '.join(wanted)}) has no parameters of its own.")
        left = [name for name in left if name not in named[group]]
    if left:
        shown = ", ".join(left[:5]) + (", …" if len(left) > 5 else "")
        raise ConfigError(f"These parameters of {type(network).__name__} are in no layer group: {shown}.")
    return named


def _with_prefixes(network: nn.Module, prefixes: Mapping[str, Sequence[str]]) -> Groups:
    return named_groups(network, {group: names for group, names in prefixes.items() if _has(network, names)})


def _has(network: nn.Module, prefixes: Sequence[str]) -> bool:
    names = [name for name, _ in network.named_parameters()]
    return any(name == p or name.startswith(f"{p}.") for name in names for p in prefixes)


def _resnet(network: nn.Module) -> Groups:
    return _with_prefixes(network, {g: [g] for g in ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")})


def _vgg(network: nn.Module) -> Groups:
    stages: dict[str, list[str]] = {"conv1": []}
    for name, layer in network.get_submodule("features").named_children():
        stages[f"conv{len(stages)}"].append(f"features.{name}")
        if isinstance(layer, nn.MaxPool2d):
            stages[f"conv{len(stages) + 1}"] = []
    return _with_prefixes(network, {**{g: names for g, names in stages.items() if names}, "fc": ["classifier"]})


def _staged(network: nn.Module) -> Groups:
    """ConvNeXt and Swin: stem, stage, downsampling, stage, …, and a norm at the end."""
    names = [f"features.{name}" for name, _ in network.get_submodule("features").named_children()]
    stages = {f"stage{k}": names[2 * k - 2 : 2 * k] for k in range(1, len(names) // 2 + 1)}
    stages = {"stem": names[:1], **{g: [n for n in stage if n != names[0]] for g, stage in stages.items()}}
    stages[list(stages)[-1]] += ["norm", "classifier"]
    return _with_prefixes(network, stages)


def _efficientnet(network: nn.Module) -> Groups:
    names = [f"features.{name}" for name, _ in network.get_submodule("features").named_children()]
    return _with_prefixes(network, {"stem": names[:1], **{f"stage{k}": [n] for k, n in enumerate(names[1:], 1)}})


def _vit(network: nn.Module) -> Groups:
    blocks = [f"encoder.layers.{name}" for name, _ in network.get_submodule("encoder.layers").named_children()]
    stages = np.array_split(np.array(blocks, object), min(_TRANSFORMER_STAGES, len(blocks)))
    groups = {f"blocks{k}": list(stage) for k, stage in enumerate(stages, 1)}
    groups[list(groups)[-1]] += ["encoder.ln", "heads"]
    return _with_prefixes(network, {"embedding": ["class_token", "conv_proj", "encoder.pos_embedding"], **groups})


def _generic(network: nn.Module) -> Groups:
    parts = _parts(network, "")
    while len(parts) < MIN_GROUPS:  # the largest part that has parts gives place to them
        sizes = [_size(network, names) if len(_children(network, group)) > 1 else 0 for group, names in parts.items()]
        if not any(sizes):
            break
        largest = int(np.argmax(sizes))
        items = list(parts.items())
        inner = _parts(network, items[largest][0])
        first = next(iter(inner))
        inner[first] = [n for n in items[largest][1] if not any(n in names for names in inner.values())] + inner[first]
        parts = dict([*items[:largest], *inner.items(), *items[largest + 1 :]])
    if len(parts) <= MAX_GROUPS:
        return {"pre_head" if group == HEAD else group: list(names) for group, names in parts.items()}
    joined = np.array_split(np.arange(len(parts)), MAX_GROUPS)
    listed = list(parts.values())
    return {f"stage{k}": [n for i in neighbours for n in listed[i]] for k, neighbours in enumerate(joined, 1)}


def _children(network: nn.Module, prefix: str) -> list[str]:
    module = network.get_submodule(prefix) if _is_module(network, prefix) else nn.Identity()
    return [name for name, child in module.named_children() if list(child.parameters())]


def _is_module(network: nn.Module, prefix: str) -> bool:
    return prefix == "" or prefix in dict(network.named_modules())


def _parts(network: nn.Module, prefix: str) -> Groups:
    """Children of a module that have parameters; the module's own parameters belong to the first one."""
    names = [name for name, _ in network.named_parameters() if not prefix or name.startswith(f"{prefix}.")]
    parts: Groups = {}
    for child in _children(network, prefix):
        path = f"{prefix}.{child}" if prefix else child
        parts[path] = [name for name in names if name.startswith(f"{path}.")]
    own = [name for name in names if not any(name in group for group in parts.values())]
    if not parts:
        return {prefix or "weights": own}
    first = next(iter(parts))
    parts[first] = own + parts[first]
    if len(parts) == 1 and len(_children(network, first)) > 1 and not own:  # a wrapper around the network
        return _parts(network, first)
    return parts


def _size(network: nn.Module, names: Sequence[str]) -> int:
    return sum(p.numel() for name, p in network.named_parameters() if name in set(names))


_RULES: dict[str, Callable[[nn.Module], Groups]] = {
    "ResNet": _resnet,
    "IntermediateLayerGetter": _resnet,  # of torchvision's segmentation networks
    "VGG": _vgg,
    "ConvNeXt": _staged,
    "SwinTransformer": _staged,
    "EfficientNet": _efficientnet,
    "VisionTransformer": _vit,
}
