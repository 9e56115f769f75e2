"""An optimizee as the plain network that it was made of, with its new head in place of the old one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn

from l2o_env.extras import require
from l2o_env.models.adapted.backbone import Backbone
from l2o_env.models.adapted.folded_norms import unfold_norms
from l2o_env.models.base import Optimizee


class TaskLogits(nn.Module):
    """An optimizee's logits of its task alone, where it is no network with one head.

    Args:
        model: The optimizee.
    """

    def __init__(self, model: Optimizee) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(batch, n_classes)``."""
        return self.model(images)[0]


def plain_network(model: Optimizee, images: Tensor) -> tuple[nn.Module, str]:
    """The network without what is there for the proxy.

    Args:
        model: The optimizee, in evaluation mode.
        images: Some images, of which both have to make the same.

    Returns:
        The network, and the name of the module in it that the new head is; empty if the old head could not be exchanged
        for it, so that it is the optimizee with the logits of its task alone.
    """
    if isinstance(model, Backbone):
        name = next((key for key, module in model.network.named_modules() if module is model.proxy_head), "")
        network = unfold_norms(deepcopy(model.network))
        if name:
            network.set_submodule(name, deepcopy(model.head))
            if _same(network, model, images):
                return network.eval(), name
    return TaskLogits(model).eval(), ""


@torch.no_grad()
def _same(network: nn.Module, model: Optimizee, images: Tensor) -> bool:
    try:
        found, expected = network(images), model(images)[0]
    except (RuntimeError, TypeError, ValueError):  # its head's inputs have another shape
        return False
    same_shape = isinstance(found, Tensor) and found.shape == expected.shape
    return same_shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-4)


def write_onnx(network: nn.Module, images: Tensor, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a network as ONNX: ``images`` of any number to ``logits``.

    Args:
        network: The network, in evaluation mode.
        images: Some images, for their shape.
        path: The file.
        metadata: What is to be known of it, as the model's ``metadata_props``.

    Raises:
        MissingExtraError: If the package ``onnx`` is not installed.
    """
    onnx = require("onnx", extra="onnx", what="the export to ONNX")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the newer exporter needs more packages
        torch.onnx.export(
            network,
            (images,),
            str(path),
            dynamo=False,
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": {0: "n"}, "logits": {0: "n"}},
        )
    if metadata:
        model = onnx.load(str(path))
        onnx.helper.set_model_props(model, dict(metadata))
        onnx.save(model, str(path))
