"""The proxy's head in a network of any kind: which layer it is, what goes into it, whether its logits come out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from l2o_env.errors import ConfigError, one_line, unknown_name
from l2o_env.models.base import new_generator

Head = nn.Linear | nn.Conv2d


def find_head(network: nn.Module, name: str = "", *, dense: bool = False) -> str:
    """Name of the layer that the proxy's classes come out of.

    Args:
        network: The whole network.
        name: The layer, if it is known; empty: the last linear layer, or the last 1x1 convolution where there is none
            (SqueezeNet); the last convolution of a `dense` network.
        dense: Whether the network has logits for every place of the image.

    Raises:
        ConfigError: If there is none.
    """
    layers = {key: layer for key, layer in network.named_modules() if _may_be_head(layer, dense)}
    if name and name not in layers:
        kind = "convolution" if dense else "linear layer or convolution"
        raise unknown_name(f"{kind} of {type(network).__name__}:", name, layers)
    linear = [key for key, layer in layers.items() if isinstance(layer, nn.Linear)]
    pointwise = [key for key, layer in layers.items() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)]
    candidates = list(layers) if dense else linear or pointwise
    if not candidates:
        expected = (
            "the proxy's classes at every place that ends with a torch.nn.Conv2d"
            if dense
            else "the proxy's classes that ends with a torch.nn.Linear"
        )
        raise ConfigError(f"{type(network).__name__} has no head: expected a network from images to {expected}.")
    return name or candidates[-1]


def _may_be_head(layer: nn.Module, dense: bool) -> bool:
    if isinstance(layer, NonDynamicallyQuantizableLinear):  # inside nn.MultiheadAttention, which never calls it
        return False
    return isinstance(layer, nn.Conv2d if dense else nn.Linear | nn.Conv2d)


def head_of(network: nn.Module, name: str) -> Head:
    """The layer that :func:`find_head` named."""
    layer = network.get_submodule(name)
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    return layer


def n_features(head: Head) -> int:
    """Features that go into a head."""
    return head.in_features if isinstance(head, nn.Linear) else head.in_channels


def n_classes_of(head: Head) -> int:
    """Classes that come out of it."""
    return head.out_features if isinstance(head, nn.Linear) else head.out_channels


@contextmanager
def head_inputs(head: nn.Module) -> Iterator[list[Tensor]]:
    """Collects what goes into a head in the forward passes that are made in the block."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kept.append(args[0] if args else kwargs["input"])

    handle = head.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield kept
    finally:
        handle.remove()


def check_network(network: nn.Module, head: str, side: int, *, dense: bool = False) -> None:
    """Makes one forward pass of random images, to tell what cannot work before anything is trained.

    Args:
        network: The whole network in evaluation mode.
        head: Name of its head.
        side: Side of the images, in pixels.
        dense: Whether it has logits for every place of the image.

    Raises:
        ConfigError: If the network does not take such images, or its output is not what its head makes of them.
    """
    name, n = type(network).__name__, n_classes_of(head_of(network, head))
    images = torch.randn(2, 3, side, side, generator=new_generator(0))
    logits, answers = _cut_at(network, head, images)
    hint = "Name the layer whose output is the proxy's logits: head=NAME."
    if len(answers) != 1:
        raise ConfigError(f"{name} calls its head {head!r} {len(answers)} times; expected once. {hint}")
    if logits.dim() != (4 if dense else 2) or logits.shape[:2] != (2, n):
        expected = f"(2, {n}, h, w)" if dense else f"(2, {n})"
        raise ConfigError(
            f"{name} makes {tuple(logits.shape)} of two images of {side} x {side} pixels; expected logits {expected} "
            f"of the {n} classes of its head {head!r}. {hint}"
        )
    sums_to_one = n > 1 and bool((logits >= 0).all()) and torch.allclose(logits.sum(1), torch.ones(()))
    if sums_to_one or type(logits.grad_fn).__name__.startswith("Sigmoid"):
        ends = "softmax" if sums_to_one else "sigmoid"
        raise ConfigError(f"{name} makes probabilities; expected logits. Leave out the {ends} at its end.")
    alone, _ = _cut_at(network, head, images[:1])
    if alone.shape != (1, *logits.shape[1:]):
        raise ConfigError(
            f"{name} makes {tuple(alone.shape)} of a single image; expected {(1, *logits.shape[1:])}. A .squeeze() "
            "takes away the dimension of the images, too: name the dimensions, .squeeze(-1) or .flatten(1)."
        )
    if not logits.requires_grad or torch.autograd.grad(logits.sum(), answers[0], allow_unused=True)[0] is None:
        raise ConfigError(f"The logits of {name} do not come out of its head {head!r}. {hint}")


def check_sizes(network: nn.Module, sizes: Iterable[tuple[int, int]], hint: str) -> None:
    """Tells which sizes of images a network for every place of them cannot take, without computing anything.

    Args:
        network: The whole network.
        sizes: Heights and widths.
        hint: What to do about it.

    Raises:
        ConfigError: If it cannot take one of them.
    """
    shapes = deepcopy(network).to("meta")
    for height, width in sizes:
        try:
            shapes(torch.empty(1, 3, height, width, device="meta"))
        except NotImplementedError:  # an operation that cannot do without numbers
            return
        except Exception as error:  # whatever a network makes of images it cannot take
            raise ConfigError(
                f"{type(network).__name__} cannot take target images of {width} x {height} pixels ({one_line(error)}); "
                f"{hint}."
            ) from error


@torch.enable_grad()
def _cut_at(network: nn.Module, head: str, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The network's output, and the outputs of its head, which begin a graph of their own."""
    answers: list[Tensor] = []

    def cut(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        answers.append(output.detach().requires_grad_())
        return answers[-1].clone()  # which what follows may change in place

    handle = network.get_submodule(head).register_forward_hook(cut)
    try:
        return network(images), answers
    except ConfigError:
        raise
    except Exception as error:  # whatever a network makes of images it cannot take
        side, reason = images.shape[-1], one_line(error)
        raise ConfigError(
            f"{type(network).__name__} cannot take images of {side} x {side} pixels ({reason}); {_advice(reason)}."
        ) from error
    finally:
        handle.remove()


def _advice(reason: str) -> str:
    """What may help against an error of PyTorch's."""
    reason = reason.lower()
    if "dtype" in reason or "scalar type" in reason or "type " in reason:
        return "make all that it computes with float32"
    if "channels" in reason:
        return "its first layer has to take three channels"
    if "device" in reason:
        return "make nothing on another device than its parameters'"
    return "give another size or another network"
