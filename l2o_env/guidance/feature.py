"""Feature distillation: the zero-shot part of ROAD (Chen, Li & Van Gool, CVPR 2018), on synthetic images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from l2o_env.guidance.base import Context, FrozenFeatures, Guidance, TermInputs, positions


def feature_distance(features: Tensor, proxy_features: Tensor) -> Tensor:
    """‖F − F⁰‖², summed over channels, mean over images and places.

    Args:
        features: The optimizee's last feature map; see :func:`l2o_env.guidance.base.positions` for its forms.
        proxy_features: The proxy's, of the same shape.

    Returns:
        A scalar.
    """
    return positions((features - proxy_features).square()).sum(-1).mean()


class FeatureDistance(Guidance):
    """Squared distance of the last feature map to the proxy's."""

    name = "feature"
    needs_features = needs_feature_layer = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._frozen = FrozenFeatures(context)

    def prepare(self, rows: Sequence[int], pair: int, images: Tensor) -> dict[str, Tensor]:
        """The proxy's feature maps ``features`` of the batches."""
        return {"features": self._frozen(pair, images.flatten(0, 1)).unflatten(0, images.shape[:2])}

    def loss(self, inputs: TermInputs) -> Tensor:
        """:func:`feature_distance`."""
        assert inputs.features is not None
        return feature_distance(inputs.features, inputs.extras["features"])
