"""A network's parameters as flat vectors in which layer groups lie side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import accumulate

import torch
from torch import Tensor, nn

from l2o_env.errors import ConfigError
from l2o_env.models.layout import Layout
from l2o_env.training.processes import Processes, local, part_like

_FROM = (
    "from l2o_env.param_groups(model); if the scheduler is given groups or head, from param_groups(model, groups) with "
    "these, or with layer_groups(model, head=head)."
)


class Parameters:
    """A network's trainable parameters, looked up by name at each use: what shards a network exchanges them.

    Flat vectors are ``(1, n)`` in float32, of the part that this process holds.

    Args:
        network: The network.
        layout: Names and layer groups.
        processes: Who else trains it.
    """

    def __init__(self, network: nn.Module, layout: Layout, processes: Processes) -> None:
        self.network, self.layout, self.processes = network, layout, processes

    def tensors(self) -> list[nn.Parameter]:
        """The parameters, group after group."""
        named = dict(self.network.named_parameters())
        return [named[name] for name in self.layout.names]

    def here(self) -> Layout:
        """The layout of the parts that this process holds."""
        shapes = [local(p).shape for p in self.tensors()]
        sizes = [0] * self.layout.n_layers
        for layer, shape in zip(self._layers(), shapes, strict=True):
            sizes[layer] += shape.numel()
        return replace(self.layout, shapes=tuple(shapes), group_sizes=tuple(sizes))

    def _layers(self) -> list[int]:
        """Index of each parameter's layer group."""
        ends = list(accumulate(self.layout.group_sizes))
        return [sum(end <= start for end in ends) for start in accumulate((0, *self.layout.sizes[:-1]))]

    def weights(self) -> Tensor:
        """A copy of the weights."""
        return self.flat(self.tensors())

    @torch.no_grad()
    def flat(self, tensors: Iterable[Tensor | None]) -> Tensor:
        """Tensors of the parameters' shapes as one vector; zeros where there is none."""
        parts = []
        for p, tensor in zip(self.tensors(), tensors, strict=True):
            part = torch.zeros_like(local(p)) if tensor is None else local(tensor.detach())
            parts.append((part.to_dense() if part.is_sparse else part).reshape(-1).float())
        return torch.cat(parts)[None]

    @torch.no_grad()
    def mean(self, tensors: Iterable[Tensor]) -> Tensor:
        """Whole tensors that each process has others of, as their mean over the processes, like :meth:`flat`."""
        pairs = zip(self.tensors(), tensors, strict=True)
        return self.flat([part_like(p, self.processes.mean(tensor)) for p, tensor in pairs])

    def scaled(self, flat: Tensor) -> Tensor:
        """A vector whose squares sum up over the processes to those of the whole."""
        if self.processes.n == 1:
            return flat
        tensors = self.tensors()
        factors = [self.processes.factor(p) for p in tensors]
        if len(set(factors)) == 1:
            return flat * factors[0]
        sizes = torch.tensor([local(p).numel() for p in tensors], device=flat.device)
        return flat * torch.tensor(factors, device=flat.device).repeat_interleave(sizes)

    def counts(self) -> list[int]:
        """Weights of each layer group that have a gradient, in all processes together."""
        counts = [0] * self.layout.n_layers
        for layer, p in zip(self._layers(), self.tensors(), strict=True):
            counts[layer] += p.numel() if p.grad is not None else 0
        return counts

    def head(self) -> Tensor:
        """The head's last weight matrix, flat, ``(1, n)``."""
        weight = dict(self.network.named_parameters())[self.layout.head_weight].detach()
        whole = getattr(weight, "full_tensor", None)
        return (weight if whole is None else whole()).reshape(1, -1).float()

    def layers_of(self, optimizer: torch.optim.Optimizer) -> list[int | None]:
        """Index of the layer group of each of the optimizer's groups; None where all of it is frozen.

        Raises:
            ConfigError: If one of them holds parameters of several layer groups, or such as are in none.
        """
        layers = {id(p): layer for p, layer in zip(self.tensors(), self._layers(), strict=True)}
        found: list[int | None] = []
        for number, group in enumerate(optimizer.param_groups):
            trainable = [p for p in group["params"] if p.requires_grad]
            if any(id(p) not in layers for p in trainable):
                raise ConfigError(
                    f"Group {number} of the optimizer holds a parameter that is in no layer group: it is none of the "
                    "network's, or was frozen when the layer groups were made. Make optimizer and scheduler anew, "
                    f"{_FROM}"
                )
            inside = {layers[id(p)] for p in trainable}
            if len(inside) > 1:
                names = ", ".join(self.layout.group_names[layer] for layer in sorted(inside))
                raise ConfigError(
                    f"Group {number} of the optimizer holds parameters of several layer groups ({names}), which have "
                    f"one learning rate each. Make the optimizer {_FROM}"
                )
            found.append(inside.pop() if inside else None)
        return found

    def check(self, optimizer: torch.optim.Optimizer) -> None:
        """Raises ConfigError unless each layer group's parameters are in groups of the optimizer of its own."""
        self.layers_of(optimizer)
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        left = [name for name, p in zip(self.layout.names, self.tensors(), strict=True) if id(p) not in held]
        if left:
            raise ConfigError(
                f"The optimizer does not have the trainable parameter{'s' if len(left) > 1 else ''} "
                f"{', '.join(left[:5])}{', …' if len(left) > 5 else ''}; freeze what is not to be trained, or make the "
                f"optimizer {_FROM}"
            )
