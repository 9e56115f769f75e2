"""What a window of updates is measured by: losses, gradients and weights, and the one look at them at its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.inner.statistics import (
    HEAD_FIELDS,
    LAYER_FIELDS,
    GradientSums,
    WeightSums,
    gradient_sums,
    statistics_of,
    weight_sums,
)
from l2o_env.training.guidance import GuidanceGradient
from l2o_env.training.parameters import Parameters

LOSSES = ("train_ce", "train_kl", "val_ce", "val_kl")
"""Losses that a policy sees, in the order of arrays of them."""


class LossMean:
    """Mean of a loss over the batches of a window, on the device."""

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.count = 0

    def add(self, loss: Tensor) -> None:
        """Counts a batch, by its mean loss."""
        loss = loss.detach().float()
        self.total = loss if self.total is None else self.total + loss
        self.count += 1

    def mean(self, device: torch.device) -> Tensor:
        """The mean, a scalar; NaN of none."""
        if self.total is None:
            return torch.full((), torch.nan, device=device)
        return self.total.to(device) / torch.as_tensor(self.count, device=device)

    def get_state(self) -> dict[str, Any]:
        """Plain values."""
        return {"total": None if self.total is None else self.total.cpu(), "count": self.count}

    def set_state(self, state: dict[str, Any], device: torch.device) -> None:
        """Takes up what :meth:`get_state` returned."""
        self.total = None if state["total"] is None else state["total"].to(device)
        self.count = state["count"]


@dataclass(frozen=True)
class Seen:
    """What a window ended with, on the host.

    Attributes:
        layers: Statistics of each layer group by name, ``(1, n_layers)``; NaN where it had no gradient.
        head: Statistics of the head by name, ``(1,)``.
        losses: By name of ``LOSSES``; NaN where it is not known.
        skipped: Updates that were not made, because gradients had overflowed in half precision.
        share: How much of the guidance was in the loss.
    """

    layers: dict[str, NDArray[np.float64]]
    head: dict[str, NDArray[np.float64]]
    losses: NDArray[np.float64]
    skipped: int
    share: float


class WindowMeter:
    """Measures one window after the other.

    Args:
        parameters: The network's parameters.
        momentum: Name of the optimizer's running mean of gradients in its state; None if it has none.
        guidance_gradient: Where the gradient of the guidance is noted.
    """

    def __init__(self, parameters: Parameters, momentum: str | None, guidance_gradient: GuidanceGradient) -> None:
        self._parameters, self._momentum, self._guidance = parameters, momentum, guidance_gradient
        self.reference = parameters.weights()
        self.start = self._now = self.reference
        self.ce, self.kl = LossMean(), LossMean()
        self.skipped: Tensor | None = None
        self.gradients: Tensor | None = None
        self.counts: list[int] = []
        self.share: Tensor | None = None

    def begin(self) -> None:
        """Begins the next window with the weights as they were when the last was read."""
        self.start = self._now
        self.ce, self.kl = LossMean(), LossMean()
        self.skipped = None
        self.forget_gradients()

    def forget_gradients(self) -> None:
        """Lets go of the gradients that were measured: another batch is to be."""
        self.gradients, self.share = None, None

    def skip(self, found_inf: Tensor) -> None:
        """Counts an update that is made only if ``found_inf`` is 0, which the device alone knows."""
        skipped = (found_inf.detach() > 0).float().reshape(())
        self.skipped = skipped if self.skipped is None else self.skipped + skipped

    @torch.no_grad()
    def measure(self, optimizer: torch.optim.Optimizer, weight: float, scale: Tensor | float) -> None:
        """Sums up gradients and momentum before an update.

        Args:
            optimizer: Whose momentum it is.
            weight: That of the guidance.
            scale: What losses are multiplied by for half precision, if gradients were not divided by it yet, and what
                the guidance's are multiplied by.
        """
        parameters, fused = self._parameters, getattr(optimizer, "grad_scale", None)
        tensors = parameters.tensors()
        total = parameters.flat([p.grad for p in tensors])
        total = total if fused is None else total / fused
        guidance, share = torch.zeros_like(total), None
        noted = self._guidance.take()
        if noted is not None:
            guidance, share = noted[0], noted[1] / (scale if fused is None else fused)
        momentum = [optimizer.state.get(p, {}).get(self._momentum) if self._momentum else None for p in tensors]
        sums = gradient_sums(
            parameters.here(),
            gradient=parameters.scaled(total),
            guidance_gradient=parameters.scaled(guidance),
            guidance_weight=0.0 if share is None else weight * share,
            momentum=parameters.scaled(parameters.flat(momentum)),
        )
        self.gradients, self.share, self.counts = torch.stack(sums), share, parameters.counts()

    @torch.no_grad()
    def read(self, val_ce: float | Tensor, val_kl: float | Tensor) -> Seen:
        """Reads from the device what the window has come to, of all processes together. This waits for it.

        Args:
            val_ce: What the last validation said, NaN if there was none; likewise `val_kl`.
            val_kl: In nats.
        """
        parameters = self._parameters
        assert self.gradients is not None
        device = self.gradients.device
        self._now = parameters.weights()
        vectors = (parameters.scaled(flat) for flat in (self._now, self.reference, self.start))
        weights, reference, start = vectors
        sums = weight_sums(parameters.here(), weights=weights, reference=reference, window_start=start)
        none = torch.zeros((), device=device)
        one_each = [
            self.ce.mean(device),
            self.kl.mean(device),
            torch.as_tensor(val_ce, dtype=torch.float32).to(device),
            torch.as_tensor(val_kl, dtype=torch.float32).to(device),
            none if self.skipped is None else self.skipped.to(device),
            none if self.share is None else self.share.to(device).reshape(()),
        ]
        per_layer = torch.cat([self.gradients, torch.stack(sums)])
        mine = torch.cat([per_layer.flatten(), torch.stack(one_each) / parameters.processes.n])
        mine = parameters.processes.sum(mine)
        per_layer = mine[: per_layer.numel()].view_as(per_layer)
        counts = torch.tensor(self.counts, dtype=mine.dtype, device=device)
        statistics = statistics_of(GradientSums(*per_layer[:6]), WeightSums(*per_layer[6:]), counts, parameters.head())
        layers = torch.stack([getattr(statistics, name) for name in LAYER_FIELDS]).flatten()
        head = torch.cat([getattr(statistics, name) for name in HEAD_FIELDS])
        host = torch.cat([layers, head, mine[per_layer.numel() :]]).double().cpu().numpy()
        n = len(LAYER_FIELDS) * len(self.counts)
        found = host[:n].reshape(len(LAYER_FIELDS), 1, -1)
        found[:, :, np.array(self.counts) == 0] = np.nan
        losses, skipped, share = host[n + 2 : n + 6], host[n + 6], host[n + 7]
        return Seen(
            layers=dict(zip(LAYER_FIELDS, found, strict=True)),
            head={name: host[n + k : n + k + 1] for k, name in enumerate(HEAD_FIELDS)},
            losses=losses,
            skipped=round(skipped),
            share=share,
        )

    def get_state(self) -> dict[str, Any]:
        """Plain values and tensors on the host."""
        tensors = {"reference": self.reference, "start": self.start, "gradients": self.gradients}
        tensors |= {"skipped": self.skipped, "share": self.share}
        return {
            **{name: None if tensor is None else tensor.cpu() for name, tensor in tensors.items()},
            "counts": list(self.counts),
            "ce": self.ce.get_state(),
            "kl": self.kl.get_state(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes up what :meth:`get_state` returned."""
        device = self.reference.device
        for name in ("reference", "start", "gradients", "skipped", "share"):
            setattr(self, name, None if state[name] is None else state[name].to(device))
        self.counts = list(state["counts"])
        self.ce.set_state(state["ce"], device)
        self.kl.set_state(state["kl"], device)
