"""Terms that keep an optimizee close to its proxy."""

from l2o_env.guidance.kl import kl_divergence

__all__ = ["kl_divergence"]
