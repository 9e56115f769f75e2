"""N networks on one device that are fine-tuned side by side: started, judged, taken out and put back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from l2o_env.config import EnvConfig, resolve_device
from l2o_env.errors import ConfigError, unknown_name
from l2o_env.inner.device_data import DeviceData
from l2o_env.inner.metrics import Evaluation, SplitJudge
from l2o_env.inner.network_checks import check_pair, model_maker, shared_layout
from l2o_env.inner.stream_data import StreamData
from l2o_env.inner.window import Start
from l2o_env.inner.workload import PARALLEL_FROM, operations
from l2o_env.models.base import Optimizee, new_generator, without_memory
from l2o_env.pairs.pair import Pair, is_streamed
from l2o_env.threads import with_fitting_threads

EVALUATION_SPLITS = ("validation", "shifted", "target", "proxy_test")
"""What optimizees can be evaluated on."""
STAGES = ("start", "gradients", "update", "evaluate")
"""What a population does, as :attr:`Optimizees.stage` is told."""


class Optimizees(ABC):
    """N networks, each on one of the pairs; how they are updated is for ``Population`` to say.

    Args:
        pairs: The pairs that they may be started on.
        n: Number of optimizees.
        config: Settings of the inner loop.
        dtype: Floating-point type of weights and images.
        data: The pairs' images on the device, if another population has them already.

    Attributes:
        weights: ``(N, n_weights)``, flat; see ``Layout``.
        reference: What the episodes started from, likewise.
        done: Updates made in the running episode, ``(N,)``.
        starts: What the running episodes started from; None before the first.
        one_thread: Whether PyTorch does better with one thread: networks are small, or have kernels of their own.
        stage: Makes the context that each of ``STAGES`` runs in, for whoever measures them.

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
        models = [without_memory(model_maker(pair, config)(new_generator(0))) for pair in pairs]
        self.layout = shared_layout(pairs, models)
        for pair, model in zip(pairs, models, strict=True):
            check_pair(pair, model, config)
        self._template = models[0]
        self.n_proxy_classes = max(pair.n_proxy_classes for pair in pairs)
        self.one_thread = self.device.type == "cpu" and self._operations() < PARALLEL_FROM
        self.data = self._load_data() if data is None else list(data)
        self.starts: list[Start | None] = [None] * n
        self.done = np.zeros(n, np.int64)
        shape = (n, self.layout.n_weights)
        self.weights = torch.zeros(shape, device=self.device, dtype=dtype)
        self.reference = torch.zeros(shape, device=self.device, dtype=dtype)
        self.stage: Callable[[str], AbstractContextManager[Any]] = nullcontext
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
        with self.stage("start"):
            for i, start in starts.items():
                self._restart(i, start)
                self.done[i] = 0
            self._drawn.clear()

    def _restart(self, i: int, start: Start) -> None:
        self.starts[i] = start
        self._load_model(i, self._initial_model(start))
        self.reference[i] = self.weights[i]

    def _initial_model(self, start: Start) -> Optimizee:
        """The network that an episode starts from; with common random numbers it is drawn once for all."""
        key = start.pair, start.init_seed
        if key not in self._drawn:
            make = model_maker(self.pairs[start.pair], self.config)
            self._drawn[key] = make(new_generator(start.init_seed)).to(self.device, self.dtype).eval()
        return self._drawn[key]

    # --- how good the optimizees are ---------------------------------------------------------------------------------

    @with_fitting_threads
    def evaluate(self, split: str) -> Evaluation:
        """Losses and accuracies of all optimizees, each on its own pair.

        Args:
            split: ``"validation"``, ``"shifted"``, ``"target"`` or ``"proxy_test"``. The accuracy on the last is that
                of the proxy's head. The first two have a KL term.

        Raises:
            ConfigError: If there is no such split, or a pair has no images of it.
        """
        if split not in EVALUATION_SPLITS:
            raise unknown_name("split", split, EVALUATION_SPLITS)
        result = Evaluation(*(torch.zeros(self.n, device=self.device, dtype=self.dtype) for _ in range(3)))
        with self.stage("evaluate"):
            for judge, data in self._judges(split):
                if isinstance(data, StreamData) or data.pair.metric != "accuracy" or judge.averaged:
                    found = judge.evaluate(data.chunks(split))
                else:
                    found = judge.evaluate_whole(data.whole(split))
                for mine, theirs in zip(result, found, strict=True):
                    mine[judge.rows] = theirs
        return result

    @with_fitting_threads
    def predictions(self, split: str) -> list[Tensor]:
        """Predicted classes of every optimizee on its own pair's images, each ``(n_images,)`` or one per pixel."""
        result: list[Tensor] = [torch.empty(0)] * self.n
        for judge, data in self._judges(split):
            predicted = torch.cat([judge.predictions(batch.images) for batch in data.chunks(split)], 1)
            for i, row in zip(judge.rows, predicted, strict=True):
                result[i] = row
        return result

    @with_fitting_threads
    def class_accuracy(self, split: str) -> Tensor:
        """What the metric is the mean of, class by class: ``(N, n_classes)``, float64; NaN for none."""
        n_classes = max(pair.n_classes for pair in self.pairs)
        result = torch.full((self.n, n_classes), torch.nan, dtype=torch.float64, device=self.device)
        for judge, data in self._judges(split):
            result[judge.rows] = judge.class_accuracy(data.chunks(split), n_classes)
        return result

    def _judges(self, split: str) -> list[tuple[SplitJudge, DeviceData | StreamData]]:
        """Of each pair that has optimizees, who judges them on a split, and the pair's images."""
        found = []
        for index, rows in self._by_pair().items():
            data = self.data[index]
            found.append((SplitJudge(self._logits, data.pair, rows, split), data))
        return found

    def _by_pair(self) -> dict[int, list[int]]:
        groups: dict[int, list[int]] = {}
        for i, start in enumerate(self.starts):
            if start is not None:
                groups.setdefault(start.pair, []).append(i)
        return groups

    # --- what can be taken out and put back --------------------------------------------------------------------------

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

    def close(self) -> None:  # noqa: B027 - what is divided over processes has something to free
        """There is nothing to free."""

    # --- what stacked and looped populations do in their own ways ----------------------------------------------------

    def _padded_classes(self, pair: Pair) -> int:
        """Columns of the proxy's outputs on a pair."""
        return pair.n_proxy_classes

    def _operations(self) -> float:
        """Floating-point operations of one forward pass of a training batch, as PyTorch sees it."""
        return operations(self._template, self.pairs[0], self.config.batch_size)

    @with_fitting_threads
    def _load_data(self) -> list[DeviceData | StreamData]:
        return [self._device_data(pair) for pair in self.pairs]

    def _device_data(self, pair: Pair) -> DeviceData | StreamData:
        if is_streamed(pair):
            return StreamData(pair, self.device, self.dtype)
        return DeviceData(pair, self.device, self.dtype, self._padded_classes(pair))

    @abstractmethod
    def _load_model(self, i: int, model: Optimizee) -> None:
        """Makes `model` the i-th optimizee, never updated before. Others may be given the same `model`."""

    @abstractmethod
    def _logits(self, rows: list[int], images: Tensor) -> tuple[Tensor, Tensor]:
        """Both heads' logits ``(len(rows), n_images, classes)`` of some optimizees on the same images."""
