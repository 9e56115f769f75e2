"""The inner loop: N optimizees, their updates, their statistics, their validation.

Two implementations of one interface: :class:`StackedPopulation` runs all optimizees in one batched graph,
:class:`LoopedPopulation` runs any network, one optimizee after the other, on ``torch.optim.SGD``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from l2o_env.config import EnvConfig, resolve_device
from l2o_env.errors import ConfigError, unknown_name
from l2o_env.guidance import Context, kl_divergence, make_guidance
from l2o_env.inner.device_data import DeviceData
from l2o_env.inner.metrics import Evaluation, class_accuracy, evaluate_chunks, is_averaged, predictions
from l2o_env.inner.optimizees import check_pair, model_maker
from l2o_env.inner.statistics import (
    HEAD_FIELDS,
    LAYER_FIELDS,
    GradientSums,
    LayerStatistics,
    all_finite,
    gradient_sums,
    layer_statistics,
)
from l2o_env.inner.stream_data import StreamData
from l2o_env.inner.window import Measurements, Start, Window, WindowTime
from l2o_env.models.base import Optimizee, new_generator
from l2o_env.models.layout import Layout
from l2o_env.pairs.pair import Pair, is_streamed
from l2o_env.schedule import warmup_poly

EVALUATION_SPLITS = ("validation", "target", "proxy_test")
"""What optimizees can be evaluated on."""


class Gradients(NamedTuple):
    """Gradients ``(N, n_weights)`` and losses ``(N,)`` of one batch; ``guidance`` is None unless asked for.

    ``scale`` is the weight of ``guidance`` in ``total``, one for all or ``(N, 1)``.
    """

    total: Tensor
    guidance: Tensor | None
    ce: Tensor
    kl: Tensor
    scale: float | Tensor


class Population(ABC):
    """N optimizees with one learning rate per layer group each.

    Args:
        pairs: The pairs that optimizees may be started on.
        n: Number of optimizees.
        config: Settings of the inner loop.
        dtype: Floating-point type of weights and images.
        data: The pairs' images on the device, if another population has them already.

    Raises:
        ConfigError: If the pairs cannot run in one population, or not with these settings.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        n: int,
        config: EnvConfig,
        dtype: torch.dtype = torch.float32,
        *,
        data: Sequence[DeviceData | StreamData] | None = None,
    ) -> None:
        self.n, self.config, self.dtype = n, config, dtype
        self.device = resolve_device(config.device)
        self.pairs = tuple(pairs)
        # Their shapes alone, without memory for their weights.
        models = [model_maker(pair, config)(new_generator(0)).to("meta") for pair in pairs]
        self.layout = Layout.of(models[0])
        for pair, model in zip(pairs, models, strict=True):
            if Layout.of(model) != self.layout:
                raise ConfigError(
                    f"Pairs of one environment need the same network up to the proxy's head; {pairs[0].name!r} and "
                    f"{pair.name!r} differ in their layer groups ({', '.join(self.layout.group_names)} and "
                    f"{', '.join(Layout.of(model).group_names)}) or in the shapes of their weights. "
                    "Make one environment for each network."
                )
            check_pair(pair, model, config)
        self._template = models[0]
        self.n_proxy_classes = max(pair.n_proxy_classes for pair in pairs)
        self.data = [self._device_data(pair) for pair in pairs] if data is None else list(data)
        self.starts: list[Start | None] = [None] * n
        self.done = np.zeros(n, np.int64)
        shape = (n, self.layout.n_weights)
        self.weights = torch.zeros(shape, device=self.device, dtype=dtype)
        self.reference = torch.zeros(shape, device=self.device, dtype=dtype)
        self._velocity = torch.zeros(shape, device=self.device, dtype=dtype)
        self.order = torch.zeros((n, config.budget, config.batch_size), dtype=torch.int32, device=self.device)
        self.guidance = make_guidance(Context(n, config, self.layout, self.pairs, self.device, dtype))
        self._weights = np.zeros(n)
        self._weight: float | Tensor = 0.0
        self._drawn: dict[tuple[int, int], Optimizee] = {}

    @property
    def n_layers(self) -> int:
        """Number of layer groups."""
        return self.layout.n_layers

    def start(self, starts: dict[int, Start]) -> None:
        """Starts new episodes.

        Args:
            starts: What each of the optimizees (by index) starts from. The others go on.
        """
        for i, start in starts.items():
            self._restart(i, start)
            self.done[i] = 0
        self._drawn.clear()

    def _restart(self, i: int, start: Start) -> None:
        self.starts[i] = start
        self._load_model(i, self._initial_model(start))
        self.reference[i] = self.weights[i]
        self.order[i] = batch_order(self.data[start.pair].n_train, self.config, start.batch_seed).to(self.device)
        self.guidance.start(i, start.pair, start.batch_seed)

    def _initial_model(self, start: Start) -> Optimizee:
        """The network that an episode starts from; with common random numbers it is drawn once for all."""
        key = start.pair, start.init_seed
        if key not in self._drawn:
            make = model_maker(self.pairs[start.pair], self.config)
            self._drawn[key] = make(new_generator(start.init_seed)).to(self.device, self.dtype).eval()
        return self._drawn[key]

    def run(
        self,
        rates: NDArray[np.float64],
        n_updates: NDArray[np.int64],
        guidance_weights: NDArray[np.float64] | None = None,
    ) -> Window:
        """Makes a window of updates, then validates.

        Args:
            rates: Learning rates ``(N, n_layers)``.
            n_updates: Updates of each optimizee ``(N,)``; 0 measures without an update.
            guidance_weights: Weight of the guidance term ``(N,)``; None takes that of the settings.

        Returns:
            The window's statistics. They are read back from the device once, at its end.
        """
        window_start = self.weights.clone()
        lengths = np.maximum(n_updates, 1)
        batches = np.arange(lengths.max())
        index = self._batches(batches)
        updates, last = batches[:, None] < n_updates, batches[:, None] == lengths - 1
        # On the device before the first update: a copy from the host would wait for the updates that are under way.
        masks = torch.as_tensor(np.stack([updates, last, batches[:, None] < lengths]), device=self.device)
        self._set_rates(torch.as_tensor(rates, dtype=torch.float64))
        self._set_weights(guidance_weights)
        curve = self._curve(batches)
        ce_sum = torch.zeros(self.n, device=self.device, dtype=self.dtype)
        kl_sum = ce_sum.clone()
        measured: GradientSums | None = None
        for step in batches:
            if curve is not None:
                self._set_rates(torch.as_tensor(rates * curve[:, step, None], dtype=torch.float64))
            gradients = self._gradients(index[:, step], separate=bool(last[step].any()))
            ce_sum += torch.where(masks[2, step], gradients.ce, 0.0)
            kl_sum += torch.where(masks[2, step], gradients.kl, 0.0)
            if last[step].any():
                assert gradients.guidance is not None
                found = gradient_sums(
                    self.layout,
                    gradient=gradients.total,
                    guidance_gradient=gradients.guidance,
                    guidance_weight=gradients.scale,
                    momentum=self._velocity,
                )
                measured = found if measured is None else _merge(measured, found, masks[1, step])
            del gradients  # the guidance's own is as large as the weights
            self._update(updates[step], masks[0, step])
            self.guidance.updated(updates[step])
        self.done += n_updates
        assert measured is not None
        statistics = layer_statistics(
            self.layout,
            weights=self.weights,
            reference=self.reference,
            window_start=window_start,
            gradients=measured,
        )
        counts = torch.as_tensor(lengths, device=self.device)
        return self._finish(statistics, window_start, ce_sum / counts, kl_sum / counts)

    def window_time(self) -> WindowTime:
        """Time of all windows so far; zeros of a population that only takes images in memory."""
        return WindowTime(0.0, 0.0)

    def _curve(self, ahead: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Factors of the rates ``(N, len(ahead))`` at the updates to come, if they follow a curve."""
        config = self.config
        if config.lr_curve == "none":
            return None
        return warmup_poly(self.done[:, None] + ahead, config.budget, config.lr_warmup)

    def _set_weights(self, weights: NDArray[np.float64] | None) -> None:
        """Sets the weights of the guidance term: one number, as long as they are the same for all."""
        if weights is None:
            weights = np.full(self.n, self.config.guidance_weight)
        self._weights = weights * (self.config.guidance != "none")
        same = (self._weights == self._weights[0]).all()
        self._weight = float(self._weights[0]) if same else torch.as_tensor(self._weights).to(self.weights)

    def _weighted(self, term: Tensor, weight: float | Tensor) -> Tensor:
        """What a guidance term counts in the training loss, ``(...)``; beyond the cap it has no gradient."""
        cap = self.config.guidance_cap
        return weight * term if cap is None else (weight * term).clamp(max=cap)

    def _scale(self, term: Tensor) -> float | Tensor:
        """Weight of the gradient of guidance terms ``(N,)`` in that of the training loss; 0 beyond the cap."""
        weight, cap = self._weight, self.config.guidance_cap
        if cap is not None:
            weight = torch.where(weight * term <= cap, weight, 0.0)
        return weight if isinstance(weight, float) else weight[:, None].to(term)

    def _batches(self, ahead: NDArray[np.int64]) -> Tensor:
        """Training images ``(N, len(ahead), batch)`` of the updates to come; ``ahead`` counts from the next one."""
        steps = np.minimum(self.done[:, None] + ahead, self.config.budget - 1)
        rows = torch.arange(self.n, device=self.device)[:, None]
        return self.order[rows, torch.as_tensor(steps, device=self.device)].long()

    def _finish(self, statistics: LayerStatistics, window_start: Tensor, ce: Tensor, kl: Tensor) -> Window:
        finite = all_finite(self.weights) & ce.isfinite() & kl.isfinite()
        # Validation of diverged weights would be meaningless, so it sees the last finite ones.
        torch.where(finite[:, None], self.weights, window_start, out=self.weights)
        validation = self.evaluate("validation")
        values = torch.stack([ce, kl, validation.ce, validation.kl, validation.accuracy], dim=-1)
        bad = ~(finite & validation.ce.isfinite() & validation.kl.isfinite())
        torch.where(bad[:, None], window_start, self.weights, out=self.weights)
        layers = torch.stack([getattr(statistics, name) for name in LAYER_FIELDS], dim=-1).flatten(1)
        head = torch.stack([getattr(statistics, name) for name in HEAD_FIELDS], dim=-1)
        host = torch.cat([values, bad[:, None].to(values), head, layers], dim=-1).double().cpu().numpy()
        train_ce, train_kl, val_ce, val_kl, val_accuracy = host[:, :5].T
        self._stop(host[:, 5] > 0)
        per_layer = host[:, 8:].reshape(self.n, self.n_layers, len(LAYER_FIELDS))
        target = np.full(self.n, np.nan)
        if self.config.reward == "target_oracle":
            target = self.evaluate("target").accuracy.double().cpu().numpy()
        return Window(
            layers={name: per_layer[..., k] for k, name in enumerate(LAYER_FIELDS)},
            head={name: host[:, 6 + k] for k, name in enumerate(HEAD_FIELDS)},
            measurements=Measurements(train_ce, train_kl, val_ce, val_kl, val_accuracy, target),
            diverged=host[:, 5] > 0,
        )

    def _stop(self, which: NDArray[np.bool_]) -> None:
        """Takes away the momentum of some optimizees, which would make their next update diverge too."""
        if which.any():
            self._velocity[torch.as_tensor(which, device=self.device)] = 0

    def evaluate(self, split: str) -> Evaluation:
        """Losses and accuracies of all optimizees, each on its own pair.

        Args:
            split: ``"validation"``, ``"target"`` or ``"proxy_test"``. The accuracy on the last is that of the proxy's
                head. Only ``"validation"`` has a KL term.

        Raises:
            ConfigError: If there is no such split, or a pair has no images of it.
        """
        if split not in EVALUATION_SPLITS:
            raise unknown_name("split", split, EVALUATION_SPLITS)
        result = Evaluation(*(torch.zeros(self.n, device=self.device, dtype=self.dtype) for _ in range(3)))
        for pair, rows in self._by_pair().items():
            for mine, theirs in zip(result, self._evaluate_pair(pair, rows, split), strict=True):
                mine[rows] = theirs
        return result

    def _by_pair(self) -> dict[int, list[int]]:
        groups: dict[int, list[int]] = {}
        for i, start in enumerate(self.starts):
            if start is not None:
                groups.setdefault(start.pair, []).append(i)
        return groups

    def _evaluate_pair(self, pair: int, rows: list[int], name: str) -> Evaluation:
        data = self.data[pair]
        if isinstance(data, StreamData) or data.pair.metric != "accuracy" or is_averaged(data.pair, name):
            n_classes = data.pair.n_proxy_classes
            return evaluate_chunks(self._logits, data.pair, rows, name, data.chunks(name), n_classes)
        split = data.validation if name == "validation" else data.evaluation_split(name)
        logits, proxy_logits = self._logits(rows, split.images)
        n_classes = data.pair.n_proxy_classes
        scores = proxy_logits[..., :n_classes] if name == "proxy_test" else logits
        labels = split.labels.expand(len(rows), -1)
        ce = F.cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="none").unflatten(0, labels.shape)
        kl = torch.zeros(len(rows), device=self.device, dtype=self.dtype)
        if name == "validation":
            kl = kl_divergence(proxy_logits[..., :n_classes], data.validation_probs[:, :n_classes])
        return Evaluation(ce.mean(-1), kl, (scores.argmax(-1) == labels).to(self.dtype).mean(-1))

    def predictions(self, split: str) -> list[Tensor]:
        """Predicted classes of every optimizee on its own pair's images, each ``(n_images,)`` or one per pixel."""
        result: list[Tensor] = [torch.empty(0)] * self.n
        for pair, rows in self._by_pair().items():
            data = self.data[pair]
            parts = [predictions(self._logits, data.pair, rows, split, batch.images) for batch in data.chunks(split)]
            for i, predicted in zip(rows, torch.cat(parts, 1), strict=True):
                result[i] = predicted
        return result

    def class_accuracy(self, split: str) -> Tensor:
        """What the metric is the mean of, class by class: ``(N, n_classes)``, float64; NaN for none."""
        n_classes = max(pair.n_classes for pair in self.pairs)
        result = torch.full((self.n, n_classes), torch.nan, dtype=torch.float64, device=self.device)
        for pair, rows in self._by_pair().items():
            data = self.data[pair]
            result[rows] = class_accuracy(self._logits, data.pair, rows, split, data.chunks(split), n_classes)
        return result

    def optimizee(self, i: int) -> Optimizee:
        """The i-th optimizee as it is now, as a network of its own on the host, in evaluation mode.

        Raises:
            ConfigError: If no episode of it was started yet.
        """
        start = self.starts[i]
        if start is None:
            raise ConfigError(f"Optimizee {i} has no weights yet; start an episode first.")
        model = model_maker(self.pairs[start.pair], self.config)(new_generator(start.init_seed))
        weights = {name: tensor[i].cpu() for name, tensor in self.layout.unflatten(self.weights).items()}
        model.load_state_dict({**weights, **self._buffers_of(i)}, strict=False)
        return model.eval()

    def _buffers_of(self, i: int) -> dict[str, Tensor]:
        """Batch statistics of the i-th optimizee by name, on the host, where it has its own."""
        return {}

    def get_state(self) -> dict[str, Any]:
        """Everything that the coming updates depend on; tensors are copies on the host."""
        return {
            "starts": list(self.starts),
            "done": self.done.copy(),
            "weights": self.weights.cpu().clone(),
            "reference": self.reference.cpu().clone(),
            "momentum": self._velocity.cpu().clone(),
            "guidance": self.guidance.get_state(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes up a state that :meth:`get_state` returned."""
        for i, start in enumerate(state["starts"]):
            if start is not None:
                self._restart(i, start)
        self._drawn.clear()
        self.done = state["done"].copy()
        self.weights.copy_(state["weights"])
        self.reference.copy_(state["reference"])
        self._velocity.copy_(state["momentum"])
        self.guidance.set_state(state["guidance"])

    def _padded_classes(self, pair: Pair) -> int:
        return pair.n_proxy_classes

    def _device_data(self, pair: Pair) -> DeviceData | StreamData:
        if is_streamed(pair):
            return StreamData(pair, self.device, self.dtype)
        return DeviceData(pair, self.device, self.dtype, self._padded_classes(pair))

    @abstractmethod
    def _load_model(self, i: int, model: Optimizee) -> None:
        """Makes `model` the i-th optimizee, with zero momentum. Others may be given the same `model`."""

    @abstractmethod
    def _set_rates(self, rates: Tensor) -> None:
        """Sets the learning rates ``(N, n_layers)`` of the updates to come."""

    @abstractmethod
    def _gradients(self, index: Tensor, *, separate: bool) -> Gradients:
        """Gradients on the training images `index` ``(N, batch)``; with the guidance's own if `separate`."""

    @abstractmethod
    def _update(self, active: NDArray[np.bool_], mask: Tensor) -> None:
        """Clips the gradients and makes one SGD update of the `active` optimizees ``(N,)``.

        Args:
            active: Which optimizees, on the host.
            mask: The same on the device.
        """

    @abstractmethod
    def _logits(self, rows: list[int], images: Tensor) -> tuple[Tensor, Tensor]:
        """Both heads' logits ``(len(rows), n_images, classes)`` of some optimizees on the same images."""


def batch_order(n_images: int, config: EnvConfig, seed: int) -> Tensor:
    """Image indices of every update, ``(budget, batch_size)``: shuffled epochs, one after the other."""
    generator = new_generator(seed)
    wanted = config.budget * config.batch_size
    epochs = [torch.randperm(n_images, generator=generator) for _ in range(-(-wanted // n_images))]
    return torch.cat(epochs)[:wanted].view(config.budget, config.batch_size)


def _merge(old: GradientSums, new: GradientSums, mask: Tensor) -> GradientSums:
    return GradientSums(*(torch.where(mask[:, None], b, a) for a, b in zip(old, new, strict=True)))
