"""CUDA graphs: work that is recorded once and launched as a whole, which takes one launch instead of hundreds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_WARM_UP = 3
_log = logging.getLogger(__name__)


class GraphedCall:
    """A function of tensors that runs as a CUDA graph on a GPU, and as it is elsewhere.

    The function is called with the same buffers each time, into which the inputs are copied, and its outputs are the
    same tensors each time: they are overwritten by the next call. Whatever else it reads or writes must stay in place
    too. Where PyTorch cannot record it, a warning is logged once and it runs as it is from then on.

    Args:
        function: Takes the inputs and returns the outputs. It may be called more often than this object is: to warm
            up and to record, with the inputs of the first call.
        changes: Tensors that the function changes in place; warming up leaves no trace in them.
    """

    def __init__(self, function: Callable[..., Sequence[Tensor]], changes: Sequence[Tensor] = ()) -> None:
        self._function, self._changes = function, tuple(changes)
        self._inputs: tuple[Tensor, ...] = ()
        self._outputs: tuple[Tensor, ...] = ()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._recordable = True

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Calls the function on inputs of the shapes of the first call."""
        if not self._inputs:
            self._inputs = tuple(x.clone() for x in inputs)
        for buffer, x in zip(self._inputs, inputs, strict=True):
            buffer.copy_(x)
        if self._graph is None and self._recordable and self._inputs[0].is_cuda:
            self._record()
        if self._graph is not None:
            self._graph.replay()
            return self._outputs
        found = tuple(self._function(*self._inputs))
        if not self._outputs:
            self._outputs = tuple(x.clone() for x in found)
        for buffer, x in zip(self._outputs, found, strict=True):
            buffer.copy_(x)
        return self._outputs

    def _record(self) -> None:
        device = self._inputs[0].device
        before = [x.clone() for x in self._changes]
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._function(*self._inputs)
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                outputs = tuple(self._function(*self._inputs))
            self._graph, self._outputs = graph, outputs
        except RuntimeError as error:
            self._recordable = False
            _log.warning("This could not be recorded as a CUDA graph and runs without: %s", error)
        for x, old in zip(self._changes, before, strict=True):
            x.copy_(old)
