"""Distance of the weights to where they started: L2-SP (Li, Grandvalet & Davoine, ICML 2018)."""

from __future__ import annotations

from torch import Tensor

from l2o_env.guidance.base import Context, Guidance, TermInputs


def l2_distance(weights: Tensor, reference: Tensor, n_backbone: int, head_weight: float) -> Tensor:
    """½ ‖θ_b − θ_b⁰‖² + ½ r ‖θ_head‖²; times λ it is L2-SP with α = λ and β = r λ.

    Args:
        weights: ``(n_weights,)``, the backbone first.
        reference: The starting point, ``(n_weights,)``.
        n_backbone: Weights of the backbone.
        head_weight: r.

    Returns:
        A scalar.
    """
    moved = (weights[..., :n_backbone] - reference[..., :n_backbone]).square().sum(-1)
    return 0.5 * moved + 0.5 * head_weight * weights[..., n_backbone:].square().sum(-1)


class L2SP(Guidance):
    """L2-SP; the paper of ASG calls it vanilla L2 distance. The head is the last layer group."""

    name = "l2sp"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._n_backbone = sum(context.layout.group_sizes[:-1])

    def loss(self, inputs: TermInputs) -> Tensor:
        """:func:`l2_distance` with ``config.l2sp_head``."""
        return l2_distance(inputs.weights, inputs.reference, self._n_backbone, self.context.config.l2sp_head)
