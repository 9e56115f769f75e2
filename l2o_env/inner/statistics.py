"""Per-layer training statistics, from weights and gradients alone.

Nothing here knows of environments: the same numbers can be had inside any training loop. All functions work on
*flat* tensors ``(..., n_weights)`` in which the parameters of a layer group lie side by side; :class:`Layout` makes
them from named tensors. The leading dimensions are optimizees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from l2o_env.models.layout import Layout

_TINY = 1e-12
FUSED = 1 << 17
"""Up to so many weights (of all optimizees) their products are summed up side by side, in one pass over all of them: a
few operations, which is what small tensors cost. With more it is done group by group, one product after the other, to
the same bits."""
PARTS = {"cpu": FUSED, "cuda": 1 << 22}
"""Weights of an optimizee that are summed up at a time, by the kind of device: their products stay in a processor's
cache, and are a few launches on a GPU. As many at a time are tested for finiteness, which makes copies."""
NOISE = 1e-6
"""Norms up to this are taken for rounding errors."""


@dataclass(frozen=True)
class LayerStatistics:
    """Statistics of each layer group, and two of the head; fields are tensors.

    Attributes:
        task_rms: RMS of the gradient of the task loss, ``(..., n_layers)``.
        guidance_rms: RMS of the gradient of the guidance term (without its weight), ``(..., n_layers)``.
        cosine: Cosine between the two, ``(..., n_layers)``; 0 where the norm of one is at most ``NOISE``.
        update_ratio: Norm of the window's change over the norm of the weights, ``(..., n_layers)``.
        drift: Norm of the difference to the reference weights over the norm of those, ``(..., n_layers)``.
        alignment: Cosine between momentum and gradient, ``(..., n_layers)``; 0 without momentum.
        head_mean: Mean of the head's last weight matrix, ``(...)``.
        head_std: Its standard deviation (biased), ``(...)``.
    """

    task_rms: Tensor
    guidance_rms: Tensor
    cosine: Tensor
    update_ratio: Tensor
    drift: Tensor
    alignment: Tensor
    head_mean: Tensor
    head_std: Tensor


LAYER_FIELDS = tuple(field.name for field in fields(LayerStatistics))[:6]
HEAD_FIELDS = tuple(field.name for field in fields(LayerStatistics))[6:]


class GradientSums(NamedTuple):
    """Sums of products over each layer group, ``(..., n_layers)`` each; what the statistics need of a batch.

    They are summed up before the batch's update, so that nobody has to keep gradients and momentum until the end of
    the window.

    Attributes:
        task2: Squares of the gradient of the task loss.
        guidance2: Squares of the gradient of the guidance term (without its weight).
        both: Products of these two gradients.
        momentum2: Squares of the momentum.
        gradient2: Squares of the gradient of the whole training loss.
        aligned: Products of momentum and that gradient.
    """

    task2: Tensor
    guidance2: Tensor
    both: Tensor
    momentum2: Tensor
    gradient2: Tensor
    aligned: Tensor

    def replaced(self, other: GradientSums, mask: Tensor) -> GradientSums:
        """These sums, and those of another batch for the optimizees in `mask` ``(N,)``."""
        return GradientSums(*(torch.where(mask[:, None], b, a) for a, b in zip(self, other, strict=True)))


class WeightSums(NamedTuple):
    """Sums of squares over each layer group, ``(..., n_layers)`` each; what the statistics need of the weights.

    Attributes:
        change2: Of the window's change.
        start2: Of the weights at the start of the window.
        difference2: Of the difference to the reference weights.
        reference2: Of those.
    """

    change2: Tensor
    start2: Tensor
    difference2: Tensor
    reference2: Tensor


def gradient_sums(
    layout: Layout, *, gradient: Tensor, guidance_gradient: Tensor, guidance_weight: float | Tensor, momentum: Tensor
) -> GradientSums:
    """Sums up what the statistics need of the window's last batch.

    Args:
        layout: Where the layer groups lie.
        gradient: Gradient of the whole training loss, ``(..., n_weights)``, like those that follow.
        guidance_gradient: Gradient of the guidance term, without its weight.
        guidance_weight: That weight, one for all or ``(..., 1)``. The rest of the gradient is that of the task loss.
        momentum: Momentum buffer before the batch's update; zeros if there is none.
    """

    def factors(total: Tensor, guidance: Tensor, velocity: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        task = guidance_weight * guidance
        torch.sub(total, task, out=task)
        yield from ((task, task), (guidance, guidance), (task, guidance))
        yield from ((velocity, velocity), (total, total), (velocity, total))

    return GradientSums(*_sums_of_products(layout, factors, gradient, guidance_gradient, momentum))


def layer_statistics(
    layout: Layout, *, weights: Tensor, reference: Tensor, window_start: Tensor, gradients: GradientSums
) -> LayerStatistics:
    """Computes the statistics of a window.

    Args:
        layout: Where the layer groups lie.
        weights: Weights at the end of the window, ``(..., n_weights)``, like those that follow.
        reference: Weights that the run started from (the proxy's, and the new head's first draw).
        window_start: Weights at the start of the window.
        gradients: What :func:`gradient_sums` made of the window's last batch.

    Returns:
        The statistics.
    """
    counts = torch.tensor(layout.group_sizes, dtype=weights.dtype, device=weights.device)
    head = layout.unflatten(weights)[layout.head_weight].flatten(weights.dim() - 1)
    sums = weight_sums(layout, weights=weights, reference=reference, window_start=window_start)
    return statistics_of(gradients, sums, counts, head)


def weight_sums(layout: Layout, *, weights: Tensor, reference: Tensor, window_start: Tensor) -> WeightSums:
    """Sums up what :func:`layer_statistics` needs of the weights; its arguments."""

    def factors(now: Tensor, first: Tensor, start: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        moved = now - start
        yield from ((moved, moved), (start, start))
        moved = now - first
        yield from ((moved, moved), (first, first))

    return WeightSums(*_sums_of_products(layout, factors, weights, reference, window_start))


def statistics_of(gradients: GradientSums, weights: WeightSums, counts: Tensor, head: Tensor) -> LayerStatistics:
    """The statistics of a window from sums, which may be those of several processes.

    Args:
        gradients: Sums of the window's last batch.
        weights: Sums of the weights.
        counts: Weights of each layer group ``(n_layers,)``.
        head: The head's last weight matrix, flat, ``(..., n)``.
    """
    return LayerStatistics(
        task_rms=(gradients.task2 / counts).sqrt(),
        guidance_rms=(gradients.guidance2 / counts).sqrt(),
        cosine=_cosine(gradients.both, gradients.task2, gradients.guidance2),
        update_ratio=(weights.change2 / (weights.start2 + _TINY)).sqrt(),
        drift=(weights.difference2 / (weights.reference2 + _TINY)).sqrt(),
        alignment=_cosine(gradients.aligned, gradients.momentum2, gradients.gradient2),
        head_mean=head.mean(-1),
        head_std=head.std(-1, correction=0),
    )


def all_finite(flat: Tensor) -> Tensor:
    """Whether all of ``(..., n_weights)`` is finite, ``(...)``."""
    return torch.stack([part.isfinite().all(-1) for part in flat.split(_part(flat), dim=-1)]).all(0)


def _sums_of_products(
    layout: Layout, factors: Callable[..., Iterable[tuple[Tensor, Tensor]]], *flat: Tensor
) -> Sequence[Tensor]:
    """Sums over each layer group, ``(..., n_layers)`` each, of the products of the `factors` of `flat` tensors."""
    if flat[0].numel() <= FUSED:
        return _side_by_side(layout, list(factors(*flat)))
    groups = zip(*(tensor.split(layout.group_sizes, dim=-1) for tensor in flat), strict=True)
    sums = [_sums(factors, *group) for group in groups]
    return [torch.stack(column, dim=-1) for column in zip(*sums, strict=True)]


def _sums(factors: Callable[..., Iterable[tuple[Tensor, Tensor]]], *flat: Tensor) -> list[Tensor]:
    """Sums ``(...)`` of the products of the `factors` of ``(..., n)``, a part after the other."""
    parts = zip(*(tensor.split(_part(tensor), dim=-1) for tensor in flat), strict=True)
    sums = [[torch.linalg.vecdot(one, other) for one, other in factors(*part)] for part in parts]
    return [torch.stack(column).sum(0) for column in zip(*sums, strict=True)]


def _part(flat: Tensor) -> int:
    return PARTS["cuda" if flat.is_cuda else "cpu"]


def _side_by_side(layout: Layout, factors: Sequence[tuple[Tensor, Tensor]]) -> Sequence[Tensor]:
    first = factors[0][0]
    products = first.new_empty(len(factors), *first.shape)
    for place, (one, other) in zip(products, factors, strict=True):
        torch.mul(one, other, out=place)
    return layout.group_sums(products).unbind()


def _cosine(product: Tensor, a2: Tensor, b2: Tensor) -> Tensor:
    # Square roots first: the product of two small squares underflows in float32.
    a, b = a2.sqrt(), b2.sqrt()
    # An optimizee that equals its proxy has a guidance gradient of rounding errors; their direction says nothing.
    return torch.where((a > NOISE) & (b > NOISE), product / (a * b).clamp(min=NOISE**2), 0.0).clamp(-1, 1)
