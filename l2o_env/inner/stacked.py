"""A population in one batched graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, vmap

from l2o_env.config import EnvConfig
from l2o_env.errors import ConfigError
from l2o_env.guidance import Guidance, TermInputs, kl_divergence
from l2o_env.guidance.base import captured
from l2o_env.inner.device_data import EVALUATION_CHUNK, DeviceData
from l2o_env.inner.population import Gradients, Population
from l2o_env.inner.stacked_update import clipped, masked_step
from l2o_env.inner.torch_compile import compiled, graphs_kept
from l2o_env.inner.window import Window
from l2o_env.models.base import BatchedKernels, Optimizee
from l2o_env.models.layout import Layout
from l2o_env.models.losses import as_rows, task_loss
from l2o_env.pairs.pair import Pair

_NO_CLASS = -1e4
"""Logit of a class that a pair's proxy does not have; its probability is exactly 0."""


class StackedPopulation(Population):
    """All optimizees in one graph, batched with ``torch.func.vmap``.

    Weights, gradients and momentum are ``(N, n_weights)`` tensors, so that clipping, updates and statistics are a few
    operations however many parameters there are. Networks that bring their own batched kernels use those on a CPU.

    Args:
        pairs: See ``Population``, like those that follow.
        n: Number of optimizees.
        config: Settings of the inner loop.
        dtype: Floating-point type.
        kernels: Whether hand-written kernels may be used.
        like: A population of the same pairs and settings, to share the images with. The two do not run at a time.

    Raises:
        ConfigError: If images are decoded on demand, a network has buffers (batch statistics), or the images of the
            pairs differ in shape.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        n: int,
        config: EnvConfig,
        dtype: torch.dtype = torch.float32,
        *,
        kernels: bool = True,
        like: StackedPopulation | None = None,
    ) -> None:
        if config.precision != "float32":
            raise ConfigError(
                f"precision is {config.precision!r}, which is for large networks; a stacked population computes in "
                "float32: use implementation='looped' (or 'auto')."
            )
        super().__init__(pairs, n, config, dtype, data=like.data if like else None)
        stacked = [data for data in self.data if isinstance(data, DeviceData)]
        if len(stacked) < len(self.data):
            raise ConfigError("Images that are decoded on demand cannot be stacked; use implementation='looped'.")
        if list(self._template.buffers()):
            raise ConfigError(
                f"{type(self._template).__name__} has buffers, such as batch statistics, which cannot be stacked; "
                "use implementation='looped'."
            )
        for data in stacked:
            if data.train.images.shape[1:] != stacked[0].train.images.shape[1:]:
                raise ConfigError("Stacked pairs need images of one shape; use implementation='looped'.")
        self._first = np.cumsum([0, *(data.n_train for data in stacked[:-1])])
        if like is None:
            self._images = torch.cat([data.train.images for data in stacked])
            self._labels = torch.cat([data.train.labels for data in stacked])
            self._probs = torch.cat([data.train_probs for data in stacked])
        else:
            self._images, self._labels, self._probs = like._images, like._labels, like._probs
        self._rates = self._gradient = self.weights.new_zeros(0)  # they exist during windows only
        self._offset = torch.zeros((n, 1), dtype=torch.int64, device=self.device)
        self._frozen = {
            name: torch.zeros(n, *self._padded(name, p).shape, device=self.device, dtype=dtype)
            for name, p in self._template.named_parameters()
            if not p.requires_grad
        }
        self._losses_of_all, self._logits_of_all = _losses_of_all, _logits_of_all
        self._kept: Callable[[], AbstractContextManager[Any]] = nullcontext
        if config.compile and not self.guidance.needs_feature_layer:
            self._losses_of_all, self._logits_of_all = compiled(_losses_of_all), compiled(_logits_of_all)
            self._kept = graphs_kept
        usable = kernels and self.device.type == "cpu" and dtype == torch.float32
        self._kernels: BatchedKernels | None = None
        if usable:
            self._kernels = like._kernels if like else self._template.batched_kernels(self.n_proxy_classes)
        if self._kernels is not None:  # they have threads of their own
            self.one_thread = True

    def _operations(self) -> float:
        return self.n * super()._operations()

    def _padded_classes(self, pair: Pair) -> int:
        return self.n_proxy_classes

    def _padded(self, name: str, frozen: Tensor) -> Tensor:
        """The proxy's head with a row for every class of the largest proxy of the population; others as they are."""
        if not name.startswith("proxy_head."):
            return frozen
        missing = self.n_proxy_classes - len(frozen)
        return torch.cat([frozen, frozen.new_full((missing, *frozen.shape[1:]), _NO_CLASS if frozen.dim() == 1 else 0)])

    def _load_model(self, i: int, model: Optimizee) -> None:
        params = {name: p.detach() for name, p in model.named_parameters()}
        self.weights[i] = self.layout.flatten(params)
        for name, stacked in self._frozen.items():
            stacked[i] = self._padded(name, params[name])
        start = self.starts[i]
        assert start is not None
        self._offset[i] = int(self._first[start.pair])

    def _end_window(self, window: Window) -> None:
        self._rates = self._gradient = self.weights.new_zeros(0)

    def _set_rates(self, rates: Tensor) -> None:
        self._rates = self.layout.expand(rates.to(self.device, self.dtype))

    def _gradients(self, index: Tensor, *, separate: bool) -> Gradients:
        index = index + self._offset
        compiled = self._kernels and not self.guidance.beyond_kl and self.config.guidance_cap is None
        found = self._kernel_gradients(index, separate) if compiled else self._graph_gradients(index, separate)
        self._gradient = found.total
        return found

    def _kernel_gradients(self, index: Tensor, separate: bool) -> Gradients:
        assert self._kernels is not None
        total, ce, kl, guidance = self._kernels.gradients(
            self.weights.numpy(),
            *self._proxy_head(slice(None)),
            self._images.numpy(),
            self._labels.numpy(),
            self._probs.numpy(),
            index.numpy(),
            self.guidance_weight.values,
            separate=separate and self.config.guidance == "kl",
        )
        if separate and guidance is None:
            guidance = np.zeros_like(total)
        found = (None if x is None else torch.from_numpy(x) for x in (total, guidance, ce, kl))
        return Gradients(*found, scale=self.guidance_weight.scale(torch.empty(0)))  # type: ignore[arg-type, misc]

    def _proxy_head(self, rows: list[int] | slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._frozen["proxy_head.weight"][rows].numpy(), self._frozen["proxy_head.bias"][rows].numpy()

    def _graph_gradients(self, index: Tensor, separate: bool) -> Gradients:
        leaf = self.weights.detach().requires_grad_()
        batch = (self._images[index], self._labels[index], self._probs[index])
        others = (leaf, self.reference, self._extras(batch[0])) if self.guidance.beyond_kl else ()
        ce, kl, term = self._losses_of_all(
            self._template, self.guidance, self.layout, leaf, self._frozen, *batch, *others
        )
        guided = self.config.guidance != "none"
        loss = (ce + self.guidance_weight.counted(term) if guided else ce).sum()
        guidance = None
        if separate:
            guidance = torch.zeros_like(self.weights)
            if guided:
                with self._kept():
                    (guidance,) = torch.autograd.grad(term.sum(), leaf, retain_graph=True)
        (total,) = torch.autograd.grad(loss, leaf)
        return Gradients(total, guidance, ce.detach(), kl.detach(), self.guidance_weight.scale(term.detach()))

    def _extras(self, images: Tensor) -> dict[str, Tensor]:
        """What the guidance term needs besides, each ``(N, ...)``, for batches ``(N, batch, ...)``."""
        found: dict[str, Tensor] = {}
        for pair, rows in self._by_pair().items():
            if len(rows) == self.n:  # the common case, without copies
                return self.guidance.prepare(rows, pair, images)
            for key, value in self.guidance.prepare(rows, pair, images[rows]).items():
                whole = found.setdefault(key, value.new_zeros(self.n, *value.shape[1:]))
                whole[rows] = value
        return found

    def _update(self, active: NDArray[np.bool_], mask: Tensor) -> None:
        gradient = clipped(self._gradient, self.config.clip_norm)
        if active.all():  # the common case, without copies
            self.rule.step(self.weights, gradient, self._rates, self.state)
        else:
            masked_step(self.rule, self.weights, gradient, self._rates, self.state, mask[:, None])

    def _logits(self, rows: list[int], images: Tensor) -> tuple[Tensor, Tensor]:
        weights = self.weights[rows]
        frozen = {name: tensor[rows] for name, tensor in self._frozen.items()}
        if self._kernels:
            found = self._kernels.logits(weights.numpy(), *self._proxy_head(rows), images.numpy())
            return torch.from_numpy(found[0]), torch.from_numpy(found[1])

        params = {**self.layout.unflatten(weights), **frozen}
        with torch.no_grad():
            parts = [self._logits_of_all(self._template, params, chunk) for chunk in images.split(EVALUATION_CHUNK)]
        return torch.cat([a for a, _ in parts], 1), torch.cat([b for _, b in parts], 1)


# --- what runs for each optimizee: functions of tensors, which torch.func batches and PyTorch can compile -----------


def _losses_of_all(
    template: Optimizee, guidance: Guidance, layout: Layout, weights: Tensor, *stacked: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`_losses` of N optimizees: each of the further arguments has a first dimension of N, as each result has.

    The weights come in one piece ``(N, n_weights)``, of which PyTorch's compiler knows that gradients end there.
    """
    return vmap(partial(_losses, template, guidance))(layout.unflatten(weights), *stacked)


def _logits_of_all(template: Optimizee, params: dict[str, Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """Both heads' logits ``(N, n_images, ...)`` of N optimizees on the same images."""
    return vmap(lambda own: functional_call(template, own, (images,)))(params)


def _losses(
    template: Optimizee,
    guidance: Guidance,
    params: dict[str, Tensor],
    frozen: dict[str, Tensor],
    images: Tensor,
    labels: Tensor,
    probs: Tensor,
    *others: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy, KL divergence and guidance term of one optimizee.

    If the term is more than the KL divergence, the optimizee's weights, reference and extras follow.
    """

    def encode(views: Tensor) -> Tensor:
        with captured(template) as features:
            functional_call(template, {**params, **frozen}, (views,))
        return features[-1]

    with captured(template, guidance.needs_features) as features:
        logits, proxy_logits = functional_call(template, {**params, **frozen}, (images,))
    ce, kl = task_loss(logits, labels), kl_divergence(as_rows(proxy_logits), as_rows(probs))
    if not guidance.beyond_kl:
        return ce, kl, kl
    weights, reference, extras = others
    last_map = features[-1] if features else None
    return ce, kl, guidance.loss(TermInputs(proxy_logits, probs, weights, reference, last_map, extras, encode))
