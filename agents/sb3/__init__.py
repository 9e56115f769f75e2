"""Algorithms of Stable-Baselines3 and sb3-contrib as agents, and our population as their environment."""

import lazy_loader

from l2o_env.extras import require

require("sb3_contrib", extra="sb3", what="a policy of Stable-Baselines3 or sb3-contrib")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
