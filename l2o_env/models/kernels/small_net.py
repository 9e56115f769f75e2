"""Gradients and logits of many copies of ``l2o_env.models.small.SmallNet`` on the CPU, without PyTorch.

Threads take optimizees (of a forward pass, chunks of images too) as they get free, and each is computed by one thread.
So the result, bit for bit, does not depend on the number of threads, which is PyTorch's (``torch.get_num_threads()``).
No thread outlives a call, and Numba's own thread pools are not used: processes may be forked or spawned at any time.

Importing this module imports Numba, and the first call compiles (see :mod:`~l2o_env.models.kernels.program`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from l2o_env.models.base import Optimizee
from l2o_env.models.kernels import program as kernels
from l2o_env.models.kernels.program import CHANNELS, TILE, Conv, Norm

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_CHANNELS, _SIZE = 3, 16
_CHUNK = 8 * TILE  # images of one job of a forward pass

_NOTHING = np.empty((0, 0), dtype=np.float32)

_Step = tuple[int, ...]


class _Block(NamedTuple):
    x: int
    conv1: Conv
    norm1: Norm
    conv2: Conv
    norm2: Norm
    shortcut: Conv | None


class _Programs:
    """Walks through the modules of a network, gives everything a place, and writes its programs."""

    def __init__(self, net: Any) -> None:
        self.names = {module: name for name, module in net.named_modules()}
        self.places: dict[str, int] = {}
        self.floats = 0
        trained = [name for names in net.layer_groups().values() for name in names]
        for name in (*trained, "proxy_head.weight", "proxy_head.bias"):
            self.places[name], self.floats = self.floats, self.floats + net.get_parameter(name).numel()
        self.n_weights = self.places["proxy_head.weight"]
        self.n_classes = net.head[2].out_features
        self.n_proxy_classes, self.n_features = net.proxy_head.out_features, net.proxy_head.in_features
        self.floats = _padded(self.floats, 16)
        self.pack: list[_Step] = []
        self.forward: list[_Step] = []
        self.write(net)

    def place(self, *shape: int) -> int:
        place = self.floats
        self.floats += _padded(int(np.prod(shape)), 16)  # whole cache lines
        return place

    def activations(self, n: int, size: int = 1) -> int:
        return self.place(size, size, _padded(n, CHANNELS), TILE)

    def layer(self, module: nn.Module, size: int = 1) -> Conv:
        """A convolution of images of this size, or a linear layer."""
        if isinstance(module, nn.Conv2d):
            real, kernel, stride = (module.in_channels, module.out_channels), module.kernel_size[0], module.stride[0]
        else:
            assert isinstance(module, nn.Linear)
            real, kernel, stride = (module.in_features, module.out_features), 1, 1
        n_in, n_out = (_padded(n, CHANNELS) for n in real)
        packed, transposed = (self.place(n_in, n_out, kernel, kernel) for _ in range(2))
        weight = self.places[f"{self.names[module]}.weight"]
        out_size = _padded(size, stride) // stride
        conv = Conv(n_in, n_out, size, out_size, kernel, stride, *real, weight, packed, transposed)
        self.pack.append((kernels.PACK, *conv))
        return conv

    def convolve(self, module: nn.Module, x: int, size: int) -> tuple[Conv, int]:
        conv = self.layer(module, size)
        y = self.activations(conv.n_out, conv.out_size)
        self.forward.append((kernels.CONVOLVE, *conv, x, y, 0, 0))
        return conv, y

    def normalised(
        self, module: nn.Module, norm: nn.GroupNorm, x: int, size: int, beside: int = -1
    ) -> tuple[Conv, Norm]:
        """A convolution, GroupNorm, the sum with the shortcut's output at ``beside``, ReLU."""
        assert norm.num_groups == kernels.GROUPS and norm.eps == kernels.EPSILON
        conv, y = self.convolve(module, x, size)
        weight, size = self.places[f"{self.names[norm]}.weight"], conv.out_size
        out, scale = self.activations(conv.n_out, size), self.place(kernels.GROUPS, TILE)
        record = Norm(conv.n_out, size**2, weight, y, out, scale)
        self.forward.append((kernels.NORMALISE, *record, beside))
        return conv, record

    def block(self, module: Any, x: int, size: int) -> _Block:
        shortcut, beside = None, x
        if not isinstance(module.shortcut, nn.Identity):
            shortcut, beside = self.convolve(module.shortcut, x, size)
        conv1, norm1 = self.normalised(module.conv1, module.norm1, x, size)
        conv2, norm2 = self.normalised(module.conv2, module.norm2, norm1.y, conv1.out_size, beside)
        return _Block(x, conv1, norm1, conv2, norm2, shortcut)

    def linear(self, module: nn.Module, x: int, relu: bool = False) -> tuple[Conv, int, _Step]:
        """A linear layer, the place of its output, and (place, number) of its bias."""
        layer, y = self.convolve(module, x, 1)
        bias = self.places[f"{self.names[module]}.bias"], layer.real_out
        self.forward.append((kernels.BIAS, y, *bias, int(relu)))
        return layer, y, bias

    def write(self, net: Any) -> None:
        self.image = self.place(_SIZE, _SIZE, CHANNELS, TILE)
        stem, stem_norm = self.normalised(net.stem.conv, net.stem.norm, self.image, _SIZE)
        x, size = stem_norm.y, stem.out_size
        blocks = []
        for module in (net.layer1, net.layer2, net.layer3):
            blocks.append(self.block(module, x, size))
            x, size = blocks[-1].norm2.y, blocks[-1].conv1.out_size
        n = blocks[-1].conv2.n_out
        feature = self.activations(n)
        self.forward.append((kernels.MEAN, x, feature, size**2, n))
        first, hidden, bias1 = self.linear(net.head[0], feature, relu=True)
        second, logits, bias2 = self.linear(net.head[2], hidden)
        proxy, proxy_logits, _ = self.linear(net.proxy_head, feature)
        self.read = [(kernels.LOGITS, logits, proxy_logits)]

        d_logits, d_proxy = self.activations(second.n_out), self.activations(proxy.n_out)
        d_feature, d_hidden = self.activations(n), self.activations(first.n_out)
        largest = max(norm.n * norm.pixels for norm in (stem_norm, *(b.norm2 for b in blocks)))
        dx, dy, *work = (self.place(largest, TILE) for _ in range(4))
        losses = (kernels.CROSS_ENTROPY, logits, d_logits, second.real_out)
        divergence = (kernels.DIVERGENCE, proxy_logits, d_proxy, proxy.real_out)
        of_head = [
            *_backward(second, hidden, d_logits, d_hidden),
            (kernels.BIAS_GRADIENT, d_logits, *bias2),
            (kernels.MASK, hidden, d_hidden, first.n_out),
            *_backward(first, feature, d_hidden, d_feature, add=True),
            (kernels.BIAS_GRADIENT, d_hidden, *bias1),
        ]
        of_proxy = (kernels.CONVOLVE, *proxy, d_proxy, d_feature, 1, 0)
        of_backbone: list[_Step] = [(kernels.MEAN_BACKWARD, d_feature, dy, size**2, n)]
        for block in reversed(blocks):
            of_backbone += _block_backward(block, dy, dx, *work)
            if block.shortcut is not None:
                dx, dy = dy, dx
        of_backbone.append((kernels.NORMALISE_BACKWARD, *stem_norm, dy, work[0]))
        of_backbone.append((kernels.WEIGHT_GRADIENT, *stem, self.image, work[0]))
        self.total = [losses, (*divergence, 0), of_proxy, *of_head, *of_backbone]
        self.guidance = [(*divergence, 1), of_proxy, *of_backbone]


def _padded(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def _backward(conv: Conv, x: int, dy: int, dx: int, add: bool = False) -> list[_Step]:
    """The gradient of the weights and that of the input, which may be added to what is there."""
    return [(kernels.WEIGHT_GRADIENT, *conv, x, dy), (kernels.CONVOLVE, *conv, dy, dx, 1, int(add))]


def _block_backward(block: _Block, dy: int, dx: int, work: int, other: int) -> list[_Step]:
    """From the gradient after the block, at ``dy``, to that before it: at ``dy`` for the identity, else at ``dx``."""
    identity = block.shortcut is None
    steps: list[_Step] = [
        (kernels.NORMALISE_BACKWARD, *block.norm2, dy, work),
        *_backward(block.conv2, block.norm1.y, work, other),
        (kernels.NORMALISE_BACKWARD, *block.norm1, other, work),
        *_backward(block.conv1, block.x, work, dy if identity else dx, add=identity),
    ]
    if block.shortcut is not None:
        steps += _backward(block.shortcut, block.x, dy, dx, add=True)
    return steps


def _program(steps: Iterable[_Step]) -> Ints:
    rows = [(*step, *[0] * (kernels.WIDTH - len(step))) for step in steps]
    return np.array(rows, dtype=np.int64)


def _checked(name: str, array: NDArray[Any], dtype: Any, shape: tuple[int, ...], below: int | None = None) -> Any:
    # Compiled code checks no bounds: a wrong shape or index would read anywhere.
    if array.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, got {array.shape}.")
    if below is not None and array.size and (array.min() < 0 or array.max() >= below):
        raise ValueError(f"{name} must be from 0 to {below - 1}, got {array.min()} to {array.max()}.")
    return np.require(array, dtype, ["C", "A", "W"])  # other kinds of arrays would be compiled for anew


def _aligned(n: int) -> Floats:
    # To the cache line; zero, as the padding of channels is never written.
    memory = np.zeros(n + 16, dtype=np.float32)
    start = -memory.ctypes.data % 64 // 4
    return memory[start : start + n]


class SmallNetKernels:
    """Gradients and logits of ``N`` optimizees of one architecture: stem, three residual blocks, and two heads.

    All arrays are NumPy's, on the CPU: a tensor gives its own memory with ``tensor.numpy()``. An instance keeps its
    buffers (0.7 MB a thread) and so must not be called by two threads at a time.

    Args:
        network: A ``l2o_env.models.small.SmallNet``, of which only the shapes are read. Its proxy's head has ``K``
            classes; to train optimizees of fewer together with others, pad: weight 0, bias -1e4, probability 0.

    Attributes:
        n_weights: Trained weights of an optimizee, ``P``: all parameters of ``network.layer_groups()`` in that order,
            flattened.
    """

    def __init__(self, network: Optimizee) -> None:
        programs = _Programs(network)
        self.n_weights = programs.n_weights
        self._n_classes, self._n_proxy_classes = programs.n_classes, programs.n_proxy_classes
        self._n_features = programs.n_features
        self._image, self._n_once, self._n_floats = programs.image, len(programs.pack), programs.floats
        start = [*programs.pack, *programs.forward]
        self._of_total = _program([*start, *programs.total])
        self._of_both = _program([*start, *programs.total, *programs.guidance])
        self._of_logits = _program([*start, *programs.read])
        self._buffers: list[Floats] = []

    def gradients(
        self,
        weights: Floats,
        proxy_weight: Floats,
        proxy_bias: Floats,
        images: Floats,
        labels: Ints,
        proxy_probs: Floats,
        index: Ints,
        guidance_weight: float | NDArray[np.float64],
        *,
        separate: bool = False,
        out: Floats | None = None,
    ) -> tuple[Floats, Floats, Floats, Floats | None]:
        """Gradients of mean cross-entropy + ``guidance_weight`` * mean KL(proxy || optimizee) on one batch each.

        What is not finite in the weights goes through to the results.

        Args:
            weights: ``(N, P)``.
            proxy_weight: ``(N, K, 32)``: the frozen head of the proxy.
            proxy_bias: ``(N, K)``.
            images: ``(M, 3, 16, 16)``: a bank of images.
            labels: ``(M,)`` int64.
            proxy_probs: ``(M, K)``: what the proxy says of each image; 0 log 0 is 0.
            index: ``(N, B)`` int64: the images of each optimizee's batch.
            guidance_weight: Factor of the KL divergence, one for all or ``(N,)``.
            separate: Also give the gradient of the KL divergence alone. The forward pass is shared.
            out: ``(N, P)``: where to write the gradients of the total; a new array if None.

        Returns:
            Gradients of the total ``(N, P)``, mean cross-entropies ``(N,)``, mean KL divergences ``(N,)``, both in
            nats, and the gradients of the mean KL divergences ``(N, P)`` (not times ``guidance_weight``) or None.

        Raises:
            ValueError: If a shape or an index does not fit.
        """
        n, batch, n_images, k = len(weights), index.shape[-1], len(images), self._n_proxy_classes
        weights, proxy_weight, proxy_bias, images = self._checked(weights, proxy_weight, proxy_bias, images)
        labels = _checked("labels", labels, np.int64, (n_images,), self._n_classes)
        proxy_probs = _checked("proxy_probs", proxy_probs, np.float32, (n_images, k))
        index = _checked("index", index, np.int64, (n, batch), n_images)
        factors = [float(x) for x in np.broadcast_to(np.asarray(guidance_weight, np.float64), n)]
        total = np.empty_like(weights) if out is None else out
        if total.dtype != np.float32 or total.shape != weights.shape or not total.flags.c_contiguous:
            raise ValueError(f"out must be contiguous float32 {weights.shape}, got {total.dtype} {total.shape}.")
        total[:] = 0.0
        guidance = np.zeros_like(weights) if separate else None
        losses = np.zeros((n, 2))

        def work(buffer: Floats, i: int, start: int) -> None:
            kernels.run(
                self._of_total if guidance is None else self._of_both, self._n_once, buffer, self._image, weights[i],
                proxy_weight[i], proxy_bias[i], images, labels, proxy_probs, index[i], start, batch, factors[i],
                total[i], total[i] if guidance is None else guidance[i], losses[i], _NOTHING, _NOTHING,
            )  # fmt: skip

        self._share([(i, 0) for i in range(n)], work)
        ce, kl = np.ascontiguousarray(losses.T, dtype=np.float32)
        return total, ce, kl, guidance

    def logits(
        self, weights: Floats, proxy_weight: Floats, proxy_bias: Floats, images: Floats
    ) -> tuple[Floats, Floats]:
        """Logits of both heads of all optimizees for the same images.

        Args:
            weights: ``(N, P)``.
            proxy_weight: ``(N, K, 32)``.
            proxy_bias: ``(N, K)``.
            images: ``(M, 3, 16, 16)``.

        Returns:
            Logits of the new heads ``(N, M, n_classes)`` and of the proxies' heads ``(N, M, K)``.

        Raises:
            ValueError: If a shape does not fit.
        """
        weights, proxy_weight, proxy_bias, images = self._checked(weights, proxy_weight, proxy_bias, images)
        n, n_images = len(weights), len(images)
        new = np.empty((n, n_images, self._n_classes), dtype=np.float32)
        proxy = np.empty((n, n_images, self._n_proxy_classes), dtype=np.float32)
        index, unused, no_losses = np.arange(n_images), np.empty(0, dtype=np.float32), np.empty(0)

        def work(buffer: Floats, i: int, start: int) -> None:
            kernels.run(
                self._of_logits, self._n_once, buffer, self._image, weights[i], proxy_weight[i], proxy_bias[i], images,
                index, _NOTHING, index, start, min(n_images, start + _CHUNK), 0.0, unused, unused, no_losses, new[i],
                proxy[i],
            )  # fmt: skip

        self._share([(i, start) for i in range(n) for start in range(0, n_images, _CHUNK)], work)
        return new, proxy

    def _checked(
        self, weights: Floats, proxy_weight: Floats, proxy_bias: Floats, images: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        n, k = len(weights), self._n_proxy_classes
        head = _checked("proxy_weight", proxy_weight, np.float32, (n, k, self._n_features))
        return (
            _checked("weights", weights, np.float32, (n, self.n_weights)),
            head.reshape(n, k * self._n_features),
            _checked("proxy_bias", proxy_bias, np.float32, (n, k)),
            _checked("images", images, np.float32, (len(images), _CHANNELS, _SIZE, _SIZE)),
        )

    def _share(self, jobs: list[tuple[int, int]], work: Callable[[Floats, int, int], None]) -> None:
        """Does the jobs on as many threads as PyTorch uses, each with buffers of its own."""
        n_threads = max(1, min(torch.get_num_threads(), len(jobs)))
        while len(self._buffers) < n_threads:
            self._buffers.append(_aligned(self._n_floats))
        left = deque(jobs)

        def take(buffer: Floats) -> None:
            while True:
                try:
                    job = left.popleft()
                except IndexError:
                    return
                work(buffer, *job)

        if n_threads == 1:
            return take(self._buffers[0])
        with ThreadPoolExecutor(n_threads - 1) as pool:
            others = [pool.submit(take, buffer) for buffer in self._buffers[1:n_threads]]
            take(self._buffers[0])
        for other in others:
            other.result()
