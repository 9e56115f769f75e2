"""What a few forward passes tell of a network: what cannot work, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from l2o_env.errors import ConfigError, one_line
from l2o_env.models.adapted.heads import head_of, n_classes_of
from l2o_env.models.base import new_generator

_ROUNDING = 1e-3
"""Of the largest logit, by which outputs for the same images may differ."""
_HINT = "Name the layer whose output is the proxy's logits: head=NAME."

_OTHER_KIND = {
    False: "It is for segmentation, and these images have one class each; give images with masks, or another network.",
    True: "It is for classification, and these images have masks; give folders of classes, or another network.",
}
"""What is said of a network of one kind on images of the other, by whether these have masks."""


class _Pass(NamedTuple):
    """What a forward pass gave: logits, what the head made, each of them cut off, and whether that has a gradient."""

    logits: Tensor
    answers: list[Tensor]
    learns: bool


def check_network(network: nn.Module, head: str, side: int, *, dense: bool = False) -> None:
    """Makes some forward passes of random images, to tell what cannot work before anything is trained.

    Args:
        network: The whole network in evaluation mode.
        head: Name of its head.
        side: Side of the images, in pixels.
        dense: Whether it has logits for every place of the image.

    Raises:
        ConfigError: If the network does not take such images, its output is not what its head makes of them, or
            depends on anything but the image and its parameters.
    """
    name, n = type(network).__name__, n_classes_of(head_of(network, head))
    given = torch.randn(2, 3, side, side, generator=new_generator(0))
    images = given.clone()
    with _learning(network, False):
        first = _cut_at(network, head, images)
    if not torch.equal(images, given):
        raise ConfigError(f"{name} changes its images in place; make new tensors of them, x = x - mean.")
    _check_shapes(name, head, n, first, side, dense)
    _check_values(name, n, first.logits)
    if first.learns:
        raise ConfigError(
            f"{name} computes with parameters that are none of its own, so that they are neither loaded nor trained; "
            "keep layers in a torch.nn.ModuleList or ModuleDict, and numbers as torch.nn.Parameter."
        )
    with _learning(network, True):
        second = _cut_at(network, head, given)
    if not second.learns:
        raise ConfigError(
            f"What goes into the head {head!r} of {name} has no gradient, so that nothing but the head could be "
            "trained; take .detach(), .numpy() and torch.no_grad() out of its forward pass."
        )
    if not alike(first.logits, second.logits):
        raise ConfigError(
            f"{name} makes other logits of the same images each time; dropout that works in evaluation too is "
            "usual: F.dropout(x, p, self.training)."
        )
    _check_alone(name, network, head, given, first.logits)
    if torch.autograd.grad(first.logits.sum(), first.answers[0], allow_unused=True)[0] is None:
        raise ConfigError(f"The logits of {name} do not come out of its head {head!r}. {_HINT}")


def _check_shapes(name: str, head: str, n: int, made: _Pass, side: int, dense: bool) -> None:
    if len(made.answers) != 1:
        hint = "Call it once, with the features of all images." if made.answers else _HINT
        raise ConfigError(f"{name} calls its head {head!r} {len(made.answers)} times; expected once. {hint}")
    if made.logits.dim() != (4 if dense else 2) or made.logits.shape[:2] != (2, n):
        expected = f"(2, {n}, h, w)" if dense else f"(2, {n})"
        other_kind = made.logits.dim() == (2 if dense else 4)
        hint = _OTHER_KIND[dense] if other_kind else _HINT
        raise ConfigError(
            f"{name} makes {tuple(made.logits.shape)} of two images of {side} x {side} pixels; expected logits "
            f"{expected} of the {n} classes of its head {head!r}. {hint}"
        )
    if not made.logits.requires_grad:
        raise ConfigError(f"The logits of {name} do not come out of its head {head!r}. {_HINT}")


def _check_values(name: str, n: int, logits: Tensor) -> None:
    if n < 2:
        raise ConfigError(
            f"{name} has a single class, whose probability is 1 whatever its logit is; give it two outputs, (0, logit) "
            "for one that tells yes from no."
        )
    if not logits.isfinite().all():
        raise ConfigError(f"{name} makes NaN or infinity of random images; are its weights those of this network?")
    sums_to_one = bool((logits >= 0).all()) and torch.allclose(logits.sum(1), torch.ones(()))
    if sums_to_one or type(logits.grad_fn).__name__.startswith("Sigmoid"):
        ends = "softmax" if sums_to_one else "sigmoid"
        raise ConfigError(f"{name} makes probabilities; expected logits. Leave out the {ends} at its end.")


def _check_alone(name: str, network: nn.Module, head: str, images: Tensor, logits: Tensor) -> None:
    """Tells whether the first image has other logits alone than beside another."""
    with _learning(network, False):
        alone = _cut_at(network, head, images[:1].clone()).logits
    if alone.shape != (1, *logits.shape[1:]):
        raise ConfigError(
            f"{name} makes {tuple(alone.shape)} of a single image; expected {(1, *logits.shape[1:])}. A .squeeze() "
            "takes away the dimension of the images, too: name the dimensions, .squeeze(-1) or .flatten(1)."
        )
    if not alike(alone, logits[:1]):
        raise ConfigError(
            f"{name} makes other logits of an image alone than beside another; batch normalisation has to keep "
            "statistics (track_running_stats=True)."
        )


def alike(a: Tensor, b: Tensor) -> bool:
    """Whether outputs for the same images are the same but for rounding."""
    return bool((a - b).abs().max() <= _ROUNDING * b.abs().max())


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


@contextmanager
def _learning(network: nn.Module, learns: bool) -> Iterator[None]:
    """Lets all parameters of a network, or none, have gradients in the block."""
    before = [(each, each.requires_grad) for each in network.parameters() if each.is_floating_point()]
    for parameter, _ in before:
        parameter.requires_grad_(learns)
    try:
        yield
    finally:
        for parameter, was in before:
            parameter.requires_grad_(was)


@torch.enable_grad()
def _cut_at(network: nn.Module, head: str, images: Tensor) -> _Pass:
    """A forward pass, in which the outputs of the head begin a graph of their own."""
    answers: list[Tensor] = []
    learns: list[bool] = []

    def cut(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        learns.append(any(each.requires_grad for each in inputs if isinstance(each, Tensor)))
        answers.append(output.detach().requires_grad_())
        return answers[-1].clone()  # which what follows may change in place

    handle = network.get_submodule(head).register_forward_hook(cut)
    try:
        return _Pass(network(images), answers, any(learns))
    except ConfigError:
        raise
    except Exception as error:  # whatever a network makes of images it cannot take
        side, reason = images.shape[-1], one_line(error)
        raise ConfigError(
            f"{type(network).__name__} cannot take images of {side} x {side} pixels ({reason}); {_advice(error)}."
        ) from error
    finally:
        handle.remove()


def _advice(error: Exception) -> str:
    """What may help against an error of a forward pass."""
    if isinstance(error, TypeError | AttributeError | NameError | LookupError | ImportError | NotImplementedError):
        return "mend its forward pass, which is given the images alone"
    reason = one_line(error).lower()
    if "dtype" in reason or "scalar type" in reason or "type " in reason:
        return "make all that it computes with float32"
    if "channels" in reason:
        if "but got 3 channels" in reason:
            return "its first layer has to take three channels"
        return "each of its layers has to take the channels that come out of the one before"
    if "device" in reason:
        return "make nothing on another device than its parameters'"
    return "give another size or another network"
