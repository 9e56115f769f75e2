"""A population of any network, one optimizee after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from l2o_env.config import EnvConfig
from l2o_env.guidance import TermInputs, kl_divergence
from l2o_env.guidance.base import captured, feature_map
from l2o_env.inner.device_data import EVALUATION_CHUNK
from l2o_env.inner.population import Gradients, Population
from l2o_env.inner.torch_compile import compiled, graphs_kept
from l2o_env.inner.window import Start, Window, WindowTime
from l2o_env.models.base import Optimizee
from l2o_env.models.losses import as_rows, task_loss
from l2o_env.pairs.pair import Pair


def _in_bf16(forward: Callable[[Tensor], tuple[Tensor, Tensor]], images: Tensor) -> tuple[Tensor, Tensor]:
    """A network's forward pass in mixed precision, on images that are stored channels last; losses are in float32."""
    with torch.autocast(images.device.type, torch.bfloat16):
        logits, proxy_logits = forward(images.contiguous(memory_format=torch.channels_last))
    return logits.float(), proxy_logits.float()


def _forward(model: Optimizee, images: Tensor) -> tuple[Tensor, Tensor]:
    return model(images)


def _collect(params: Sequence[nn.Parameter], gradients: Iterable[Tensor | None]) -> None:
    """Lets backward passes add up what they find in other tensors, one for each parameter."""
    for p, gradient in zip(params, gradients, strict=True):
        p.grad = gradient


_LARGEST_RATE = 1e30
"""Larger ones end all optimizees by an error of overflow in ``torch.optim``; by this one, an optimizee diverges."""


class RowOptimizer:
    """The rule on one optimizee, as far as a loop asks of an optimizer; for rules that ``torch.optim`` has not.

    Args:
        population: The population, of which it keeps views.
        i: The optimizee.
    """

    def __init__(self, population: LoopedPopulation, i: int) -> None:
        row = slice(i, i + 1)
        self._rule = population.rule
        self._row = population.weights[row], population._grads[row]
        self._state = {name: tensor[row] for name, tensor in population.state.items()}
        ends = np.cumsum(population.layout.group_sizes)
        self.param_groups: list[dict[str, Any]] = [
            {"lr": 0.0, "part": slice(int(end - size), int(end))}
            for end, size in zip(ends, population.layout.group_sizes, strict=True)
        ]

    @torch.no_grad()
    def step(self) -> None:
        """Makes an update: of the whole network, or where each layer group has its rate, of one after the other."""
        groups = [{**self.param_groups[0], "part": slice(None)}] if self._rule.one_rate else self.param_groups
        for group in groups:
            weights, gradient = (tensor[:, group["part"]] for tensor in self._row)
            n = self._row[0].shape[1]
            state = {name: x[:, group["part"]] if x.shape[1] == n else x for name, x in self._state.items()}
            self._rule.step(weights, gradient, weights.new_full((1, 1), group["lr"]), state)


class LoopedPopulation(Population):
    """Each optimizee is a module with its own optimizer, such as ``torch.optim.SGD``.

    With constant rates an optimizee is, bit for bit on a CPU, what a plain PyTorch loop with parameter groups makes
    of it. The parameters and gradients of the modules, and the optimizers' buffers, are views of ``(N, n_weights)``
    tensors, so that statistics are computed by the same code as for a stacked population.
    """

    def __init__(self, pairs: Sequence[Pair], n: int, config: EnvConfig, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(pairs, n, config, dtype)
        self._models: list[Optimizee] = [self._template] * n
        self._params: list[list[nn.Parameter]] = [[] for _ in range(n)]
        self._optimizers: list[torch.optim.Optimizer | RowOptimizer | None] = [None] * n
        self._grads = torch.zeros_like(self.weights)
        self._forward: Callable[[Optimizee, Tensor], tuple[Tensor, Tensor]] = _forward
        self._kept: Callable[[], AbstractContextManager[Any]] = nullcontext
        if config.compile and not self.guidance.needs_feature_layer:
            self._forward, self._kept = compiled(_forward), graphs_kept
        self._before: list[list[Tensor]] = []
        self._ahead = np.zeros((n, 0), np.int64)
        self._step = 0
        self._time = WindowTime(0.0, 0.0)
        self._at_begin: tuple[float, float, list[list[Tensor]]] = (0.0, 0.0, [])

    def _begin_window(self) -> None:
        self._at_begin = time.perf_counter(), self._waited(), self._buffers()

    def _end_window(self, window: Window) -> None:
        started, waited, buffers = self._at_begin
        self._restore(buffers, window.diverged)
        self._at_begin = (0.0, 0.0, [])
        total, waiting = self._time
        self._time = WindowTime(total + time.perf_counter() - started, waiting + self._waited() - waited)

    def window_time(self) -> WindowTime:
        """See ``Population``."""
        return self._time

    def _waited(self) -> float:
        """Seconds spent waiting for images, evaluations between windows included."""
        return sum(data.waited for data in self.data)

    def _restart(self, i: int, start: Start) -> None:
        super()._restart(i, start)
        seeds = [other.batch_seed for other in self.starts if other is not None and other.pair == start.pair]
        self.data[start.pair].begin(start.batch_seed, self.order[i], seeds)

    def _batches(self, ahead: NDArray[np.int64]) -> Tensor:
        self._ahead, self._step = np.minimum(self.done[:, None] + ahead, self.config.budget - 1), 0
        return super()._batches(ahead)

    def _buffers(self) -> list[list[Tensor]]:
        """Copies of the batch statistics of each network that was started and trains them."""
        started = zip(self.starts, self._models, strict=True)
        return [[b.clone() for b in m.buffers()] if s and m.trains_batch_statistics else [] for s, m in started]

    def _buffers_of(self, i: int) -> dict[str, Tensor]:
        return {name: buffer.cpu() for name, buffer in self._models[i].named_buffers()}

    def _restore(self, buffers: list[list[Tensor]], which: NDArray[np.bool_]) -> None:
        for model, kept, chosen in zip(self._models, buffers, which, strict=True):
            if chosen:
                for buffer, old in zip(model.buffers(), kept, strict=bool(kept)):
                    buffer.copy_(old)

    def _load_model(self, i: int, model: Optimizee) -> None:
        if any(other is model for other in self._models):
            model = deepcopy(model)
        elif self.config.precision == "bf16":
            model.forward = partial(_in_bf16, model.forward)  # type: ignore[method-assign]
        named = dict(model.named_parameters())
        for name, view in self.layout.unflatten(self.weights[i]).items():
            named[name].data = view.copy_(named[name].detach())
        self._models[i] = model
        self._params[i] = [named[name] for name in self.layout.names]
        _collect(self._params[i], self.layout.unflatten(self._grads[i]).values())
        groups = [{"params": [named[name] for name in group]} for group in model.layer_groups().values()]
        # On a GPU one launch for all parameters of a group. On a CPU it would not be bit for bit the plain loop.
        optimizer = self.rule.optimizer(groups, fused=self.device.type == "cuda")
        if optimizer is not None:
            self.rule.share(optimizer, self._params[i], {name: self._parts(x[i]) for name, x in self.state.items()})
        self._optimizers[i] = optimizer or RowOptimizer(self, i)

    def _parts(self, row: Tensor) -> list[Tensor]:
        """Views of ``(n_weights,)`` or ``(n_parameters,)``: that of each parameter."""
        return list(self.layout.unflatten(row).values() if len(row) == self.layout.n_weights else row.unbind())

    def _set_rates(self, rates: Tensor) -> None:
        for optimizer, row in zip(self._optimizers, rates.tolist(), strict=True):
            assert optimizer is not None
            for group, rate in zip(optimizer.param_groups, row, strict=True):
                group["lr"] = min(rate, _LARGEST_RATE)

    def _gradients(self, index: Tensor, *, separate: bool) -> Gradients:
        self._grads.zero_()
        self._before = self._buffers()
        guidance = torch.zeros_like(self.weights) if separate else None
        losses = [self._backward(i, index[i], guidance) for i in range(self.n)]
        self._step += 1
        ce, kl, term = (torch.stack(column) for column in zip(*losses, strict=True))
        return Gradients(self._grads, guidance, ce, kl, self.guidance_weight.scale(term))

    def _backward(self, i: int, index: Tensor, guidance: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        start = self.starts[i]
        assert start is not None
        model = self._models[i]
        batch = self.data[start.pair].batch(index, start.batch_seed, int(self._ahead[i, self._step]))
        images, probs = batch.images, batch.probs
        assert probs is not None
        model.train_batch_statistics(True)
        with captured(model, self.guidance.needs_features) as features:
            logits, proxy_logits = self._forward(model, images)
        model.train_batch_statistics(False)
        ce = task_loss(logits, batch.labels)
        kl = kl_divergence(as_rows(proxy_logits), as_rows(probs))
        guided = self.config.guidance != "none"
        term = self._term(i, images, proxy_logits, probs, features) if self.guidance.beyond_kl else kl
        if guidance is not None and guided:
            params = self._params[i]
            total = [p.grad for p in params]
            _collect(params, self.layout.unflatten(guidance[i]).values())
            with self._kept():
                term.backward(retain_graph=True)
            _collect(params, total)
        (ce + self.guidance_weight.counted(term, i) if guided else ce).backward()
        return ce.detach(), kl.detach(), term.detach()

    def _term(self, i: int, images: Tensor, proxy_logits: Tensor, probs: Tensor, features: list[Tensor]) -> Tensor:
        start, model = self.starts[i], self._models[i]
        assert start is not None
        inputs = TermInputs(
            proxy_logits=proxy_logits,
            proxy_probs=probs,
            weights=torch.cat([p.reshape(-1) for p in self._params[i]]),
            reference=self.reference[i],
            features=features[-1] if features else None,
            extras={key: value[0] for key, value in self.guidance.prepare([i], start.pair, images[None]).items()},
            encode=partial(feature_map, model),
        )
        return self.guidance.loss(inputs)

    def _update(self, active: NDArray[np.bool_], mask: Tensor) -> None:
        for params, optimizer, is_active in zip(self._params, self._optimizers, active, strict=True):
            if is_active:
                assert optimizer is not None
                if self.config.clip_norm is not None:
                    torch.nn.utils.clip_grad_norm_(params, self.config.clip_norm)
                optimizer.step()
        self._restore(self._before, ~active)

    def _logits(self, rows: list[int], images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            parts = [[self._forward(self._models[i], chunk) for chunk in images.split(EVALUATION_CHUNK)] for i in rows]
        return (
            torch.stack([torch.cat([a for a, _ in row]) for row in parts]),
            torch.stack([torch.cat([b for _, b in row]) for row in parts]),
        )

    def get_state(self) -> dict[str, Any]:
        """See ``Population``; with the batch statistics of networks that train them."""
        return {**super().get_state(), "buffers": [[b.cpu() for b in kept] for kept in self._buffers()]}

    def set_state(self, state: dict[str, Any]) -> None:
        """See ``Population``."""
        super().set_state(state)
        self._restore(state.get("buffers", [[]] * self.n), np.ones(self.n, np.bool_))
