"""What the inner loop asks of a network."""

from __future__ import annotations

from copy import deepcopy
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class BatchedKernels(Protocol):
    """Hand-written CPU kernels of one network, batched over N optimizees.

    They are for networks whose frozen parameters are the linear map ``proxy_head``. Everything is float32 but the
    int64 labels and indices.
    """

    def gradients(
        self,
        weights: NDArray[np.float32],
        proxy_weight: NDArray[np.float32],
        proxy_bias: NDArray[np.float32],
        images: NDArray[np.float32],
        labels: NDArray[np.int64],
        proxy_probs: NDArray[np.float32],
        index: NDArray[np.int64],
        guidance_weight: NDArray[np.float64],
        *,
        separate: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]:
        """Gradients of mean CE + guidance_weight * mean KL on one batch each.

        Args:
            weights: ``(N, n_weights)``, the trainable parameters, flattened in the order of ``layer_groups()``.
            proxy_weight: ``(N, n_proxy_classes, n_features)``.
            proxy_bias: ``(N, n_proxy_classes)``.
            images: All images ``(n_images, channels, height, width)``.
            labels: Their labels ``(n_images,)``.
            proxy_probs: The proxy's probabilities ``(n_images, n_proxy_classes)``.
            index: The batch of each optimizee ``(N, batch)``.
            guidance_weight: Weight of the KL term of each optimizee ``(N,)``.
            separate: Whether the gradient of the KL term alone is wanted too.

        Returns:
            Gradients ``(N, n_weights)``, CE ``(N,)``, KL ``(N,)``, and the gradients of the KL alone or None.
        """
        ...

    def logits(
        self,
        weights: NDArray[np.float32],
        proxy_weight: NDArray[np.float32],
        proxy_bias: NDArray[np.float32],
        images: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits ``(N, n_images, n_classes)`` and ``(N, n_images, n_proxy_classes)`` on the same images."""
        ...


class Optimizee(nn.Module):
    """A network to fine-tune: a pretrained backbone, the proxy's frozen head, and a new head.

    Subclasses implement :meth:`forward` and :meth:`layer_groups`. Parameters with
    ``requires_grad=False`` (the proxy's head) are not trained. A network that a stacked population
    runs keeps no batch statistics (GroupNorm, LayerNorm), because its forward pass is batched over
    optimizees with ``torch.func``.

    Attributes:
        feature_layer: Name of the module whose output is the last feature map, ``(batch, channels, height, width)`` or
            tokens ``(batch, places, channels)``; None if there is no such module. The guidance terms ``feature`` and
            ``csg`` read it, and pictures of attention.
    """

    feature_layer: str | None = None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Computes both heads on the same features.

        Args:
            images: ``(batch, channels, height, width)``.

        Returns:
            Logits of the new head ``(batch, n_classes)`` and of the proxy's frozen head
            ``(batch, n_proxy_classes)``.
        """
        raise NotImplementedError

    def layer_groups(self) -> dict[str, list[str]]:
        """Names of the trainable parameters that share a learning rate, from the input to the head.

        Every trainable parameter is in exactly one group; the last group is the head. The last
        two-dimensional parameter of the last group is the weight matrix that the observation's
        head statistics describe.
        """
        raise NotImplementedError

    trains_batch_statistics = False
    """Whether the network's buffers (running statistics of BatchNorm) change as it is trained."""

    smallest_batch = 1
    """Fewest images of a training batch; more than one where batch statistics need more."""

    def train_batch_statistics(self, training: bool) -> None:
        """Switches batch normalisation between a training batch and evaluation; nothing to do without it."""

    def batched_kernels(self, n_proxy_classes: int) -> BatchedKernels | None:
        """Hand-written CPU kernels of this network, if it has any."""
        return None


def check_layer_groups(model: Optimizee) -> None:
    """Raises ``ValueError`` unless every trainable parameter is in exactly one layer group."""
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    grouped = [name for names in model.layer_groups().values() for name in names]
    missing, extra = set(trainable) - set(grouped), set(grouped) - set(trainable)
    twice = {name for name in grouped if grouped.count(name) > 1}
    if missing or extra or twice:
        raise ValueError(
            f"layer_groups() of {type(model).__name__} must name every trainable parameter once: "
            f"missing {sorted(missing)}, not trainable parameters {sorted(extra)}, named twice {sorted(twice)}."
        )


def resident(network: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A network in evaluation mode on a device, to be left as it is: itself if it is all that already, else a copy."""
    tensors = [*network.parameters(), *network.buffers()]
    there = all(t.device == device and (t.dtype == dtype or not t.is_floating_point()) for t in tensors)
    if there and not any(module.training for module in network.modules()):
        return network
    return deepcopy(network).to(device, dtype).eval()


def without_memory(network: Optimizee) -> Optimizee:
    """A network on the device ``"meta"``, changed in place; parameters that it uses twice stay one."""
    by_name = dict(network.named_parameters(remove_duplicate=False))
    first: dict[int, str] = {}
    tied = {name: first.setdefault(id(parameter), name) for name, parameter in by_name.items()}
    network.to("meta")
    for name, of in tied.items():
        if name != of:
            owner, _, leaf = name.rpartition(".")
            setattr(network.get_submodule(owner), leaf, network.get_parameter(of))
    return network


def new_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A local generator; the global ones are never touched."""
    return torch.Generator(device=device).manual_seed(seed)
