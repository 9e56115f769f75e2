"""The learning rates of an optimizer's groups, by layer."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.training.parameters import Parameters


class GroupRates:
    """Reads and writes ``group["lr"]`` of the groups of each layer; a group's ``lr_scale`` multiplies its rate.

    Rates that are tensors, which compiled and captured updates read, are written in place; the groups get one each,
    because ``torch.optim`` gives the same to all of them.

    Args:
        optimizer: The optimizer.
        parameters: The network's parameters.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, parameters: Parameters) -> None:
        parameters.check(optimizer)
        self._optimizer, self._parameters = optimizer, parameters
        self._set: dict[int, float] = {}
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"] = group["lr"].clone()

    def of_layers(self) -> NDArray[np.float64]:
        """The rate of each layer group, ``(n_layers,)``; of several groups of one layer, that of the last."""
        rates = np.zeros(self._parameters.layout.n_layers)
        for group, layer in zip(self._optimizer.param_groups, self._layers(), strict=True):
            if layer is not None:
                rates[layer] = float(group["lr"]) / group.get("lr_scale", 1.0)
        return rates

    def set(self, rates: NDArray[np.float64]) -> None:
        """Sets the rate of each layer group, ``(n_layers,)``; groups that are frozen are left alone."""
        self._set.clear()
        for k, (group, layer) in enumerate(zip(self._optimizer.param_groups, self._layers(), strict=True)):
            if layer is None:
                continue
            rate = float(rates[layer]) * group.get("lr_scale", 1.0)
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = self._set[k] = rate

    def changed(self) -> bool:
        """Whether rates are others than those last set. Those that are tensors, on a GPU perhaps, are not looked at."""
        groups = self._optimizer.param_groups
        return any(k < len(groups) and groups[k]["lr"] != rate for k, rate in self._set.items())

    def copies(self) -> list[float | Tensor]:
        """The rate of each of the optimizer's groups."""
        rates = [group["lr"] for group in self._optimizer.param_groups]
        return [rate.clone() if isinstance(rate, Tensor) else rate for rate in rates]

    def _layers(self) -> list[int | None]:
        return self._parameters.layers_of(self._optimizer)
