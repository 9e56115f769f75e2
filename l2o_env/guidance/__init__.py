"""Terms that keep an optimizee close to its proxy, behind one interface; see docs/guidance.md."""

from l2o_env.guidance.base import Context, Guidance, NoGuidance, TermInputs
from l2o_env.guidance.csg import Contrastive
from l2o_env.guidance.feature import FeatureDistance
from l2o_env.guidance.kl import KL, kl_divergence
from l2o_env.guidance.l2sp import L2SP
from l2o_env.guidance.si import SynapticIntelligence

TERMS: dict[str, type[Guidance]] = {
    term.name: term for term in (KL, NoGuidance, L2SP, SynapticIntelligence, FeatureDistance, Contrastive)
}
"""Terms by name."""


def make_guidance(context: Context) -> Guidance:
    """The term that the settings name."""
    return TERMS[context.config.guidance](context)


__all__ = ["TERMS", "Context", "Guidance", "TermInputs", "kl_divergence", "make_guidance"]
