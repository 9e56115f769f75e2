"""What a guidance term is: a scalar of one optimizee, and what it needs besides the optimizee's own outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from l2o_env.errors import ConfigError
from l2o_env.models.base import Optimizee, new_generator

if TYPE_CHECKING:
    from l2o_env.config import EnvConfig
    from l2o_env.models.layout import Layout
    from l2o_env.pairs.pair import Pair


@dataclass(frozen=True)
class Context:
    """The population that a term belongs to.

    Attributes:
        n: Number of optimizees.
        config: Settings of the inner loop.
        layout: Where parameters and layer groups lie in a flat vector.
        pairs: The pairs that optimizees may be started on.
        device: Where the optimizees are.
        dtype: Floating-point type of weights and images.
    """

    n: int
    config: EnvConfig
    layout: Layout
    pairs: Sequence[Pair]
    device: torch.device
    dtype: torch.dtype


class TermInputs(NamedTuple):
    """What a term is computed from, for one optimizee and one batch.

    Attributes:
        proxy_logits: The proxy's head on the optimizee's features, ``(batch, n_proxy_classes, ...)``.
        proxy_probs: The proxy's own probabilities, likewise.
        weights: The optimizee's weights, flat, ``(n_weights,)``.
        reference: The weights that it started from (the proxy's, and the new head's first draw), ``(n_weights,)``.
        features: The last feature map on the batch; None unless the term asks for it.
        extras: What :meth:`Guidance.prepare` made for this optimizee.
        encode: Images to the optimizee's last feature map.
    """

    proxy_logits: Tensor
    proxy_probs: Tensor
    weights: Tensor
    reference: Tensor
    features: Tensor | None
    extras: dict[str, Tensor]
    encode: Callable[[Tensor], Tensor]


class Guidance:
    """A term of the training loss that keeps an optimizee close to its proxy.

    :meth:`loss` is a pure function of one optimizee; a stacked population batches it with ``torch.func.vmap``. All else
    is done once for many optimizees and outside of that.

    Args:
        context: The population that the term belongs to; its networks have passed :meth:`check`.
    """

    name: ClassVar[str]
    beyond_kl: ClassVar[bool] = True
    """Whether it is more than the KL divergence, which is measured anyway; compiled kernels have no more than that."""
    needs_features: ClassVar[bool] = False
    """Whether :meth:`loss` reads the last feature map."""
    needs_feature_layer: ClassVar[bool] = False
    """Whether the network has to name its last feature map."""

    def __init__(self, context: Context) -> None:
        self.context = context

    @classmethod
    def check(cls, model: Optimizee, pair: str) -> None:
        """Raises ``ConfigError`` if a network does not have what the term needs.

        Args:
            model: An optimizee.
            pair: Name of its pair, for the message.
        """
        if cls.needs_feature_layer and model.feature_layer is None:
            raise ConfigError(
                f"The guidance {cls.name!r} needs the last feature map, and {type(model).__name__} of the pair "
                f"{pair!r} does not name it; give the pair feature_layer=MODULE, set the network's attribute "
                "feature_layer, or use the guidance 'kl'."
            )

    def start(self, i: int, pair: int, seed: int) -> None:
        """Notes that the i-th optimizee begins an episode on a pair; `seed` is what its random numbers come from."""

    def prepare(self, rows: Sequence[int], pair: int, images: Tensor) -> dict[str, Tensor]:
        """Makes what :meth:`loss` needs besides the optimizee's own outputs.

        Args:
            rows: Optimizees, all of them on one pair.
            pair: Its index.
            images: Their batches ``(len(rows), batch, channels, height, width)``.

        Returns:
            Tensors by name; the first dimension of each is `rows`.
        """
        return {}

    def loss(self, inputs: TermInputs) -> Tensor:
        """The term of one optimizee, a scalar without its weight."""
        raise NotImplementedError

    def updated(self, active: NDArray[np.bool_]) -> None:
        """Notes that the `active` optimizees ``(N,)`` were updated on the batch that was last prepared."""

    def get_state(self) -> dict[str, Any]:
        """What the coming values of the term depend on besides weights and batches."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes up a state that :meth:`get_state` returned."""


class NoGuidance(Guidance):
    """No term: the task loss alone."""

    name = "none"
    beyond_kl = False


class FrozenFeatures:
    """The last feature maps of the pairs' proxies, computed batch by batch.

    Args:
        context: The population; its networks name their last feature maps.
    """

    def __init__(self, context: Context) -> None:
        self._models: list[Optimizee] = []
        for pair in context.pairs:
            # The proxy's backbone is that of any newly made optimizee.
            model = pair.make_model(new_generator(0)).to(context.device, context.dtype).eval()
            self._models.append(model.requires_grad_(False))

    @torch.no_grad()
    def __call__(self, pair: int, images: Tensor) -> Tensor:
        """Feature maps ``(n, ...)`` of images ``(n, channels, height, width)``."""
        return feature_map(self._models[pair], images)


@contextmanager
def captured(model: Optimizee, wanted: bool = True) -> Iterator[list[Tensor]]:
    """Collects what the feature layer makes in the block; none unless `wanted`.

    A module that is called several times, such as one ReLU for all, makes the last feature map the last time.
    """
    kept: list[Tensor] = []
    if not wanted:
        yield kept
        return
    assert model.feature_layer is not None

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        kept.append(output)

    handle = model.get_submodule(model.feature_layer).register_forward_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()


def feature_map(model: Optimizee, images: Tensor) -> Tensor:
    """The last feature map of a network."""
    with captured(model) as kept:
        model(images)
    return kept[-1]


def positions(features: Tensor) -> Tensor:
    """Feature maps as vectors at places: ``(batch, places, channels)``.

    Args:
        features: ``(batch, channels, height, width)``, tokens ``(batch, places, channels)``, or pooled
            ``(batch, channels)``.
    """
    if features.dim() == 4:
        return features.flatten(2).transpose(1, 2)
    return features.unsqueeze(1) if features.dim() == 2 else features
