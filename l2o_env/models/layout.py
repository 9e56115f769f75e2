"""Where the parameters and layer groups of a network lie in a flat vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from l2o_env.models.base import Optimizee, check_layer_groups


@dataclass(frozen=True)
class Layout:
    """Where each parameter and each layer group lies in a flat vector.

    Attributes:
        names: Parameter names, group after group, from the input to the head.
        shapes: Their shapes.
        group_names: Names of the layer groups.
        group_sizes: Weights in each layer group.
        head_weight: Name of the last weight matrix of the head.
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    group_names: tuple[str, ...]
    group_sizes: tuple[int, ...]
    head_weight: str

    @classmethod
    def of(cls, model: Optimizee) -> Layout:
        """The layout of a network's trainable parameters."""
        check_layer_groups(model)
        groups, params = model.layer_groups(), dict(model.named_parameters())
        names = [name for group in groups.values() for name in group]
        head = list(groups.values())[-1]
        matrices = [name for name in head if params[name].dim() >= 2]
        if not matrices:
            raise ValueError(f"The last layer group {list(groups)[-1]!r} has no weight matrix; it must be the head.")
        return cls(
            names=tuple(names),
            shapes=tuple(params[name].shape for name in names),
            group_names=tuple(groups),
            group_sizes=tuple(sum(params[name].numel() for name in group) for group in groups.values()),
            head_weight=matrices[-1],
        )

    @property
    def n_layers(self) -> int:
        """Number of layer groups."""
        return len(self.group_names)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Weights of each parameter."""
        return tuple(shape.numel() for shape in self.shapes)

    @property
    def n_weights(self) -> int:
        """Weights altogether."""
        return sum(self.sizes)

    def flatten(self, named: Mapping[str, Tensor]) -> Tensor:
        """Concatenates named tensors of the parameters' shapes to ``(n_weights,)``."""
        return torch.cat([named[name].reshape(-1) for name in self.names])

    def unflatten(self, flat: Tensor) -> dict[str, Tensor]:
        """Views of ``(..., n_weights)`` as named tensors of shape ``(..., *parameter.shape)``."""
        return {
            name: weights.unflatten(-1, shape) if shape else weights.squeeze(-1)
            for name, weights, shape in zip(self.names, flat.split(self.sizes, dim=-1), self.shapes, strict=True)
        }

    def group_sums(self, flat: Tensor) -> Tensor:
        """Sums over each layer group: ``(..., n_weights)`` to ``(..., n_layers)``."""
        return torch.stack([group.sum(-1) for group in flat.split(self.group_sizes, dim=-1)], dim=-1)

    def expand(self, per_group: Tensor) -> Tensor:
        """One value per layer group to one per weight: ``(..., n_layers)`` to ``(..., n_weights)``."""
        repeats = torch.tensor(self.group_sizes, device=per_group.device)
        return per_group.repeat_interleave(repeats, dim=-1, output_size=self.n_weights)
