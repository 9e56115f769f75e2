"""Networks compiled by PyTorch (``compile=True``)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from l2o_env.errors import ConfigError, one_line

BACKEND = "inductor"


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, compiled at the first call with inputs of a shape; backward passes through it are, too.

    Args:
        function: Of networks and tensors. All networks of one architecture share what is compiled.

    Raises:
        ConfigError: When it is called and this machine cannot compile it.
    """
    # Imported here, because it takes a second.
    from torch._dynamo.exc import TorchDynamoException

    # Shapes are few and known: batches, and the parts of a split. Code for any shape would be slower.
    fast = torch.compile(function, backend=BACKEND, dynamic=False)

    def call(*args: Any) -> Any:
        try:
            with graphs_kept():
                return fast(*args)
        except TorchDynamoException as error:
            cause = one_line(getattr(error, "inner_exception", error))
            raise ConfigError(
                f"The network cannot be compiled here ({cause}), which takes a C++ compiler; use compile=False."
            ) from error

    return call


def graphs_kept() -> AbstractContextManager[Any]:
    """Within it, a compiled function leaves its graph as it is after a backward pass, and takes another one.

    Of a window's last batch there are two gradients. By default the backward pass overwrites what it has read.
    """
    from torch._functorch import config

    return config.patch(donated_buffer=False)
