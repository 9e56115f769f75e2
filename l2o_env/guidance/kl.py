"""Proxy guidance of ASG (Chen et al., ICML 2020), as in learning without forgetting (Li & Hoiem, 2016)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from l2o_env.guidance.base import Guidance, TermInputs


def kl_divergence(proxy_logits: Tensor, proxy_probs: Tensor) -> Tensor:
    """KL(p(h0 f0(x)) || p(h0 f(x))), mean over the batch, at temperature 1.

    Args:
        proxy_logits: ``(batch, n_proxy_classes)``, the proxy's head on the optimizee's features.
        proxy_probs: ``(batch, n_proxy_classes)``, the proxy's own probabilities.

    Returns:
        A scalar >= 0, in nats.
    """
    # Written out, because torch.func.vmap has no batching rule for kl_div.
    log_ratio = torch.xlogy(proxy_probs, proxy_probs) - proxy_probs * F.log_softmax(proxy_logits, dim=-1)
    return log_ratio.sum(-1).mean(-1)


class KL(Guidance):
    """KL(proxy || optimizee) of the proxy's classes, in nats."""

    name = "kl"
    beyond_kl = False

    def loss(self, inputs: TermInputs) -> Tensor:
        """:func:`kl_divergence`. The populations measure it anyway, and do not compute it twice."""
        return kl_divergence(inputs.proxy_logits, inputs.proxy_probs)
